"""Whether the original does here what it was trained for, before a search builds on it."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gaprune.data import ImageData, ImageSet, Splits, first, normalisation_line
from gaprune.errors import ModelError
from gaprune.evaluate import Measurement, measure
from gaprune.options import SearchOptions
from gaprune.progress import Reporter
from gaprune.prune import recalibrate

FEW = 100
"""Images of a search set from which a network's being at chance can be told, and no search begins."""

DEVIATIONS = 3.0
"""Standard deviations above chance up to which an accuracy may be chance."""

MOVED = 0.02
"""Of accuracy, by which batch norm's recalibration moves a network whose images are not those of its training."""

FEWEST_MOVED = 5
"""Images that must change sides for that to be said."""


def judged(
    options: SearchOptions, model: nn.Module, data: ImageData, splits: Splits, reporter: Reporter, *, settled: bool
) -> Measurement:
    """What the whole network reaches on the search images, with a line where that looks wrong.

    Args:
        options: what was asked for; with ``yes`` a network at chance is searched.
        model: the network, on the device.
        data: for normalisation and classes.
        splits: on the device.
        reporter: told what looks wrong, and what to check.
        settled: whether a run goes on, which was judged when it began.

    Raises:
        ModelError: the network is no better than chance.
    """
    found = measure(model, splits.search, data.mean, data.std, batch_size=options.machine.batch_size)
    if settled:
        return found
    if found.accuracy <= chance_at_most(splits.search):
        line = _at_chance(found, data, splits.search)
        if not options.network.yes and found.total >= FEW:
            raise ModelError(f"{line}; --yes (yes=True) searches all the same")
        reporter.say(f"WARNING: {line}")
    _say_moved(options, model, data, splits, found, reporter)
    return found


def chance_at_most(images: ImageSet) -> float:
    """The accuracy that a network which knows nothing may have by luck: that of the commonest class, and some."""
    chance, count = float(torch.bincount(images.labels.cpu()).max()) / len(images), len(images)
    return chance + DEVIATIONS * math.sqrt(chance * (1 - chance) / count)


def _at_chance(found: Measurement, data: ImageData, images: ImageSet) -> str:
    commonest = float(torch.bincount(images.labels.cpu()).max()) / len(images)
    return (
        f"the original is right on {found.accuracy:.1%} of {found.total:,} search images, where always naming the "
        f"commonest of {len(data.classes)} classes gives {commonest:.1%}: check the normalisation "
        f"({normalisation_line(data.mean, data.std, 'see --mean, --std, --normalise')}), the order of the classes "
        f"({', '.join(data.classes[:3])}, ...), the size of the images and the weights"
    )


def _say_moved(
    options: SearchOptions,
    model: nn.Module,
    data: ImageData,
    splits: Splits,
    found: Measurement,
    reporter: Reporter,
) -> None:
    """A line where batch norm's own moments on these images make another network of it."""
    if not any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules()):
        return
    changed = copy.deepcopy(model)
    images = first(splits.calibration, options.images.calibration_size)
    recalibrate(changed, images, data.mean, data.std, batch_size=options.machine.batch_size)
    again = measure(changed, splits.search, data.mean, data.std, batch_size=options.machine.batch_size)
    by = again.accuracy - found.accuracy
    if abs(by) > MOVED and abs(again.correct - found.correct) >= FEWEST_MOVED:
        reporter.say(
            f"batch norm recalibrated on your images moves the original from {found.accuracy:.1%} to "
            f"{again.accuracy:.1%} ({100 * by:+.1f} points): they are normalised otherwise than in its training "
            "(--mean, --std, --normalise), or show less than its training images did"
        )
