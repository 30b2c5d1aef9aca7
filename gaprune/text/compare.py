"""``python -m gaprune.compare --model bert``: a text classifier, compressed in the ten ways of the second paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from gaprune.compress import (
    COMPARISONS,
    KIND,
    Chain,
    Outline,
    Row,
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
from gaprune.text.options import TextOptions
from gaprune.text.original import Original, fine_tuned, load_original
from gaprune.text.rows import USUAL
from gaprune.text.table import Figures, paper_table
from gaprune.text.task import Settings, TextTask, check_student
from gaprune.text.training import TextRecipe
from gaprune.training import bfloat16_pays

TABLE = "paper.md"
ORIGINAL = "original"
_MAY_CHANGE = ("methods", "data_dir", "encoder", "cache_dir")
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
                return path, _go(
                    resumed_options(options, directory, _MAY_CHANGE, lambda *_: USUAL), directory, reporter
                )
        options = _checked(options)
        if options.table.output is not None:
            check_free(options.table.output)
        original = _original(options, reporter)
        path = options.table.output or default_run_path(COMPARISONS, options.network.model, original.task.data.name)
        with RunDirectory.create(path, _manifest(options, original)) as directory:
            return path, _made(options, original, directory, reporter)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; nothing is lost, go on with: {again_command(options, path)}") from None


def _go(options: TextOptions, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    options = _checked(options)
    original = _original(options, reporter)
    check_identity(directory, _identity(options, original), later=_LATER)
    directory.update_manifest(options=record(options))
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


def _original(options: TextOptions, reporter: Reporter) -> Original:
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
    original = load_original(options.network.encoder, data, _settings(options, device), device)
    for line in original.described():
        reporter.say(line)
    return original


def _made(options: TextOptions, original: Original, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    chains, threads = _chains(USUAL if options.work.methods is None else options.work.methods), options.machine.threads
    assert threads is not None, "settled where options are checked"
    with pinned(threads):
        work = fine_tuned(original, directory.path / ORIGINAL, reporter)
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


def _checked(options: TextOptions) -> TextOptions:
    """The options, the number of threads settled; wrong numbers, chains and encoders are told before data is read."""
    options.check()
    _chains([] if options.work.methods is None else options.work.methods)
    check_encoder(options.network.encoder)
    return options.but(threads=options.machine.threads or torch.get_num_threads())


def _chains(methods: Iterable[str]) -> tuple[Chain, ...]:
    return parse_chains(methods, outline=Outline(criterion=TextTask.criterion, check_student=check_student))


def _manifest(options: TextOptions, original: Original) -> dict[str, Any]:
    data = original.task.data
    return {
        "kind": KIND,
        "options": record(options),
        "data": {"name": data.name, "source": data.source, "classes": list(data.classes)},
        "identity": _identity(options, original),
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
