"""Members of a saved front that are shown by now, and were not when the front was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from gaprune.device import pinned
from gaprune.front.reported import reported
from gaprune.progress import Reporter
from gaprune.runs import FrontRow, RunDirectory, json_bytes, settle, write_file
from gaprune.saved import METRICS, load, read_metrics
from gaprune.session import Job


def tested_as_shown(
    job: Job, run: RunDirectory, rows: Sequence[FrontRow], reporter: Reporter
) -> dict[str, tuple[float, str]]:
    """Measure on the test images what another choice shows of a front that is there, such as another picked member.

    Args:
        job: of the search.
        run: the directory; the members' metrics are written anew, their tables are the caller's.
        rows: of the front on disk.
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
    with reporter.task("testing what is shown", len(lacking)) as task, pinned(job.threads), torch.no_grad():
        for row in lacking:
            home = run.path / row.home
            settle(home)
            network = load(home, model=job.form).to(job.device)
            accuracy = job.material.tested(job.evaluator, network)
            assert accuracy is not None, "images have a test set"
            metrics = read_metrics(home, "made")
            write_file(home, METRICS, json_bytes({**metrics, "test_accuracy": accuracy}))
            found[row.key] = accuracy, metrics["made"]
            task.advance(1)
    return found


def with_tests(rows: Sequence[FrontRow], found: dict[str, tuple[float, str]]) -> list[FrontRow]:
    """The rows with what was measured now."""
    return [replace(row, test_accuracy=found[row.key][0]) if row.key in found else row for row in rows]
