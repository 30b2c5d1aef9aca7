"""The machine that runs searches in a row, each on a network that the one before left.

Each search is a part of the run, with a run directory of its own inside the run's. What a finished part has found
stands in its manifest, so a resumed run needs the networks of the last finished part alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from gaprune.campaigns.hand_out import hand_out
from gaprune.campaigns.part import Start, later_job, of_the_original, open_part
from gaprune.campaigns.policy import P, Policy, Searched
from gaprune.campaigns.records import RESULT, to_record
from gaprune.evaluate import Outcome
from gaprune.front import save_front, saved_front
from gaprune.prune import Masks
from gaprune.runs import LOG_NAME, FrontRow
from gaprune.session import MakeBackend, logged_outcomes, run_search


def run_campaign(policy: Policy[P], make_backend: MakeBackend) -> tuple[dict[str, Outcome], list[FrontRow]]:
    """Run the searches that are not done yet, and hand out the front over all of them.

    Args:
        policy: which networks are searched, and how.
        make_backend: for each search's evaluator.

    Returns:
        Every outcome of every part, by the part's number and genome key; the networks handed out, fewest FLOPs first,
        counted against the true original.

    Raises:
        RunError: a part's directory does not fit, or every candidate of one failed.
    """
    done: list[P] = []
    for number in itertools.count(1):
        finished = policy.read(number)
        if finished is None and number > policy.count:
            break
        start = policy.choose_start(done) if done else None
        if done and start is None:
            break
        done.append(finished or _search(policy, number, start, make_backend))
        policy.tidy(number)
        if finished is None:
            policy.run.note_seconds(policy.job.since)
            policy.reporter.say(policy.report(done))
    policy.report(done)
    return _outcomes(policy, len(done)), _front(policy, done)


def _search(policy: Policy[P], number: int, start: Start | None, make_backend: MakeBackend) -> P:
    """Search one part, save its front, and note in its manifest what it has found."""
    whole, reporter, path = policy.job, policy.reporter, policy.path(number)
    policy.announce(number)
    job, so_far = replace(whole, options=policy.options(number)), Masks.full(whole.space.graph)
    if start is not None:
        job, so_far = later_job(job, start, path, reporter), whole.space.masks(start.genome)
    with open_part(path, job, {policy.kind: number}) as directory:
        if number > 1:  # those of the original are the whole run's
            job.kept.save(path)
        found = run_search(job, directory, make_backend, reporter, policy.algorithm(job, number))
        rows = save_front(job, directory, found, reporter)
        directory.note_seconds(job.since)  # of this session, too, where the front was there
        by_key = {genome.key: genome for genome in found.genomes}
        genomes = tuple(of_the_original(whole, so_far, job, by_key[row.key], row) for row in rows)
        part = policy.finish(Searched(number, job, directory, found, rows, genomes))
        directory.update_manifest(**{RESULT: to_record(part)})
    return part


def _outcomes(policy: Policy[P], count: int) -> dict[str, Outcome]:
    return {
        f"{number}/{outcome.key}": outcome
        for number in range(1, count + 1)
        for _, outcome in logged_outcomes(policy.path(number) / LOG_NAME)
    }


def _front(policy: Policy[P], done: Sequence[P]) -> list[FrontRow]:
    """The front over all parts, or the one on disk where no part was added since."""
    marks = {f"{policy.kind}s_done": len(done)}
    saved = saved_front(policy.run, marks)
    return saved or hand_out(policy.job, policy.run, policy.kind, policy.networks(done), marks)
