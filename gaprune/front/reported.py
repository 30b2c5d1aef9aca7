"""Which members are measured on the test images: those that a table of the front shows, unless all are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from gaprune.errors import OptionError
from gaprune.options import ROUNDS
from gaprune.runs import FrontRow, over_budgets, pick
from gaprune.session import Job


def reported(job: Job, rows: Sequence[FrontRow]) -> set[str]:
    """Keys of the members to measure on the test images.

    They are many and take no part in any choice, so a front of many members would take longer than its search. What is
    a part of something greater is measured whole: nobody knows yet what of it will be shown.

    Args:
        job: of the search.
        rows: of the front, numbered by place.
    """
    options = job.options
    every = options.run.tested == "all" or job.material.score is not None
    if every or options.evolution.algorithm == ROUNDS or options.again.iterations > 1:
        return {row.key for row in rows}
    marked = None
    with suppress(OptionError):  # nothing keeps to the rule, which is told in the end
        marked = pick(rows, options.run.pick)
    return {row.key for row in over_budgets(rows, marked)}
