"""Running statistics of batch norms in a training that is short."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LEAST_MOMENTUM = 0.1
"""Torch's own: what a norm has seen in its last ten or twenty steps is what it goes by in eval mode."""


@contextmanager
def following(model: nn.Module) -> Iterator[None]:
    """Let the running statistics of batch norms follow the weights meanwhile.

    EfficientNet's norms have a momentum of 0.01, and others average over all steps there ever were: made for trainings
    of many epochs. In a hundred steps such statistics stay behind the weights that they go with, and the network
    answers in eval mode as none that was trained would.

    >>> norm = nn.BatchNorm2d(8, momentum=0.01)
    >>> with following(norm):
    ...     print(norm.momentum)
    0.1
    >>> norm.momentum
    0.01
    """
    norms = batch_norms(model)
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = max(norm.momentum or 0.0, LEAST_MOMENTUM)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def settle(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Measure the running statistics of batch norms anew, for the weights as they are.

    What is averaged while weights change fast is of weights that are no more; averaged weights never had any of their
    own. As for stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407, section 3.2).

    Args:
        model: in eval mode; so it stays.
        inputs: (N, C, H, W) batches of one size, which all count alike; without any nothing changes.

    >>> norm = nn.BatchNorm2d(3).eval()
    >>> settle(norm, [torch.full((2, 3, 4, 4), 5.0), torch.full((2, 3, 4, 4), 7.0)])
    >>> norm.running_mean
    tensor([6., 6., 6.])
    """
    norms, batches = [norm for norm in batch_norms(model) if norm.track_running_stats], iter(inputs)
    if not norms or (first := next(batches, None)) is None:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.no_grad():
            for batch in itertools.chain([first], batches):
                model(batch)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.eval()


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All of a network's."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
