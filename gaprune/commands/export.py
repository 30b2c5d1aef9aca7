"""``gaprune export``: a member of a finished search, or a row of a comparison, as the file that ships."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gaprune.commands.lines import check_text_libraries
from gaprune.commands.lines import export_main as main
from gaprune.data import ImageData, Splits, first
from gaprune.device import in_turn
from gaprune.errors import OptionError, RunError
from gaprune.kinds import PATH, REPORTER
from gaprune.kinds import check as check_arguments
from gaprune.options import SUFFIXES, TASK, ExportKeywords, ExportOptions, from_keywords
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.runs import MANIFEST_NAME, MEGABYTE, atomic_write, check_links, fact, read_manifest
from gaprune.session import NAMED, Own, check_kinds, check_task_kind, named_or_given
from gaprune.shipping import (
    Check,
    ShippedFile,
    Subject,
    TaskCheck,
    check,
    check_task_file,
    known_images,
    make_file,
    make_task_file,
    runtime_of,
    subject_of,
)
from gaprune.tasks import Task

__all__ = ["ExportOptions", "Exported", "command", "export", "main"]

FOLDER = "exported"
"""Of a run, where its files go unless told otherwise."""

PLACES = ("data_dir", "cache_dir")

WITHOUT_IMAGES = {
    "with_preprocessing": "it is of the pixels of images",
    "quantize": "nobody but your score could say what it costs: quantize the file with your own tools, and score it",
    **dict.fromkeys(PLACES, "the task brings its own data"),
}
"""Options that say nothing to a task, each with the reason."""

CALIBRATION, BATCH = 512, 128
"""Training images that activations in 8 bits get their ranges on, and how many at a time."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: where it lies.
        format: ``onnx``, ``pt2`` or ``state-dict``.
        runtime: whose kernels it was checked with, and their version.
        bytes: its size.
        float_bytes: of a quantized file, the size of the one in floats; else ``None``.
        check: how it compares with the network, and how long both take.
        metadata: what stands in it.
    """

    path: Path
    format: str
    runtime: str
    bytes: int
    float_bytes: int | None
    check: Check | TaskCheck
    metadata: dict[str, Any]


def export(
    run: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: ImageData | None = None,
    task: Task | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[ExportKeywords],
) -> Exported:
    """Write a network of a finished search, or of a comparison, as the file that ships; checked where it will run.

    Args:
        run: a run, one of its members' folders, or a comparison.
        model: the network, where the search was given it as an object, or as ``package.module:factory``: its name.
        data: the data, where the search was given it as an object.
        task: of a search by a task of your own: the same.
        reporter: where progress goes; by default as the command shows it.
        **options: any other option of the command, by its name with underscores (``format="pt2"``).

    Returns:
        The file, and how it compares with the network: ``gaprune.export("runs/half", quantize="int8").check``.

    Raises:
        GapruneError: anything that the caller can mend, in one line. Nothing is written then.
    """
    network, named = named_or_given(model)
    if task is None:
        check_kinds(network, data, by_name=False)
    else:
        check_task_kind(task, network, data)
    check_arguments({"run": (run, PATH), "reporter": (reporter, REPORTER.or_none())})
    typed = from_keywords(ExportOptions, options, ("run", "model")) | named
    made = ExportOptions.of(run=Path(run), **typed, given=frozenset(typed))
    made.check()
    return _shown(made, Own(network, data, task=task), make_reporter() if reporter is None else reporter)


def command(options: ExportOptions) -> None:
    """Do what the command line says.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    _shown(options, Own(), make_reporter())


@in_turn()
def _shown(options: ExportOptions, own: Own, reporter: Reporter) -> Exported:
    level = options.screen.log_level if "log_level" in options.given else None
    with heard(reporter, quiet=options.screen.quiet, log_level=level) as told:
        done = _export(options, own, told)
    if options.screen.quiet:
        reporter.say(str(done.path))
    return done


def _export(options: ExportOptions, own: Own, reporter: Reporter) -> Exported:
    which, asked = options.which, options.file
    own = _of_texts(options, own, reporter)
    subject = subject_of(options.run, which.pick, which.row, picked="pick" in options.given, own=own, code=options.code)
    path = _place(options, subject)
    if options.file.output is None:
        check_links(subject.home)
    _check_place(path)
    reporter.say(f"network: {subject.name}, {asked.format}{' in 8 bits' if asked.quantize else ''}")
    file, checked = _checked(options, subject, own, reporter)
    _write(path, file.content)
    done = Exported(
        path=path,
        format=file.format,
        runtime=runtime_of(file.format),
        bytes=len(file.content),
        float_bytes=file.float_bytes,
        check=checked,
        metadata=file.metadata,
    )
    for line in told(done, file):
        reporter.say(line)
    return done


