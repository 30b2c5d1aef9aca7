"""The ladder that a search begins with, kept beside the run: what its front is looked at against."""

from __future__ import annotations

import numpy as np

from gaprune.genome import Bits
from gaprune.runs import LADDER_NAME, RunDirectory, write_ladder
from gaprune.session import Job

RUNGS = 40


def save_ladder(job: Job, run: RunDirectory) -> None:
    """Write the widths that suit each other at every budget, unless they are there or neurons are no genes.

    Raises:
        OSError: they cannot be written.
    """
    space = job.space
    if (run.path / LADDER_NAME).exists() or job.options.space.genes == "connections":
        return
    rungs: dict[tuple[int, ...], float] = {}
    whole = _flops(job, space.layout.unpack(space.full()))
    for level in np.linspace(0.0, 1.0, RUNGS):
        bits = _rung(job, float(level))
        neurons = bits[: space.graph.neurons]
        widths = tuple(int(neurons[group.slice].sum()) for group in space.graph.groups)
        rungs.setdefault(widths, _flops(job, bits) / whole)
    names = [group.name for group in space.graph.groups]
    write_ladder(run.path / LADDER_NAME, names, [(share, widths) for widths, share in rungs.items()])


def _flops(job: Job, bits: Bits) -> int:
    """FLOPs of repaired bits; what a space prices genomes by may be time."""
    return job.space.costs(job.space.masks(job.space.layout.pack(bits), order=False)).flops


def _rung(job: Job, level: float) -> Bits:
    """(size,) repaired bits that keep the worthiest of each section, as many as the ladder says; connections whole."""
    space = job.space
    bits = np.ones(space.layout.size, dtype=np.bool_)
    for section, share in zip(space.layout.sections, space.shares(level), strict=True):
        if section.kind == "neurons":
            order = np.argsort(-space.importance[section.slice], kind="stable")
            bits[section.start + order[round(share * section.size) :]] = False
    return space.repair(bits)
