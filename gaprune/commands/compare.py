"""``python -m gaprune.compare``: quantization, Tucker, distillation and pruning beside members of a search's front.

``gaprune.compare`` does the same for a caller's own network and data.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from gaprune.commands.lines import compare_main as main
from gaprune.compress import (
    COMPARISONS,
    KIND,
    Chain,
    Front,
    ImageTask,
    Outline,
    Row,
    again_command,
    check_identity,
    check_student,
    parse_chains,
    report,
    resumed_options,
)
from gaprune.data import ImageData, first
from gaprune.device import choose_device, in_turn
from gaprune.errors import OptionError, RunError
from gaprune.kinds import REPORTER, check
from gaprune.models import check_name
from gaprune.options import (
    CompareKeywords,
    CompareOptions,
    Interrupted,
    SearchOptions,
    check_trusted,
    from_keywords,
    options_from_record,
    record,
    with_known_data,
)
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.runs import RunDirectory, check_free, default_run_path, environment, fact
from gaprune.session import (
    Own,
    check_kinds,
    check_names,
    data_options,
    find_baseline,
    in_hand,
    load_images,
    normalised,
    opened,
    split_images,
)
from gaprune.training import digest_images

__all__ = ["CompareOptions", "compare", "compare_as", "default_methods", "main"]

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
CALL = "gaprune.compare({objects}, "
"""How a comparison is called from Python, as far as errors tell."""

NOTHING = Own()
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
    "image_size",
    "resize",
    "mean",
    "std",
    "normalise",
    "search_from",
    "search_size",
    "seed",
    "cache_dir",
)
_MAY_CHANGE = ("methods", "data_dir", "checkpoint", "cache_dir", "run")


def compare(
    model: nn.Module | str | None = None,
    data: ImageData | str | Path | None = None,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[CompareKeywords],
) -> list[Row]:
    """Compare compression methods, and members of a finished search, in one table; what the command does, for Python.

    Args:
        model: a trained network, or a name as in ``--model``; may be left out where ``run`` names a search, or
            ``resume`` a comparison, that was made with names.
        data: ``gaprune.image_data(...)`` or other ``ImageData``, a name, or the path of a folder; likewise.
        reporter: where progress and the table go; by default as the command shows them.
        **options: any other option of the command, by its name with underscores (``methods=["none", "quantize"]``).

    Returns:
        A row a chain, as ``table.json`` of the comparison's directory has them.

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    known = options.get("run") is not None or options.get("resume") is not None
    if model is None and data is None and not known:
        raise OptionError("compare needs a network and its data, or run= or resume= that was made with names")
    check_kinds(model, data, by_name=True, optional=known)
    check({"reporter": (reporter, REPORTER.or_none())})
    own = Own(model=model if isinstance(model, nn.Module) else None, data=data if isinstance(data, ImageData) else None)
    given = from_keywords(CompareOptions, options, ("model", "data"))
    given |= data_options(data) | ({"model": model} if isinstance(model, str) else {})
    return compare_as(CompareOptions.of(**given, given=frozenset(given)), own, reporter)


