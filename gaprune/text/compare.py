"""``python -m gaprune.compare --model bert``: a text classifier, compressed in the ten ways of the second paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gaprune.compress import (
    COMPARISONS,
    KIND,
    Chain,
    Front,
    Outline,
    Row,
    Work,
    again_command,
    check_identity,
    parse_chains,
    report,
    resumed_options,
)
from gaprune.device import choose_device, in_turn, pinned
from gaprune.errors import RunError
from gaprune.options import Interrupted, record
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.runs import RunDirectory, atomic_write, check_free, default_run_path, environment, processor
from gaprune.text.data import load_texts
from gaprune.text.encoder import check_encoder
from gaprune.text.members import Begun, TextRun
from gaprune.text.options import TextOptions
from gaprune.text.original import Original, fine_tuned, load_original
from gaprune.text.rows import USUAL
from gaprune.text.table import Figures, paper_table
from gaprune.text.task import Settings, TextTask, check_student
from gaprune.text.training import TextRecipe
from gaprune.training import bfloat16_pays

TABLE = "paper.md"
ORIGINAL = "original"
MEMBERS = 4
"""Members that a comparison takes from a front unless told which."""

_MAY_CHANGE = ("methods", "data_dir", "encoder", "cache_dir", "run")
_LATER = ("device", "threads", "hardware")
"""Of a comparison's identity, what its manifest did not have at first."""


@in_turn()
def compare(options: TextOptions, reporter: Reporter | None = None) -> list[Row]:
    """Make the table that the options ask for, or what it lacks, and write it.

    Raises:
        GapruneError: an option, the data or the encoder cannot be used.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    reporter = make_reporter() if reporter is None else reporter
    level = options.screen.log_level if "log_level" in options.given else None
    with heard(reporter, quiet=options.screen.quiet, log_level=level) as told:
        path, rows = _compared(options, told)
    if options.screen.quiet:
        reporter.say(str(path))
    return rows


def _compared(options: TextOptions, reporter: Reporter) -> tuple[Path, list[Row]]:
    path = options.table.resume
    try:
        if path is not None:
            with RunDirectory.open(path) as directory:
                return path, _go(resumed_options(options, directory, _MAY_CHANGE, _usual), directory, reporter)
        options.check()
        run = _run(options)
        options = _checked(options if run is None else run.brought(options), run)
        if options.table.output is not None:
            check_free(options.table.output)
        start = _start(options, run, reporter)
        if start.begun is not None:
            with pinned(start.threads):
                start.begun.check(reporter)
        original = start.original
        path = options.table.output or default_run_path(COMPARISONS, options.network.model, original.task.data.name)
        with RunDirectory.create(path, _manifest(options, start)) as directory:
            return path, _made(options, start, directory, reporter)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; nothing is lost, go on with: {again_command(options, path)}") from None


def _go(options: TextOptions, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    run = _run(options)
    options = _checked(options, run)
    start = _start(options, run, reporter)
    check_identity(directory, _identity(options, start.original), later=_LATER)
    if run is not None:
        run.front.check_table(directory)
    directory.update_manifest(options=record(options), **({} if run is None else {"front": run.front.digest()}))
    return _made(options, start, directory, reporter)


@dataclass(frozen=True)
class Start:
    """What a comparison starts from.

    Attributes:
        original: the encoder and the texts, with the settings that rows are trained by.
        begun: what it has in common with a search, where members take part.
        front: of that search.
        threads: CPU threads.
    """

    original: Original
    begun: Begun | None
    front: Front | None
    threads: int

    def work(self, folder: Path, reporter: Reporter) -> Work:
        """The fine-tuned original, kept in ``folder``."""
        if self.begun is None:
            return fine_tuned(self.original, folder, reporter)
        return self.begun.work(self.original.task.settings, folder, reporter)


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


def _run(options: TextOptions) -> TextRun | None:
    return None if options.network.run is None else TextRun.open(options.network.run)


def _usual(saved: TextOptions, now: TextOptions) -> tuple[str, ...]:
    """The chains of a comparison that named none when it was begun; its run may lie elsewhere now."""
    run = None if saved.network.run is None else _run(now)
    return default_methods(None if run is None else run.front)


def default_methods(front: Front | None) -> tuple[str, ...]:
    """The chains of a comparison that names none, with some of the front's members where there is one."""
    members = [] if front is None else front.spread(MEMBERS)
    return (*USUAL, *(chain for member in members for chain in (f"ours:{member}", f"ours:{member}+quantize")))


