"""Members of a new front that lost accuracy trained for a given time each, before they are handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gaprune.device import pinned
from gaprune.options import TrainingOptions
from gaprune.progress import Reporter, duration
from gaprune.recovery.by_task import TaskTuner
from gaprune.recovery.members import Tuner, more_gently, open_member, say_frozen, update_table
from gaprune.recovery.network import distillation, gentle_recipe
from gaprune.runs import FrontRow, RunDirectory
from gaprune.session import Job
from gaprune.training import Lesson, Recipe, estimate_seconds, thawed

ENOUGH = 0.01
"""Accuracy on the search images that a member may have lost without being trained."""

TIMED_BATCH = 16
"""Images of a step that is timed; a whole one of large photographs may take as long as the training is to."""

FEWEST_STEPS = 2
SETTLED = "recover"
"""Entry of the manifest: what a time was found to stand for, so that a run that goes on trains as it began to."""


def recover_front(
    job: Job, run: RunDirectory, rows: list[FrontRow], seconds: float, reporter: Reporter
) -> list[FrontRow]:
    """Train the members that lost accuracy, each for a time; the search images decide which network is handed out.

    A member that was trained in this way before is left alone, another time is another way; a stopped training goes
    on. How many images a time stands for is measured on the largest of these members, once a run.

    Args:
        job: of the search.
        run: its directory, with the front.
        rows: of the front.
        seconds: for each member.
        reporter: told how it goes.

    Returns:
        The rows, of the better of each member's networks.

    Raises:
        TrainingError: a training went astray.
    """
    wanting = [row for row in rows if lost(job, row) >= ENOUGH]
    if not wanting:
        reporter.say(f"recover: no member loses {100 * ENOUGH:g} point or more on the search images")
        return rows
    defaults = TrainingOptions()
    lesson = distillation(job, temperature=defaults.temperature, weight=defaults.distill)
    recipe = _settled(job, run, max(wanting, key=lambda row: row.flops), seconds, lesson, reporter)
    method = f"about {seconds:g} s, with the original as teacher (--recover)"
    advice = f"give it more time (--recover {10 * seconds:g}s)"
    tuner = Tuner(job, run, method, reporter, recipe, lesson, advice, more_gently(recipe))
    pending = tuner.pending(wanting)
    if not pending:
        return rows
    some = f"{len(pending)} of {len(rows)} members lose {100 * ENOUGH:g} point or more on the search images"
    whole = duration(seconds * len(pending))
    reporter.say(f"recover: {some}; each is trained for about {seconds:g} s, {whole} in all; Ctrl-C keeps what is done")
    return recover_each(tuner, pending, reporter)


def recover_each(tuner: Tuner | TaskTuner, pending: Sequence[FrontRow], reporter: Reporter) -> list[FrontRow]:
    """Train members one after the other; the rows of the front by then.

    Args:
        tuner: what trains one.
        pending: those it has not trained yet, one at least.
        reporter: told how it goes.
    """
    job, run = tuner.job, tuner.run
    say_frozen(open_member(job, run, pending[0]), reporter)
    with reporter.task("recover", len(pending)) as task:
        for row in pending:
            tuner(row)
            task.advance(1)
    run.note_seconds(job.since)
    return update_table(run)


def lost(job: Job, row: FrontRow) -> float:
    """Accuracy on the search images that a member has less than the original, before any training."""
    return job.original.search_accuracy - row.untrained().search_accuracy


def _settled(
    job: Job, run: RunDirectory, largest: FrontRow, seconds: float, lesson: Lesson, reporter: Reporter
) -> Recipe:
    """The training that a time stands for: what the run says already, or what is found now."""
    known: dict[str, Any] = run.manifest.get(SETTLED) or {}
    if known.get("seconds") != seconds:
        images = len(job.splits.train)
        rate, check = _timed(job, run, largest, lesson)
        epochs, each = paces(seconds, rate, check, images, gentle_recipe(job, 1, None).batch_size)
        known = {"seconds": seconds, "epochs": epochs, "epoch_images": each}
        run.update_manifest(**{SETTLED: known})
    return gentle_recipe(job, known["epochs"], known["epoch_images"])


def _timed(job: Job, run: RunDirectory, row: FrontRow, lesson: Lesson) -> tuple[float, float]:
    """Seconds for one training image, and for the check at the end of an epoch."""
    recipe = replace(gentle_recipe(job, 1, TIMED_BATCH), batch_size=TIMED_BATCH)
    network, train = thawed(open_member(job, run, row).network), len(job.splits.train)
    shape, checked = job.data.image_shape, len(job.splits.search)
    with pinned(job.threads):
        both = estimate_seconds(network, shape, recipe, train, validation_images=checked, lesson=lesson)
        alone = estimate_seconds(network, shape, recipe, train, lesson=lesson)
    return alone / min(TIMED_BATCH, train), max(both - alone, 0.0)


def paces(seconds: float, rate: float, check: float, images: int, batch: int) -> tuple[int, int | None]:
    """Epochs, and images of each (``None`` is all), that a training of a length is made of.

    Args:
        seconds: of the training.
        rate: seconds for one image.
        check: seconds that each epoch ends with.
        images: that there are to train on.
        batch: images of a step.

    >>> paces(60, 0.01, 5, 4000, 64)
    (2, 2500)
    >>> paces(600, 0.01, 5, 4000, 64)
    (13, None)
    >>> paces(1, 0.1, 5, 4000, 64)
    (1, 128)
    """
    epochs = int(seconds / (images * rate + check))
    if epochs >= 2:
        return epochs, None
    epochs = 2 if seconds > 4 * check else 1
    most = int((seconds - epochs * check) / epochs / rate)
    return epochs, min(max(most, FEWEST_STEPS * batch), images)
