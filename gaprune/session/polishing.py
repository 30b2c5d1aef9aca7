"""The polish of a search's networks: how many images it takes."""

from __future__ import annotations

from gaprune.progress import Reporter
from gaprune.prune import Polisher
from gaprune.session.engine import first
from gaprune.session.job import Job

POLISH_IMAGES = 2048
"""Images that layers are polished on, where they are small: all pass through a network at once."""

POLISH_PIXELS = 2 * POLISH_IMAGES * 32 * 32
"""Pixels of them all: 163 photographs at 160 x 160, 83 at 224 x 224."""


def make_polisher(job: Job, reporter: Reporter) -> Polisher:
    """Sample the original's outputs on some calibration images.

    Args:
        job: a prepared search.
        reporter: told how it goes.
    """
    pixels = job.data.image_shape[1] * job.data.image_shape[2]
    images = first(job.splits.calibration, min(POLISH_IMAGES, max(POLISH_PIXELS // pixels, 1)))
    with reporter.task("sampling the original's outputs", len(images)) as task:
        return Polisher(
            job.baseline.model,
            job.space.graph,
            images,
            job.data.mean,
            job.data.std,
            batch_size=job.options.machine.batch_size,
            advance=task.advance,
        )
