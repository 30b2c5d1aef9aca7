"""What ``python -m gaprune.compare`` can be told about a network of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gaprune.options.choices import TEXT_MODEL, Data, Device, SearchFrom, Stem
from gaprune.options.fields import Options, check_fields, group, option, seed_option
from gaprune.options.groups import LoudnessOptions, ReadingOptions
from gaprune.options.models import check_model
from gaprune.options.trust import TRUST


@dataclass(frozen=True)
class NetworkOptions:
    """The trained network, and members of its front."""

    model: str = option("vgg16", f"network as for a search, or {TEXT_MODEL} (see its own --help)")
    stem: Stem = option("cifar", "first layers of resnet18")
    checkpoint: Path | None = option(
        None, "trained weights: safetensors, a state dict, or pretrained: torchvision's or timm's", metavar="FILE"
    )
    head: str | None = option(None, "a checkpoint's head of other classes: keep, cut:CLASS_FILE or new (is fitted)")
    run: Path | None = option(
        None, "a finished search, whose members take part; brings its model and data", metavar="RUN"
    )


@dataclass(frozen=True)
class ImageOptions:
    """The images, and which are held out."""

    data: Data = option("auto", "data set")
    data_dir: Path | None = option(
        None, "CIFAR-10 root, image folder train/<class>/* with test/ or val/, or a CSV file", metavar="DIR"
    )
    test_share: float = option(
        0.2, "share of an image folder without test/ that is split off to report on", above=0, below=1
    )
    search_from: SearchFrom = option(
        "auto", "where the images that trainings are watched on are held out: auto, train, test or validation"
    )
    search_size: int | None = option(None, "number of these images; none is a fifth, at most 2,000", least=1)


@dataclass(frozen=True)
class MethodOptions:
    """What is compared, and what a row may spend."""

    methods: tuple[str, ...] | None = option(
        None, "chains such as none, quantize, tucker:size=0.2, distill+tucker+quantize, ours:03+quantize; none is all"
    )
    epochs: int = option(
        10, "passes over the training images that a row may spend, all its trainings together", least=1
    )
    epoch_images: int | None = option(
        None, "images of a pass, drawn anew for each; none is all training images", least=2
    )
    batch: int = option(128, "the larger batch that is timed; the other is 1", least=2)
    seed: int = seed_option("decides splits, initial weights and the order of images")


@dataclass(frozen=True)
class TimingOptions:
    """Where networks are trained and timed."""

    threads: int | None = option(None, "CPU threads; none is torch's own number", least=1)
    device: Device = option("auto", "where networks are trained and judged")


@dataclass(frozen=True)
class TableOptions:
    """The table on disk."""

    output: Path | None = option(None, "directory; none is comparisons/<model>-<data>-<date>", metavar="DIR")
    resume: Path | None = option(None, "go on with this comparison; --methods adds rows to it", metavar="DIR")
    trust: bool = option(False, TRUST)
    cache_dir: Path | None = option(None, "where data and baselines are kept", metavar="DIR")


@dataclass(frozen=True)
class CompareOptions(Options):
    """Compare compression methods with members of a search's front, all measured the same way, in one table."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.compare --run runs/half",
        "python -m gaprune.compare --model resnet18 --methods none,quantize,tucker:size=0.2 --epochs 5",
        "python -m gaprune.compare --model bert --data sms-spam",
    )

    network: NetworkOptions = group(NetworkOptions, "network")
    images: ImageOptions = group(ImageOptions, "images")
    reading: ReadingOptions = group(ReadingOptions, "photographs and normalisation")
    work: MethodOptions = group(MethodOptions, "methods")
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
        check_model(self.network.model)

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