@in_turn()
def compare_as(options: CompareOptions, own: Own = NOTHING, reporter: Reporter | None = None) -> list[Row]:
    """Make the table that the options ask for, or what it lacks, and write it.

    Args:
        options: what to compare.
        own: objects that take the place of names.
        reporter: where progress and the table go; by default as the command shows them.

    Raises:
        GapruneError: an option, the data, the run or a library cannot be used.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    reporter = make_reporter() if reporter is None else reporter
    level = options.screen.log_level if "log_level" in options.given else None
    with heard(reporter, quiet=options.screen.quiet, log_level=level) as told:
        path, rows = _compared(options, own, told)
    if options.screen.quiet:
        reporter.say(str(path))
    return rows


def _compared(options: CompareOptions, own: Own, reporter: Reporter) -> tuple[Path, list[Row]]:
    path = options.table.resume
    try:
        if path is not None:
            with RunDirectory.open(path) as directory:
                own.check_resume(directory.manifest, directory.path, f"{CALL}resume={{path}})")
                usual = partial(_usual, own=own)
                return path, _go(resumed_options(options, directory, _MAY_CHANGE, usual), own, directory, reporter)
        options.check()
        front = _front(options, own)
        options = _named(_with_run(options, front), front)
        options = options.but(threads=options.machine.threads or torch.get_num_threads())
        _chains(options, front)
        _names(options, own)
        if options.table.output is not None:
            check_free(options.table.output)
        task = _task(options, own, front, reporter)
        _chains(options, front, task.work().outline)
        path = options.table.output or default_run_path(COMPARISONS, task.model_name, task.data.name)
        with RunDirectory.create(path, _manifest(options, own, task, front)) as directory:
            return path, _made(options, task, front, directory, reporter)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; nothing is lost, go on with: {_again(options, own, path)}") from None


def _again(options: CompareOptions, own: Own, path: Path | None) -> str:
    """What to type to go on with a comparison that was stopped."""
    if not any(own.record().values()):
        return again_command(options, path)
    model = "model" if own.model is not None else repr(options.network.model)
    data = "data" if own.data is not None else repr(str(options.images.data_dir or options.images.data))
    known = path is not None and path.exists()
    return f'gaprune.compare({model}, {data}, resume="{path}")' if known else "the same call"


def _front(options: CompareOptions, own: Own) -> Front | None:
    run = options.network.run
    if run is None:
        return None
    front = Front(run, own.model)
    own.check_resume(front.manifest, run, f"{CALL}run={{path}})", searching=False)
    if own.model is not None:
        return front
    name = fact(front.manifest, "options", "model", kind=str) or options.network.model
    check_trusted([name], run, "model", trust=options.table.trust or name == options.network.model)
    return Front(run, name)


def _go(options: CompareOptions, own: Own, directory: RunDirectory, reporter: Reporter) -> list[Row]:
    front = _front(options, own)
    options = _named(options, front)
    _chains(options, front)
    task = _task(options, own, front, reporter)
    check_identity(directory, _identity(task), later=("hardware",))
    _chains(options, front, task.work().outline)  # what cannot be must not stay in the list
    if front is not None:
        front.check_table(directory)
    directory.update_manifest(options=record(options), **({} if front is None else {"front": front.digest()}))
    return _made(options, task, front, directory, reporter)


def _made(
    options: CompareOptions, task: ImageTask, front: Front | None, directory: RunDirectory, reporter: Reporter
) -> list[Row]:
    return report(
        directory,
        task.work(),
        _chains(options, front),
        threads=task.threads,
        sizes=(1, options.work.batch),
        reporter=reporter,
        about={
            "title": task.name,
            "epochs": options.work.epochs,
            "identity": _identity(task),
            "environment": _machine(),
        },
    )


def _chains(options: CompareOptions, front: Front | None, outline: Outline | None = None) -> tuple[Chain, ...]:
    wanted = default_methods(front) if options.work.methods is None else options.work.methods
    if outline is None:
        member = None if front is None else front.row
        outline = Outline(
            criterion="l1", check_student=partial(check_student, stem=options.network.stem, member=member)
        )
    return parse_chains(wanted, {"ours": "gaprune.compress.ours:Ours"}, front, outline)


def _named(options: CompareOptions, front: Front | None) -> CompareOptions:
    """The options with every member that a chain names by its index, as rows and the manifest have it."""
    if front is None or options.work.methods is None:
        return options
    return options.but(methods=tuple(front.canonical(chain) for chain in options.work.methods))


def _usual(saved: CompareOptions, now: CompareOptions, own: Own = NOTHING) -> tuple[str, ...]:
    """The chains of a comparison that named none when it was begun; its run may lie elsewhere now."""
    return default_methods(None if saved.network.run is None else _front(now, own))


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


def _task(options: CompareOptions, own: Own, front: Front | None, reporter: Reporter) -> ImageTask:
    device, wanted = choose_device(options.machine.device), _search_options(options)
    name = own.model_name or options.network.model
    data = load_images(wanted, reporter, own.data)
    network = None if own.model is None else opened(own.model, data, device, reporter)
    parts = split_images(wanted, data, network is not None, reporter)
    splits, _ = in_hand(parts, options.table.cache_dir, device, reporter)
    weights = None if front is None else front.manifest.get("identity", {}).get("weights_sha256")
    baseline = find_baseline(wanted, data, splits, device, network, reporter, weights)
    reporter.say(f"network: {name}, {baseline.source}")
    if front is not None:
        front.check_original(baseline.identity["weights_sha256"])
        front.check_splits(splits.record)
    calibration = first(splits.calibration, CALIBRATION).loaded()
    return ImageTask(
        model_name=name,
        own=own.model,
        stem=options.network.stem,
        data=normalised(data, baseline, reporter),
        splits=dataclasses.replace(splits, calibration=calibration),
        original=baseline,
        epochs=options.work.epochs,
        epoch_images=options.work.epoch_images,
        device=device,
        threads=options.machine.threads or torch.get_num_threads(),
        seed=options.work.seed,
        member=None if front is None else front.member,
    )


def _search_options(options: CompareOptions) -> SearchOptions:
    """The same data, splits and weights as a search with these options has."""
    names = (*_OF_THE_RUN, "device")
    return SearchOptions.of(**{name: getattr(options, name) for name in names}, given=options.given & set(names))


def _with_run(options: CompareOptions, front: Front | None) -> CompareOptions:
    """The options, with those of the run where nothing was typed."""
    if front is None:
        return options
    try:
        saved = options_from_record(SearchOptions, with_known_data(front.manifest["options"], front.manifest))
    except (KeyError, TypeError) as error:
        raise RunError(f"the manifest of {front.run} has no options: it is no run of this version") from error
    taken = {name: getattr(saved, name) for name in _OF_THE_RUN if name not in options.given}
    return options.but(**taken)


def _names(options: CompareOptions, own: Own) -> None:
    """Wrong names are told before data is read."""
    check_names(_search_options(options), own)
    if own.model is None:
        check_name(options.network.model, stem=options.network.stem)


def _manifest(options: CompareOptions, own: Own, task: ImageTask, front: Front | None) -> dict[str, Any]:
    return {
        "kind": KIND,
        "options": record(options),
        "objects": own.record(),
        "baseline": task.original.source,
        "data": {"name": task.data.name, "source": task.data.source, "splits": task.splits.record},
        "threads": task.threads,
        "identity": _identity(task),
        "front": None if front is None else front.digest(),
        "environment": _machine(),
    }


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
