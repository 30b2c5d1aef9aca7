"""A search on the network that an earlier one left: its job, its directory, and what its genomes leave of the original.

Such a search has a run directory of its own inside that of the whole run.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gaprune.device import pinned
from gaprune.errors import RunError
from gaprune.genome import Genome
from gaprune.options import differences
from gaprune.progress import Reporter
from gaprune.prune import LEFT_BEFORE, Masks, compose, present_kernels
from gaprune.runs import MANIFEST_NAME, MEGABYTE, FrontRow, RunDirectory
from gaprune.saved import load
from gaprune.session import Job, Kept, Left, Origin, make_evaluator, statistics_key
from gaprune.training import digest_tensors


@dataclass(frozen=True)
class Start:
    """The network that a later search prunes.

    Attributes:
        place: its folder.
        genome: of the true original: what the network has left of it.
        source: in words, how it came about.
    """

    place: Path
    genome: Genome
    source: str


def later_job(whole: Job, start: Start, path: Path, reporter: Reporter) -> Job:
    """The job of the true original, for the network that an earlier search left; costs stay shares of the original's.

    Args:
        whole: of the true original.
        start: the network.
        path: of the later search's own directory, which may hold its statistics.
        reporter: told how long statistics take.

    Raises:
        CheckpointError: the network's folder is damaged.
        GapruneError: anything else that the user can mend.
    """
    since = time.perf_counter()
    network = load(start.place, model=whole.form).to(whole.device)
    weights = {"weights_sha256": digest_tensors(network.state_dict())}
    baseline = replace(
        whole.baseline, model=network, source=start.source, identity={**whole.baseline.identity, **weights}
    )
    kept = Kept(path, statistics_key(whole.options, baseline, whole.data, whole.splits, whole.threads), whole.device)
    masks = whole.space.masks(start.genome)
    answers = whole.evaluator.images.answers
    origin = Origin(whole.evaluator.original, present_kernels(whole.space.graph, masks), answers)
    layers = tuple(layer for layer, why in whole.space.graph.unpruned if why == LEFT_BEFORE)
    left = Left(None, layers) if layers else None
    with pinned(whole.threads):
        evaluator = make_evaluator(
            whole.options, network, whole.data, whole.splits, whole.objectives, reporter, kept, origin, left=left
        )
    identity = {**whole.identity, **baseline.identity, "genes": evaluator.space.layout.size}
    original = whole.baseline.model
    return replace(
        whole,
        baseline=baseline,
        evaluator=evaluator,
        kept=kept,
        identity=identity,
        since=since,
        true_original=original,
    )


def open_part(path: Path, job: Job, part: dict[str, Any]) -> RunDirectory:
    """Open the later search's own directory, or make it; one that was killed before it had a manifest is begun anew.

    Args:
        path: of the directory.
        job: of the search.
        part: what marks the directory's manifest as that of a part of a run.

    Raises:
        RunError: the directory is of another network, or cannot be opened.
    """
    if (path / MANIFEST_NAME).exists():
        directory = RunDirectory.open(path, searching=True)
        apart = differences(directory.manifest.get("identity", {}), job.identity)
        if apart:
            directory.close()
            raise RunError(f"{path} was made with another network: {'; '.join(apart)}")
        return directory
    shutil.rmtree(path, ignore_errors=True)
    return RunDirectory.create(path, {**part, **job.manifest()})


def of_the_original(whole: Job, so_far: Masks, job: Job, genome: Genome, row: FrontRow) -> Genome:
    """What a network that a later search found keeps of the true original.

    Args:
        whole: the job of the true original.
        so_far: what the network that was searched keeps of it.
        job: of the later search.
        genome: of the network that was found, in the later search's layout.
        row: its own, whose costs must be what the true original's formula gives.

    Raises:
        RunError: the costs differ, which is a defect here.
    """
    masks = compose(whole.space.graph, so_far, job.space.graph, job.space.masks(genome))
    costs = whole.space.costs(masks)
    counted = (row.flops, row.params, row.size_mb)
    if counted != (costs.flops, costs.params, costs.size / MEGABYTE):
        raise RunError(f"member {row.key} counts {counted}, the original's formula {costs}: please report this")
    return whole.space.genome(masks)
