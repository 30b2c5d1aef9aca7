"""``python -m gaprune.compare``: quantization, Tucker, distillation and pruning beside members of a search's front."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gaprune.cli import (
    Interrupted,
    fail,
    option,
    options_from_record,
    options_record,
    run_command,
)
from gaprune.compress.chain import Chain, parse_chains
from gaprune.compress.extras import needed
from gaprune.compress.images import ImageTask, check_student
from gaprune.compress.method import Outline
from gaprune.compress.ours import Front
from gaprune.compress.report import report
from gaprune.compress.resuming import (
    COMPARISONS,
    KIND,
    PROG,
    TEXT,
    again_command,
    check_identity,
    resumed_options,
)
from gaprune.compress.rows import Row
from gaprune.data import data_names
from gaprune.device import DEVICES, choose_device, neutral
from gaprune.errors import MethodError, OptionError, RunError
from gaprune.models import check_name
from gaprune.progress import Reporter, make_reporter
from gaprune.runs import RunDirectory, check_free, default_run_path, environment, read_manifest
from gaprune.session.engine import first
from gaprune.session.job import check_names, find_baseline, load_images, split_images
from gaprune.session.options import SearchOptions, with_known_data
from gaprune.session.own import Own
from gaprune.training.digest import digest_images

TEXT_EXTRA, TEXT_LIBRARIES = "text", ("accelerate", "tokenizers", "transformers")
"""What the text classifier needs beyond images: the package's extra, and what it installs."""

CALIBRATION = 512
"""Images that activations get their ranges on, and batch norm its statistics."""

METHODS = (
    *("none", "onnx", "quantize:linear", "quantize"),
    *(
        "tucker:size=0.5:raw",
        "tucker:size=0.5",
        "tucker:size=0.2",
        "tucker:size=0.1",
        "tucker:size=0.05",
        "tucker:energy=0.6",
    ),
    *("distill", "distill:thin=0.1"),
    *("prune:magnitude", "prune:magnitude+sparse"),
    *("prune:l1:keep=0.5", "prune:l1:keep=0.25", "prune:l1-global:keep=0.5", "prune:l1-global:keep=0.25"),
    *("tucker:size=0.2+quantize", "prune:l1-global:keep=0.25+quantize"),
    *("distill+quantize", "distill:thin=0.1+quantize", "distill+tucker:size=0.5", "distill+tucker:size=0.5+quantize"),
)
MEMBERS = 4
"""Members that a comparison takes from a front unless told which."""

_OF_THE_RUN = (
    "model",
    "stem",
    "checkpoint",
    "head",
    "data",
    "data_dir",
    "test_share",
    "search_from",
    "search_size",
    "seed",
    "cache_dir",
)
_MAY_CHANGE = ("methods", "data_dir", "checkpoint", "cache_dir", "run")


