"""``python -m gaprune.compare --model bert``: a text classifier, compressed in the ten ways of the second paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gaprune.cli import GIVEN, Interrupted, option, options_record, run_command
from gaprune.compress.chain import Chain, parse_chains
from gaprune.compress.method import Outline
from gaprune.compress.report import report
from gaprune.compress.resuming import COMPARISONS, KIND, PROG, again_command, check_identity, resumed_options
from gaprune.compress.rows import Row
from gaprune.device import DEVICES, choose_device, pinned
from gaprune.errors import OptionError, RunError
from gaprune.progress import Reporter, make_reporter
from gaprune.runs import RunDirectory, check_free, default_run_path, environment, processor
from gaprune.runs.files import atomic_write
from gaprune.text.data import SMS, SST2, load_texts
from gaprune.text.encoder import PAPER, check_encoder
from gaprune.text.original import Original, fine_tuned, load_original
from gaprune.text.rows import USUAL
from gaprune.text.table import Figures, paper_table
from gaprune.text.task import Settings, TextTask, check_student
from gaprune.text.training import TextRecipe
from gaprune.training.recipe import bfloat16_pays

TABLE = "paper.md"
ORIGINAL = "original"
_MAY_CHANGE = ("methods", "data_dir", "encoder", "cache_dir")
_LATER = ("device", "threads", "hardware")
"""Of a comparison's identity, what its manifest did not have at first."""


