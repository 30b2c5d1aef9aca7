"""The picture of a run's front."""

from __future__ import annotations

from collections.abc import Sequence

from gaprune.evaluate import Outcome, judged_value
from gaprune.runs import LOG_NAME, PARTS, FrontRow, RunDirectory, plot_front
from gaprune.session import Job, logged_outcomes

PICTURE = "front.png"


def draw(
    job: Job, run: RunDirectory, evaluated: Sequence[Outcome], rows: list[FrontRow], picked: FrontRow | None
) -> None:
    """Draw the front over all that was measured to the end."""
    full = [outcome for outcome in evaluated if outcome.failure is None and not outcome.bound]
    values = [outcome.values for outcome in full]
    points = [(v["flops"] / job.original.flops, found) for v in values if (found := judged_value(v)) is not None]
    plot_front(
        rows,
        run.path / PICTURE,
        baseline=job.original,
        picked=picked,
        evaluated=points,
        score=job.material.score,
        title=f"{job.model_name} on {job.material.name}: {len(evaluated)} candidates, {_training(job, rows)}",
    )


def logged(run: RunDirectory) -> list[Outcome]:
    """Every outcome that a run or its parts have logged."""
    logs = [run.path / LOG_NAME, *(log for part in PARTS for log in sorted(run.path.glob(f"{part}-*/{LOG_NAME}")))]
    return [outcome for log in logs for _, outcome in logged_outcomes(log)]


def _training(job: Job, rows: Sequence[FrontRow]) -> str:
    count = sum(row.trained_epochs > 0 for row in rows)
    if count:
        return f"{count} of {len(rows)} members fine-tuned"
    options = job.options
    if options.again.iterations > 1:
        epochs = options.again.iteration_epochs
        return f"{options.again.iterations} iterations, {epochs} epochs of training between two"
    epochs = options.paper_rounds.round_epochs
    return f"{epochs} epochs of training after each round" if epochs else "no training after pruning"