@dataclass(frozen=True)
class Options:
    """Compare compression methods with members of a search's front, all measured the same way, in one table."""

    model: str = option("vgg16", f"network: vgg16, resnet18, package.module:factory, or {TEXT} (see its own --help)")
    stem: str = option("cifar", "first layers of resnet18", choices=("cifar", "imagenet"))
    checkpoint: Path | None = option(None, "trained weights: safetensors, a state dict, or pretrained", metavar="FILE")
    head: str | None = option(None, "a checkpoint's head of other classes: keep, cut:CLASS_FILE or new (is fitted)")
    run: Path | None = option(
        None, "a finished search, whose members take part; brings its model and data", metavar="RUN"
    )
    methods: tuple[str, ...] | None = option(
        None, "chains such as none, quantize, tucker:size=0.2, distill+tucker+quantize, ours:03+quantize; none is all"
    )
    data: str = option("auto", "data set", choices=data_names())
    data_dir: Path | None = option(None, "CIFAR-10 root or image folder train/<class>/*", metavar="DIR")
    test_share: float = option(0.2, "share of an image folder without test/ that is split off to report on")
    search_from: str = option(
        "auto", "where the images that trainings are watched on are held out: auto, train or test"
    )
    search_size: int | None = option(None, "number of these images; none is a fifth, at most 2,000")
    epochs: int = option(10, "passes over the training images that a row may spend, all its trainings together")
    epoch_images: int | None = option(None, "images of a pass, drawn anew for each; none is all training images")
    threads: int | None = option(None, "CPU threads; none is torch's own number")
    batch: int = option(128, "the larger batch that is timed; the other is 1")
    seed: int = option(0, "decides splits, initial weights and the order of images")
    device: str = option("auto", "where networks are trained and judged", choices=DEVICES)
    output: Path | None = option(None, "directory; none is comparisons/<model>-<data>-<date>", metavar="DIR")
    resume: Path | None = option(None, "go on with this comparison; --methods adds rows to it", metavar="DIR")
    cache_dir: Path | None = option(None, "where data and baselines are kept", metavar="DIR")
    given: frozenset[str] = field(default=frozenset(), compare=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    words = list(sys.argv[1:] if argv is None else argv)
    if _model_of(words) == TEXT:
        try:
            for name in TEXT_LIBRARIES:
                needed(name, TEXT_EXTRA)
        except MethodError as error:
            return fail(PROG, error)
        command: Any = importlib.import_module("gaprune.text.compare")  # brings transformers, which images do without
        return int(command.main(words))
    return run_command(_command, Options, PROG, words)


def _command(options: Options) -> None:
    compare(options)


@neutral()
def compare(options: Options) -> list[Row]:
    """Make the table that the options ask for, or what it lacks, and write it.

    Raises:
        GapruneError: an option, the data, the run or a library cannot be used.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    reporter = make_reporter()
    path = options.resume
    try:
        if options.resume is not None:
            with RunDirectory.open(options.resume) as directory:
                return _go(resumed_options(options, directory, _MAY_CHANGE, _usual), directory, reporter)
        _check(options)
        front = Front(options.run) if options.run is not None else None
        options = _named(_with_run(options, front), front)
        options = dataclasses.replace(options, threads=options.threads or torch.get_num_threads())
        _chains(options, front)
        _names(options)
        if options.output is not None:
            check_free(options.output)
        task = _task(options, front, reporter)
        _chains(options, front, task.work().outline)
        path = options.output or default_run_path(COMPARISONS, options.model, task.data.name)
        with RunDirectory.create(path, _manifest(options, task, front)) as directory:
            return _made(options, task, front, directory, reporter)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; nothing is lost, go on with: {again_command(options, path)}") from None


def _go(options: Options, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    front = Front(options.run) if options.run is not None else None
    options = _named(options, front)
    _chains(options, front)
    task = _task(options, front, reporter)
    check_identity(directory, _identity(task), later=("hardware",))
    _chains(options, front, task.work().outline)  # what cannot be must not stay in the list
    _check_front(front, directory)
    directory.update_manifest(options=_record(options), **({} if front is None else {"front": front.digest()}))
    return _made(options, task, front, directory, reporter)


def _check_front(front: Front | None, directory: RunDirectory) -> None:
    """Raise ``RunError`` where members of another front are in the table already: chains name them by number."""
    before = directory.manifest.get("front")
    if front is not None and before is not None and before != front.digest():
        raise RunError(
            f"{directory.path} compares members of another front than that of {front.run} as it is now: "
            "start a new comparison"
        )


def _made(
    options: Options, task: ImageTask, front: Front | None, directory: RunDirectory, reporter: Reporter
) -> list[Row]:
    return report(
        directory,
        task.work(),
        _chains(options, front),
        threads=task.threads,
        sizes=(1, options.batch),
        reporter=reporter,
        about={"title": task.name, "epochs": options.epochs, "identity": _identity(task), "environment": _machine()},
    )


def _chains(options: Options, front: Front | None, outline: Outline | None = None) -> tuple[Chain, ...]:
    wanted = default_methods(front) if options.methods is None else options.methods
    if outline is None:
        member = None if front is None else front.row
        outline = Outline(criterion="l1", check_student=partial(check_student, stem=options.stem, member=member))
    return parse_chains(wanted, {"ours": "gaprune.compress.ours:Ours"}, front, outline)


def _named(options: Options, front: Front | None) -> Options:
    """The options with every member that a chain names by its index, as rows and the manifest have it."""
    if front is None or options.methods is None:
        return options
    return dataclasses.replace(options, methods=tuple(front.canonical(chain) for chain in options.methods))


def _usual(saved: Options, now: Options) -> tuple[str, ...]:
    """The chains of a comparison that named none when it was begun; its run may lie elsewhere now."""
    return default_methods(None if saved.run is None or now.run is None else Front(now.run))


def default_methods(front: Front | None) -> tuple[str, ...]:
    """The chains of a comparison that names none, with some of the front's members where there is one."""
    if front is None:
        return METHODS
    members = front.spread(MEMBERS)
    own = [chain for member in members for chain in (f"ours:{member}", f"ours:{member}+quantize")]
    smallest, middle = members[0], members[len(members) // 2]
    own += [f"ours:{middle}:raw", f"ours:{middle}:raw+quantize"]
    own += [
        f"ours:{member}+tucker:size=0.5{more}"
        for member in dict.fromkeys((smallest, middle))
        for more in ("", "+quantize")
    ]
    own.append(f"distill:ours:{middle}")  # the same training as the member's own: one says so
    return (*METHODS, *own)


def _task(options: Options, front: Front | None, reporter: Reporter) -> ImageTask:
    device, wanted = choose_device(options.device), _search_options(options)
    data = load_images(wanted, reporter)
    splits = split_images(wanted, data, False, reporter)
    weights = None if front is None else front.manifest.get("identity", {}).get("weights_sha256")
    baseline = find_baseline(wanted, data, splits, device, None, reporter, weights)
    reporter.say(f"network: {options.model}, {baseline.source}")
    if front is not None:
        front.check_original(baseline.identity["weights_sha256"])
        front.check_splits(splits.record)
    calibration = first(splits.calibration, CALIBRATION)
    on_device = {"search": splits.search, "calibration": calibration, "test": splits.test}
    moved: dict[str, Any] = {name: part.to(device) for name, part in on_device.items()}
    return ImageTask(
        model_name=options.model,
        stem=options.stem,
        data=data.with_normalisation(baseline.mean, baseline.std),
        splits=dataclasses.replace(splits, **moved),
        original=baseline,
        epochs=options.epochs,
        epoch_images=options.epoch_images,
        device=device,
        threads=options.threads or torch.get_num_threads(),
        seed=options.seed,
        member=None if front is None else front.member,
    )


def _search_options(options: Options) -> SearchOptions:
    """The same data, splits and weights as a search with these options has."""
    names = (*_OF_THE_RUN, "device")
    return SearchOptions(**{name: getattr(options, name) for name in names}, given=options.given & set(names))


def _with_run(options: Options, front: Front | None) -> Options:
    """The options, with those of the run where nothing was typed."""
    if front is None:
        return options
    try:
        saved = options_from_record(SearchOptions, with_known_data(front.manifest["options"], front.manifest))
    except (KeyError, TypeError) as error:
        raise RunError(f"the manifest of {front.run} has no options: it is no run of this version") from error
    taken = {name: getattr(saved, name) for name in _OF_THE_RUN if name not in options.given}
    return dataclasses.replace(options, **taken)


def _check(options: Options) -> None:
    ones = ("epochs", "threads", "search_size")
    for name, least in (*((name, 1) for name in ones), ("epoch_images", 2), ("batch", 2), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise OptionError(f"{name.replace('_', '-')} must be at least {least}, got {value}")


def _names(options: Options) -> None:
    """Wrong names are told before data is read."""
    check_names(_search_options(options), Own())
    check_name(options.model, stem=options.stem)


def _manifest(options: Options, task: ImageTask, front: Front | None) -> dict[str, Any]:
    return {
        "kind": KIND,
        "options": _record(options),
        "baseline": task.original.source,
        "data": {"name": task.data.name, "source": task.data.source, "splits": task.splits.record},
        "threads": task.threads,
        "identity": _identity(task),
        "front": None if front is None else front.digest(),
        "environment": _machine(),
    }


def _record(options: Options) -> dict[str, Any]:
    kept = options_record(options)
    kept.pop("resume")
    return kept


def _identity(task: ImageTask) -> dict[str, Any]:
    """What rows of one table must have in common."""
    return {
        **task.original.identity,
        "test": digest_images(task.splits.test),
        "calibration": digest_images(task.splits.calibration),
        "train": digest_images(task.splits.train),
        "device": task.device.type,
        "threads": task.threads,
        "hardware": {name: _machine()[name] for name in ("cpu", "cuda_devices")},
    }


def _machine() -> dict[str, Any]:
    names = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    return environment(names)


def _model_of(words: Sequence[str]) -> str | None:
    """What ``--model`` says, or the comparison of ``--resume``, before the options of either kind are known."""
    model, resume = _typed(words, "--model"), _typed(words, "--resume")
    if model is None and resume is not None:
        with suppress(RunError, KeyError, TypeError):  # what is wrong with the folder is told when it is opened
            return str(read_manifest(Path(resume).expanduser())["options"]["model"])
    return model


def _typed(words: Sequence[str], flag: str) -> str | None:
    """The value of an option among the words of a command."""
    for number, word in enumerate(words):
        if word == flag and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return None
