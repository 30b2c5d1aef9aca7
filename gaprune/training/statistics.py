"""Running statistics of batch norms in a training that is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
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
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = max(norm.momentum or 0.0, LEAST_MOMENTUM)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
