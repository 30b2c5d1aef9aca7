"""What ``python -m gaprune.compare --model bert`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from gaprune.errors import OptionError
from gaprune.options import (
    ClusterOptions,
    EvolutionOptions,
    FitnessOptions,
    GenomeOptions,
    LoudnessOptions,
    MachineOptions,
    Options,
    RecordOptions,
    RunOptions,
    ScreenOptions,
    SearchOptions,
    TimingOptions,
    check_fields,
    group,
    names_of,
    option,
    seed_option,
)

SST2, SMS = "sst2", "sms-spam"
"""Data sets by name."""

PAPER = "bert-base-multilingual-cased"
"""The encoder of the second paper."""


@dataclass(frozen=True)
class NetworkOptions:
    """The text classifier."""

    model: Literal["bert"] = option("bert", "the text classifier")
    encoder: str = option(PAPER, "a BERT: a folder (config.json, tokenizer, model.safetensors) or a name on the hub")


@dataclass(frozen=True)
class ComparedOptions(NetworkOptions):
    """The text classifier, and members of its front."""

    run: Path | None = option(
        None, "a finished search, whose members take part; brings its texts and its fine-tuned original", metavar="RUN"
    )


@dataclass(frozen=True)
class TextDataOptions:
    """The texts and their labels."""

    data: str = option(SMS, f"{SST2}, {SMS}, or a .tsv or .csv file of texts and labels")
    data_dir: Path | None = option(
        None, f"folder with the files of {SST2} or {SMS}; none downloads them", metavar="DIR"
    )
    text_column: str | None = option(None, "column of the texts in a file with a header; none finds it")
    label_column: str | None = option(None, "column of the labels; none finds it")


@dataclass(frozen=True)
class MethodOptions:
    """What is compared, and how it is trained."""

    methods: tuple[str, ...] | None = option(
        None,
        "chains such as none, quantize:linear, distill+tucker:size=0.15, ours:knee+quantize; none is the paper's ten, "
        "onnx, and some members of --run",
    )
    epochs: int = option(
        3, "passes over the training texts of the original (unless --run brings it) and of rows trained on", least=1
    )
    batch_size: int = option(32, "texts in a training step of the encoder; a student has its own number", least=1)
    lr: float = option(5e-5, "peak learning rate of the encoder; a student has its own", above=0)
    student_epochs: int = option(20, "passes over the training texts of a student, all its trainings together", least=1)
    max_length: int = option(128, "tokens that a text keeps; what is longer is cut, and counted", least=4)
    batch: int = option(128, "the larger batch that is timed; the other is 1", least=2)
    seed: int = seed_option("decides the split, initial weights and the order of texts")


@dataclass(frozen=True)
class TableOptions:
    """The table on disk."""

    output: Path | None = option(None, "directory; none is comparisons/bert-<data>-<date>", metavar="DIR")
    resume: Path | None = option(None, "go on with this comparison; --methods adds rows to it", metavar="DIR")
    cache_dir: Path | None = option(None, "where downloads are kept", metavar="DIR")


@dataclass(frozen=True)
class TextOptions(Options):
    """Fine-tune a BERT on texts of two classes, compress it by every chain, and put the paper's table beside ours."""

    DASHES: ClassVar[bool] = True
    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.compare --model bert",
        "python -m gaprune.compare --model bert --data reviews.csv --text-column text --label-column label",
        "python -m gaprune.compare --model bert --run runs/half --methods none,ours:knee,ours:knee+quantize",
    )

    network: ComparedOptions = group(ComparedOptions, "network")
    texts: TextDataOptions = group(TextDataOptions, "texts")
    work: MethodOptions = group(MethodOptions, "methods and training")
    machine: TimingOptions = group(TimingOptions, "device")
    table: TableOptions = group(TableOptions, "directory")
    screen: LoudnessOptions = group(LoudnessOptions, "screen")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        check_fields(self)

    def check_typed(self) -> None:
        """All that can be said of a command line at once.

        Raises:
            GapruneError: one line that names the option, the rule and the value.
        """
        if self.table.resume is not None:
            return  # most options are the comparison's own
        self.check()
        if self.table.output is not None and self.table.output.exists():
            from gaprune.runs import check_free

            check_free(self.table.output)


@dataclass(frozen=True)
class TuningOptions:
    """The original, and the texts that a search looks at."""

    epochs: int = option(3, "passes over the training texts by which the original is made", least=1)
    lr: float = option(5e-5, "peak learning rate of that", above=0)
    max_length: int = option(128, "tokens that a text keeps; what is longer is cut, and counted", least=4)
    search_texts: int = option(
        500, "training texts that the original does not learn, and F1 is measured on while searching", least=10
    )
    calibration_texts: int = option(512, "training texts for covariances, without labels", least=4)
    flops_length: int = option(32, "tokens of the text whose FLOPs are counted", least=4)


GROUPS: dict[str, type[Any]] = {
    "space": GenomeOptions,
    "fitness": FitnessOptions,
    "evolution": EvolutionOptions,
    "machine": MachineOptions,
    "cluster": ClusterOptions,
    "run": RunOptions,
    "records": RecordOptions,
    "screen": ScreenOptions,
}
"""Groups that a search of texts has in common with others, by where they stand."""


@dataclass(frozen=True)
class TextSearchOptions(Options):
    """Fine-tune a BERT on texts of two classes and search its heads and feed-forward neurons, by F1 and FLOPs."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.search --model bert --data sst2",
        "python -m gaprune.search --model bert --data reviews.csv --encoder FOLDER --max-flops 0.5",
        "python -m gaprune.search --resume runs/half --generations 20",
    )

    network: NetworkOptions = group(NetworkOptions, "network")
    texts: TextDataOptions = group(TextDataOptions, "texts")
    tuning: TuningOptions = group(TuningOptions, "the original, and texts for the search")
    space: GenomeOptions = group(GenomeOptions, "what may be removed")
    fitness: FitnessOptions = group(FitnessOptions, "objectives and limits")
    evolution: EvolutionOptions = group(EvolutionOptions, "evolution")
    machine: MachineOptions = group(MachineOptions, "device")
    cluster: ClusterOptions = group(ClusterOptions, "Ray")
    run: RunOptions = group(RunOptions, "run directory")
    records: RecordOptions = group(RecordOptions, "records")
    screen: ScreenOptions = group(ScreenOptions, "screen")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def check_typed(self) -> None:
        """All that can be said of a command line at once.

        Raises:
            GapruneError: one line that names the option, the rule and the value.
        """
        if self.run.resume is not None:
            return  # most options are the run's own
        check_fields(self)
        if self.tuning.flops_length > self.tuning.max_length:
            most = f"max-length, {self.tuning.max_length}"
            raise OptionError(f"flops-length must be at most {most}, got {self.tuning.flops_length}")
        self.of_the_search().check()
        if self.run.output is not None and self.run.output.exists():
            from gaprune.runs import check_free

            check_free(self.run.output)

    def of_the_search(self) -> SearchOptions:
        """What of them every search can be told."""
        told = {name: getattr(getattr(self, place), name) for place, one in GROUPS.items() for name in names_of(one)}
        names = set(OF_EVERY_SEARCH)
        return SearchOptions.of(model=self.network.model, **told, given=self.given & names)


OF_EVERY_SEARCH = tuple(name for options in GROUPS.values() for name in names_of(options))
"""Options that a search of texts has in common with others."""
