"""``gaprune export``: a member of a finished search, or a row of a comparison, as the file that ships."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gaprune.commands.lines import export_main as main
from gaprune.data import ImageData, Splits
from gaprune.device import in_turn
from gaprune.errors import RunError
from gaprune.kinds import PATH, REPORTER
from gaprune.kinds import check as check_arguments
from gaprune.options import SUFFIXES, ExportKeywords, ExportOptions, from_keywords
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.runs import MEGABYTE, atomic_write, check_links
from gaprune.session import Own, check_kinds, first, named_or_given
from gaprune.shipping import Check, ShippedFile, Subject, check, known_images, make_file, runtime_of, subject_of

__all__ = ["ExportOptions", "Exported", "command", "export", "main"]

FOLDER = "exported"
"""Of a run, where its files go unless told otherwise."""

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
    check: Check
    metadata: dict[str, Any]


def export(
    run: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: ImageData | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[ExportKeywords],
) -> Exported:
    """Write a network of a finished search, or of a comparison, as the file that ships; checked where it will run.

    Args:
        run: a run, one of its members' folders, or a comparison.
        model: the network, where the search was given it as an object, or as ``package.module:factory``: its name.
        data: the data, where the search was given it as an object.
        reporter: where progress goes; by default as the command shows it.
        **options: any other option of the command, by its name with underscores (``format="pt2"``).

    Returns:
        The file, and how it compares with the network: ``gaprune.export("runs/half", quantize="int8").check``.

    Raises:
        GapruneError: anything that the caller can mend, in one line. Nothing is written then.
    """
    network, named = named_or_given(model)
    check_kinds(network, data, by_name=False)
    check_arguments({"run": (run, PATH), "reporter": (reporter, REPORTER.or_none())})
    typed = from_keywords(ExportOptions, options, ("run", "model")) | named
    made = ExportOptions.of(run=Path(run), **typed, given=frozenset(typed))
    made.check()
    return _shown(made, Own(network, data), make_reporter() if reporter is None else reporter)


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
    subject = subject_of(options.run, which.pick, which.row, picked="pick" in options.given, own=own, code=options.code)
    path = _place(options, subject)
    if options.file.output is None:
        check_links(subject.home)
    _check_place(path)
    splits = known_images(subject.manifest, reporter, own.data, options.places.data_dir, options.places.cache_dir)
    reporter.say(f"network: {subject.name}, {asked.format}{' in 8 bits' if asked.quantize else ''}")
    file = make_file(
        subject,
        asked.format,
        splits.test.images[:2],
        preprocessing=asked.with_preprocessing,
        opset=asked.opset,
        calibration=_calibration(splits) if asked.quantize else None,
    )
    threads = options.places.threads or torch.get_num_threads()
    checked = check(file, subject, splits.test, threads, reporter)
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
    found, takes = done.check, done.metadata["input"]
    size = f"{done.bytes / MEGABYTE:.2f} MB"
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
    after, before = found.file_time, found.network_time
    plural = "" if found.threads == 1 else "s"
    lines.append(
        f"time for one image, {found.threads} thread{plural}: {1e3 * after.seconds:.3g} ms "
        f"({1e3 * after.low:.3g} to {1e3 * after.high:.3g}), the network in PyTorch {1e3 * before.seconds:.3g} ms"
    )
    return lines