@dataclass(frozen=True)
class Options:
    """Fine-tune a BERT on texts of two classes, compress it by every chain, and put the paper's table beside ours."""

    model: str = option("bert", "the text classifier", choices=("bert",))
    encoder: str = option(PAPER, "a BERT: a folder (config.json, tokenizer, model.safetensors) or a name on the hub")
    data: str = option(SMS, f"{SST2}, {SMS}, or a .tsv or .csv file of texts and labels")
    data_dir: Path | None = option(
        None, f"folder with the files of {SST2} or {SMS}; none downloads them", metavar="DIR"
    )
    text_column: str | None = option(None, "column of the texts in a file with a header; none finds it")
    label_column: str | None = option(None, "column of the labels; none finds it")
    methods: tuple[str, ...] | None = option(
        None, "chains such as none, quantize:linear, distill+tucker:size=0.15; none is the paper's ten, and onnx"
    )
    epochs: int = option(3, "passes over the training texts of the original, and of each row that is trained on")
    batch_size: int = option(32, "texts in a training step of the encoder; a student has its own number")
    lr: float = option(5e-5, "peak learning rate of the encoder; a student has its own")
    student_epochs: int = option(20, "passes over the training texts of a student, all its trainings together")
    max_length: int = option(128, "tokens that a text keeps; what is longer is cut, and counted")
    threads: int | None = option(None, "CPU threads; none is torch's own number")
    batch: int = option(128, "the larger batch that is timed; the other is 1")
    seed: int = option(0, "decides the split, initial weights and the order of texts")
    device: str = option("auto", "where networks are trained and judged", choices=DEVICES)
    output: Path | None = option(None, "directory; none is comparisons/bert-<data>-<date>", metavar="DIR")
    resume: Path | None = option(None, "go on with this comparison; --methods adds rows to it", metavar="DIR")
    cache_dir: Path | None = option(None, "where downloads are kept", metavar="DIR")
    given: frozenset[str] = field(default=frozenset(), compare=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    return run_command(_command, Options, PROG, argv)


def _command(options: Options) -> None:
    compare(options)


def compare(options: Options, reporter: Reporter | None = None) -> list[Row]:
    """Make the table that the options ask for, or what it lacks, and write it.

    Raises:
        GapruneError: an option, the data or the encoder cannot be used.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    reporter = make_reporter() if reporter is None else reporter
    path = options.resume
    try:
        if options.resume is not None:
            with RunDirectory.open(options.resume) as directory:
                return _go(resumed_options(options, directory, _MAY_CHANGE, lambda *_: USUAL), directory, reporter)
        options = _checked(options)
        if options.output is not None:
            check_free(options.output)
        original = _original(options, reporter)
        path = options.output or default_run_path(COMPARISONS, options.model, original.task.data.name)
        with RunDirectory.create(path, _manifest(options, original)) as directory:
            return _made(options, original, directory, reporter)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; nothing is lost, go on with: {again_command(options, path)}") from None


def _go(options: Options, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    options = _checked(options)
    original = _original(options, reporter)
    check_identity(directory, _identity(options, original), later=_LATER)
    directory.update_manifest(options=_record(options))
    return _made(options, original, directory, reporter)


def figures_of(row: Row, batch: int) -> Figures:
    """What the paper's table tells of a row; times are of a batch."""
    metrics = row.metrics
    return Figures(
        size=row.size_mb,
        f1=metrics["f1_positive"],
        f1_low=metrics["f1_positive_low"],
        f1_high=metrics["f1_positive_high"],
        gpu=row.seconds.get(f"cuda {batch}"),
        cpu=row.seconds.get(f"cpu {batch}"),
        runtime=row.runtime,
    )


def _original(options: Options, reporter: Reporter) -> Original:
    device = choose_device(options.device)
    data = load_texts(
        options.data,
        data_dir=options.data_dir,
        text_column=options.text_column,
        label_column=options.label_column,
        seed=options.seed,
        cache_dir=options.cache_dir,
        reporter=reporter,
    )
    original = load_original(options.encoder, data, _settings(options, device), device)
    for line in original.described():
        reporter.say(line)
    return original


def _made(options: Options, original: Original, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    chains, threads = _chains(USUAL if options.methods is None else options.methods), options.threads
    assert threads is not None, "settled where options are checked"
    with pinned(threads):
        work = fine_tuned(original, directory.path / ORIGINAL, reporter)
        rows = report(
            directory,
            work,
            chains,
            threads=threads,
            sizes=(1, options.batch),
            reporter=reporter,
            about={
                "title": work.task.name,
                "environment": _machine(),
                "data": original.described(),
                "encoder": original.encoder,
                "batch": options.batch,
                "identity": _identity(options, original),
            },
        )
    data = original.task.data
    note = (
        f"Ours: {data.source}; {original.encoder}; F1 of {data.classes[1]!r} with 95% intervals (bootstrap "
        f"over test texts); median seconds of a batch of {options.batch}, {threads} CPU threads of {processor()}. The "
        "paper names neither its data set nor its batch: of its sizes and times only the order compares."
    )
    text = paper_table({row.chain: figures_of(row, options.batch) for row in rows}, note)
    try:
        atomic_write(directory.path / TABLE, (text + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write in {directory.path}: {error.strerror or error}") from error
    reporter.say(text)
    return rows


def _settings(options: Options, device: torch.device) -> Settings:
    amp, usual = bfloat16_pays(device), Settings()
    encoder = TextRecipe(
        epochs=options.epochs, batch_size=options.batch_size, lr=options.lr, seed=options.seed, amp=amp
    )
    student = dataclasses.replace(usual.student, epochs=options.student_epochs, seed=options.seed)
    return dataclasses.replace(usual, encoder=encoder, student=student, limit=options.max_length)


def _checked(options: Options) -> Options:
    """The options, the number of threads settled; wrong numbers, chains and encoders are told before data is read."""
    least = {"epochs": 1, "student_epochs": 1, "batch_size": 1, "max_length": 4, "threads": 1, "batch": 2, "seed": 0}
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise OptionError(f"--{name.replace('_', '-')} must be at least {smallest}, got {value}")
    if options.lr <= 0:
        raise OptionError(f"--lr must be above 0, got {options.lr:g}")
    _chains([] if options.methods is None else options.methods)
    check_encoder(options.encoder)
    return dataclasses.replace(options, threads=options.threads or torch.get_num_threads())


def _chains(methods: Iterable[str]) -> tuple[Chain, ...]:
    return parse_chains(methods, outline=Outline(criterion=TextTask.criterion, check_student=check_student))


def _manifest(options: Options, original: Original) -> dict[str, Any]:
    data = original.task.data
    return {
        "kind": KIND,
        "options": _record(options),
        "data": {"name": data.name, "source": data.source, "classes": list(data.classes)},
        "identity": _identity(options, original),
        "environment": _machine(),
    }


def _identity(options: Options, original: Original) -> dict[str, Any]:
    """What rows of one table must have in common."""
    hardware = {name: _machine()[name] for name in ("cpu", "cuda_devices")}
    device = original.task.device.type
    return {**original.identity, "device": device, "threads": options.threads, "hardware": hardware}


def _record(options: Options) -> dict[str, Any]:
    return {name: value for name, value in options_record(options).items() if name not in ("resume", GIVEN)}


def _machine() -> Mapping[str, Any]:
    names = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    return environment(names)
