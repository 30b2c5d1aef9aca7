"""Members of a new front of a task's that lost of its score, trained for a time each, before they are handed out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gaprune.evaluate import span
from gaprune.options import SCORE
from gaprune.progress import Reporter, duration
from gaprune.recovery.by_task import TaskTuner
from gaprune.recovery.timed import ENOUGH, SETTLED, recover_each
from gaprune.runs import FrontRow, RunDirectory
from gaprune.session import Job, TaskMaterial
from gaprune.tasks import Task


def recover_by_task(
    job: Job, run: RunDirectory, rows: list[FrontRow], seconds: float, reporter: Reporter
) -> list[FrontRow]:
    """Train the members that lost of the score by ``task.train``; the score decides which network is handed out.

    The function is called as often as fits in the time, once at least. How often that is, is measured on the largest
    of these members, once a run. A member that was trained so often before is left alone; one whose training was
    stopped is trained anew.

    Args:
        job: of the search, whose task trains.
        run: its directory, with the front.
        rows: of the front.
        seconds: for each member.
        reporter: told how it goes.

    Returns:
        The rows, of the better of each member's networks.

    Raises:
        TrainingError: the function fails, or leaves another network than it was given.
    """
    task = job.own.task
    assert task is not None
    enough = f"{ENOUGH:.0%} or more of what there is to lose of the {task.name}"
    wanting = [row for row in rows if lost(job, row) >= ENOUGH]
    if not wanting:
        reporter.say(f"recover: no member loses {enough}")
        return rows
    tuner = _settled(job, run, task, wanting, seconds, reporter)
    pending = tuner.pending(wanting)
    if not pending:
        return rows
    calls = f"{tuner.calls} calls of task.train" if tuner.calls > 1 else "one call of task.train"
    reporter.say(
        f"recover: {len(pending)} of {len(rows)} members lose {enough}; {calls} each; Ctrl-C keeps what is done"
    )
    return recover_each(tuner, pending, reporter)


def lost(job: Job, row: FrontRow) -> float:
    """Share of what there is to lose of the score that a member has lost, before any training."""
    assert isinstance(job.material, TaskMaterial)
    original, smallest = job.original.search_accuracy, job.material.smallest.get(SCORE, float("nan"))
    return (original - row.untrained().search_accuracy) / span(original, smallest)


def _settled(
    job: Job, run: RunDirectory, task: Task, wanting: list[FrontRow], seconds: float, reporter: Reporter
) -> TaskTuner:
    """What trains for a time: as often as the run says already, or as is found now."""
    method = f"by task.train for about {seconds:g} s (--recover)"
    advice = f"give it more time (recover={10 * seconds:g}), or let task.train train more gently"
    tuner = TaskTuner(job, run, method, reporter, task, {"seed": job.options.evolution.seed}, advice=advice)
    known: dict[str, Any] = run.manifest.get(SETTLED) or {}
    if known.get("seconds") != seconds:
        took = tuner.timed(max(wanting, key=lambda row: row.flops))
        known = {"seconds": seconds, "calls": calls_in(seconds, took)}
        run.update_manifest(**{SETTLED: known})
        reporter.say(f"recover: a call of task.train takes {duration(took)}, of {duration(seconds)} for each member")
    return replace(tuner, calls=known["calls"])


def calls_in(seconds: float, each: float) -> int:
    """How many calls fit in a time, one at least.

    >>> calls_in(60, 25), calls_in(60, 90)
    (2, 1)
    """
    return max(int(seconds / max(each, 1e-3)), 1)