def _start(options: TextOptions, run: TextRun | None, reporter: Reporter) -> Start:
    device = choose_device(options.machine.device)
    data = load_texts(
        options.texts.data,
        data_dir=options.texts.data_dir,
        text_column=options.texts.text_column,
        label_column=options.texts.label_column,
        seed=options.work.seed,
        cache_dir=options.table.cache_dir,
        reporter=reporter,
    )
    begun, settings = None if run is None else run.begun(options, data, device), _settings(options, device)
    if begun is None:
        original = load_original(options.network.encoder, data, settings, device)
    else:
        original = begun.compared(settings)
    for line in original.described():
        reporter.say(line)
    threads = options.machine.threads
    assert threads is not None, "settled where options are checked"
    return Start(original, begun, None if run is None else run.front, threads)


def _made(options: TextOptions, start: Start, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    original, threads, front = start.original, start.threads, start.front
    chains = _chains(default_methods(front) if options.work.methods is None else options.work.methods, front)
    with pinned(threads):
        work = start.work(directory.path / ORIGINAL, reporter)
        rows = report(
            directory,
            work,
            chains,
            threads=threads,
            sizes=(1, options.work.batch),
            reporter=reporter,
            about={
                "title": work.task.name,
                "environment": _machine(),
                "data": original.described(),
                "encoder": original.encoder,
                "batch": options.work.batch,
                "identity": _identity(options, original),
            },
        )
    data, batch = original.task.data, options.work.batch
    note = (
        f"Ours: {data.source}; {original.encoder}; F1 of {data.classes[1]!r} with 95% intervals (bootstrap "
        f"over test texts); median seconds of a batch of {batch}, {threads} CPU threads of {processor()}. The "
        "paper names neither its data set nor its batch: of its sizes and times only the order compares."
    )
    text = paper_table({row.chain: figures_of(row, batch) for row in rows}, note)
    try:
        atomic_write(directory.path / TABLE, (text + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write in {directory.path}: {error.strerror or error}") from error
    reporter.say(text)
    return rows


def _settings(options: TextOptions, device: torch.device) -> Settings:
    amp, usual, asked = bfloat16_pays(device), Settings(), options.work
    encoder = TextRecipe(epochs=asked.epochs, batch_size=asked.batch_size, lr=asked.lr, seed=asked.seed, amp=amp)
    student = dataclasses.replace(usual.student, epochs=asked.student_epochs, seed=asked.seed)
    return dataclasses.replace(usual, encoder=encoder, student=student, limit=asked.max_length)


def _checked(options: TextOptions, run: TextRun | None) -> TextOptions:
    """The options, the number of threads settled, every member that a chain names by its index.

    Wrong numbers, chains and encoders are told before data is read.
    """
    options.check()
    front, methods = None if run is None else run.front, options.work.methods
    if front is not None and methods is not None:
        methods = tuple(front.canonical(chain) for chain in methods)
    _chains(methods or (), front)
    check_encoder(options.network.encoder)
    return options.but(methods=methods, threads=options.machine.threads or torch.get_num_threads())


def _chains(methods: Iterable[str], front: Front | None) -> tuple[Chain, ...]:
    outline = Outline(criterion=TextTask.criterion, check_student=check_student)
    return parse_chains(methods, {"ours": "gaprune.compress.ours:Ours"}, front, outline)


def _manifest(options: TextOptions, start: Start) -> dict[str, Any]:
    data = start.original.task.data
    return {
        "kind": KIND,
        "options": record(options),
        "data": {"name": data.name, "source": data.source, "classes": list(data.classes)},
        "identity": _identity(options, start.original),
        "front": None if start.front is None else start.front.digest(),
        "environment": _machine(),
    }


def _identity(options: TextOptions, original: Original) -> dict[str, Any]:
    """What rows of one table must have in common."""
    hardware = {name: _machine()[name] for name in ("cpu", "cuda_devices")}
    device = original.task.device.type
    return {**original.identity, "device": device, "threads": options.machine.threads, "hardware": hardware}


def _machine() -> Mapping[str, Any]:
    names = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    return environment(names)
