"""Going on with what a finished search has left: its front, its images, its original."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from gaprune.errors import RunError
from gaprune.front.members import CSV, remember_times
from gaprune.options import PLACES, SearchOptions, TrustOptions, differences, resumed_options
from gaprune.progress import Reporter
from gaprune.runs import PARTS, FrontRow, RunDirectory, read_front
from gaprune.session import Before, Job, Own, check_names, logged_outcomes, prepare, prepare_task

SEARCH = "python -m gaprune.search"
OF_THE_DEVICE = ("device", "threads", "precision", "latency")
"""Parts of a run's identity that later work need not share: a front may be searched here and trained elsewhere."""

DONE = ("generations_done", "rounds_done", "iterations_done")
"""Entries of a manifest, one of which says that there is a whole front."""


def part_of(manifest: Mapping[str, Any]) -> str | None:
    """What a directory with this manifest is of a run, in words; ``None`` where it is a run."""
    return next((words for name, words in PARTS.items() if name in manifest), None)


def finished_front(run: RunDirectory) -> list[FrontRow]:
    """The rows of a run's front.

    Raises:
        RunError: there is none yet, or the directory is of a part of a run alone.
    """
    manifest = run.manifest
    part = part_of(manifest)
    if part is not None:
        raise RunError(f"{run.path} is {part} of a run: give {run.path.parent}")
    if not (run.path / CSV).exists() or all(manifest.get(name) is None for name in DONE):
        command = f"{SEARCH} --resume {shlex.quote(str(run.path))}"
        raise RunError(f"{run.path} has no front yet: its search is not finished, go on with: {command}")
    return read_front(run.path)


def reopened(
    run: RunDirectory, own: Own, anew: Mapping[str, Any], reporter: Reporter, code: TrustOptions | None = None
) -> Job:
    """The job of a finished search, for work on its members: nothing is evaluated, so no statistics are collected.

    Args:
        run: the run.
        own: objects that the search was given.
        anew: options of the search that are given anew: where data and weights lie, the device, threads.
        reporter: told what is used.
        code: the network's name once more, or that the run is trusted, where modules must be imported.

    Raises:
        RunError: the original's weights or the images are not those of the search.
        GapruneError: anything else that the user can mend.
    """
    default = SearchOptions()
    local = {name: getattr(default, name) for name in PLACES} | {"backend": "local"}
    light = {
        "compensation": "none",
        "recalibration": "plain",
        "importance": "l2",
        "precision": "float32",
        "polish": False,
        "polish_below": 0.0,
    }
    code = TrustOptions() if code is None else code
    again = {} if code.model is None else {"model": code.model}
    asked = SearchOptions.of(resume=run.path, trust=code.trust, **again, given=frozenset(again))
    options = resumed_options(asked, run.manifest)
    splits = run.manifest["data"].get("splits")  # a task of the caller's own has none
    there = {} if splits is None else {"search_from": splits["search_from"]}  # where a checkpoint given anew has no say
    options = options.but(**{**local, **light, **there, **anew, "given": frozenset()})
    make = prepare if own.task is None else prepare_task
    job = make(check_names(options, own), reporter, before=Before.of(run.manifest))
    check_identity(job, run, OF_THE_DEVICE)
    for _, outcome in logged_outcomes(run.log.path):
        job.evaluator.remember(outcome)
    remember_times(job, run)
    return job


def check_identity(job: Job, run: RunDirectory, but: tuple[str, ...] = ()) -> None:
    """A run goes on only with the same weights, images and genome layout.

    Raises:
        RunError: it was made with others; all differences are named, except in ``but``.
    """
    found, wanted = (
        {name: value for name, value in identity.items() if name not in but}
        for identity in (run.manifest.get("identity", {}), job.identity)
    )
    apart = differences(found, wanted)
    if apart:
        raise RunError(f"{run.path} was made with other weights, images or device: {'; '.join(apart)}")