def _of_texts(options: ExportOptions, own: Own, reporter: Reporter) -> Own:
    """What a search of texts was given by names, made again."""
    where = Path(os.path.abspath(options.run))  # ``.`` has no parents
    run = next((folder for folder in (where, *where.parents[:3]) if (folder / MANIFEST_NAME).is_file()), None)
    if own.task is not None or run is None or fact(read_manifest(run), TASK, NAMED, kind=dict) is None:
        return own
    check_text_libraries()
    from gaprune.commands.search_texts import reopened_texts  # which brings transformers

    places = options.places
    anew = {"data_dir": places.data_dir, "cache_dir": places.cache_dir, "threads": places.threads, "device": "cpu"}
    return reopened_texts(run, anew, reporter)


def _checked(
    options: ExportOptions, subject: Subject, own: Own, reporter: Reporter
) -> tuple[ShippedFile, Check | TaskCheck]:
    """The file in memory, loaded again and compared with the network."""
    asked, threads = options.file, options.places.threads or torch.get_num_threads()
    if own.task is not None:
        for name, reason in WITHOUT_IMAGES.items():
            if name in options.given and (own.named is None or name not in PLACES):
                whose = "a task of your own" if own.named is None else "a search of texts"
                raise OptionError(f"{name} has no meaning with {whose}: {reason}")
        file = make_task_file(subject, asked.format, own.task, asked.opset)
        return file, check_task_file(file, subject, own.task, threads, reporter)
    splits = known_images(subject.manifest, reporter, own.data, options.places.data_dir, options.places.cache_dir)
    file = make_file(
        subject,
        asked.format,
        splits.test.images[:2],
        preprocessing=asked.with_preprocessing,
        opset=asked.opset,
        calibration=_calibration(splits) if asked.quantize else None,
    )
    return file, check(file, subject, splits.test, threads, reporter)


def _place(options: ExportOptions, subject: Subject) -> Path:
    """Where the file goes."""
    asked = options.file
    marks = ("-uint8" if asked.with_preprocessing else "", f"-{asked.quantize}" if asked.quantize else "")
    name = "".join((subject.name, *marks, SUFFIXES[asked.format]))
    if asked.output is None:
        return subject.home / FOLDER / name
    return asked.output / name if asked.output.is_dir() else asked.output


def _check_place(path: Path) -> None:
    """Refuse what cannot be written, before anything slow."""
    home = next(folder for folder in path.parents if folder.exists())
    if path.is_dir():
        raise RunError(f"cannot write {path}: it is a directory")
    if not home.is_dir():
        raise RunError(f"cannot write {path}: {home} is a file")
    if not os.access(home, os.W_OK):
        raise RunError(f"cannot write {path}: {home} cannot be written to")


def _calibration(splits: Splits) -> Iterator[Tensor]:
    images = first(splits.calibration, CALIBRATION).loaded().images
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def told(done: Exported, file: ShippedFile) -> list[str]:
    """What was written and found, in lines."""
    found, size = done.check, f"{done.bytes / MEGABYTE:.2f} MB"
    if isinstance(found, TaskCheck):
        return _told_by_task(done, found, size)
    takes = done.metadata["input"]
    if done.float_bytes is not None:
        size += f" ({done.float_bytes / MEGABYTE:.2f} MB in floats)"
    shape = ", ".join(map(str, takes["shape"]))
    pixels = "pixels as they are" if file.uint8 else "pixels normalised by its mean and std"
    lines = [
        f"wrote {done.path}: {size}; takes {takes['type']} ({shape}), {pixels}",
        f"checked in {done.runtime} on {found.images:,} test images: {found.agreement:.2%} the same class, logits of "
        f"up to {found.logits:.3g} differ by up to {found.difference:.2g}",
    ]
    if done.float_bytes is not None:
        lines.append(f"accuracy on these images: {found.network_accuracy:.4f} before, {found.accuracy:.4f} in 8 bits")
    return [*lines, _timed(found, "image")]


def _told_by_task(done: Exported, found: TaskCheck, size: str) -> list[str]:
    """The same of a task's member."""
    takes = "; ".join(
        f"{one['name']}: {one['type']} ({', '.join(map(str, one['shape']))})" for one in done.metadata["inputs"]
    )
    return [
        f"wrote {done.path}: {size}; takes {takes}; gives {', '.join(done.metadata['outputs'])}",
        f"checked in {done.runtime} on {found.samples:,} calibration samples: numbers of up to {found.largest:.3g} "
        f"differ by up to {found.difference:.2g}",
        _timed(found, "sample"),
    ]


def _timed(found: Check | TaskCheck, of: str) -> str:
    after, before = found.file_time, found.network_time
    plural = "" if found.threads == 1 else "s"
    return (
        f"time for one {of}, {found.threads} thread{plural}: {1e3 * after.seconds:.3g} ms "
        f"({1e3 * after.low:.3g} to {1e3 * after.high:.3g}), the network in PyTorch {1e3 * before.seconds:.3g} ms"
    )
