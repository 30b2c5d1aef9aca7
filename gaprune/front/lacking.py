"""Members of a saved front that are shown by now, and were not when the front was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gaprune.device import pinned
from gaprune.front.reported import reported
from gaprune.progress import Reporter
from gaprune.runs import FrontRow, RunDirectory, json_bytes, settle, write_file
from gaprune.saved import METRICS, load, read_metrics
from gaprune.session import Afterwards, Job


def tested_as_shown(
    job: Job, run: RunDirectory, rows: Sequence[FrontRow], attempt: Afterwards, reporter: Reporter
) -> dict[str, tuple[float, str]]:
    """Measure on the test images what another choice shows of a front that is there, such as another picked member.

    Args:
        job: of the search.
        run: the directory; the members' metrics are written anew, their tables are the caller's.
        rows: of the front on disk.
        attempt: bounds what each may take and cost; one that fails stays unmeasured.
        reporter: told how it goes.

    Returns:
        By key of the members that were measured now: the test accuracy, and how they were made.

    Raises:
        GapruneError: a member's folder is damaged.
    """
    wanted = reported(job, rows) if job.material.score is None else set()  # a task tests every member, or none
    lacking = [row for row in rows if row.key in wanted and row.test_accuracy is None]
    found: dict[str, tuple[float, str]] = {}
    if not lacking:
        return found
    with reporter.task("testing what is shown", len(lacking)) as task, pinned(job.threads):
        for row in lacking:
            home = run.path / row.home
            settle(home)
            network = load(home, model=job.form).to(job.device)
            measure = partial(job.material.tested, job.evaluator, network)
            accuracy = attempt(row.key, measure, noun="member", without="is not tested")
            if accuracy is not None:
                metrics = read_metrics(home, "made")
                write_file(home, METRICS, json_bytes({**metrics, "test_accuracy": accuracy}))
                found[row.key] = accuracy, metrics["made"]
            task.advance(1)
    return found


def with_tests(rows: Sequence[FrontRow], found: dict[str, tuple[float, str]]) -> list[FrontRow]:
    """The rows with what was measured now."""
    return [replace(row, test_accuracy=found[row.key][0]) if row.key in found else row for row in rows]
