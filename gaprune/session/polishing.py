"""The polish of a search's networks: how many images it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from gaprune.data import ImageData, ImageSet, first
from gaprune.evaluate import Polish
from gaprune.options import SearchOptions
from gaprune.progress import Reporter
from gaprune.prune import Graph, Polisher

if TYPE_CHECKING:
    from gaprune.session.job import Job

POLISH_IMAGES = 2048
"""Images that layers are polished on, where they are small: all pass through a network at once."""

POLISH_PIXELS = 2 * POLISH_IMAGES * 32 * 32
"""Pixels of them all: 163 photographs at 160 x 160, 83 at 224 x 224."""


OF_CANDIDATES = 512
"""Images for candidates, which are many: ranks by 512 are much as those by 2,048, and it takes a third of the time."""


def make_polisher(job: Job, reporter: Reporter) -> Polisher:
    """Sample the original's outputs on some calibration images.

    Args:
        job: a prepared search.
        reporter: told how it goes.
    """
    model, graph, options = job.baseline.model, job.space.graph, job.options
    return _polisher(options, model, graph, job.data, job.splits.calibration, POLISH_IMAGES, reporter)


def polish_of_candidates(
    options: SearchOptions, model: nn.Module, graph: Graph, data: ImageData, images: ImageSet, reporter: Reporter
) -> Polish | None:
    """What polishes small candidates before they are judged, where that was asked for.

    Args:
        options: of the search, settled.
        model: the original.
        graph: its pruning graph.
        data: for shape and normalisation.
        images: for calibration.
        reporter: told how it goes.
    """
    if not options.space.polish_below:
        return None
    return Polish(options.space.polish_below, _polisher(options, model, graph, data, images, OF_CANDIDATES, reporter))


def _polisher(
    options: SearchOptions,
    model: nn.Module,
    graph: Graph,
    data: ImageData,
    images: ImageSet,
    most: int,
    reporter: Reporter,
) -> Polisher:
    _, height, width = data.image_shape
    images = first(images, min(most, max(POLISH_PIXELS // (height * width), 1)))
    with reporter.task("sampling the original's outputs", len(images)) as task:
        return Polisher(
            model,
            graph,
            images,
            data.mean,
            data.std,
            batch_size=options.machine.batch_size,
            advance=task.advance,
        )
