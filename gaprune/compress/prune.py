"""Pruning without a search: single weights by magnitude, or whole structures by what the task ranks them by."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gaprune.compress.method import CONVOLUTIONS, LINEAR, Method, Outline, Session, Work
from gaprune.compress.runners import TorchRunner
from gaprune.compress.words import RAW, choice, flag, method_text, nothing_left, share
from gaprune.errors import MethodError

MAGNITUDE = "magnitude"
UNIFORM, GLOBAL = "uniform", "global"
STRUCTURES = {
    "l1": ("l1", UNIFORM),
    "l1-global": ("l1", GLOBAL),
    "taylor": ("taylor", UNIFORM),
    "taylor-global": ("taylor", GLOBAL),
}
"""By word, what structures are ranked by, and where: the same share in each layer, or one ranking of all layers."""

KEEP = {MAGNITUDE: 0.1, **dict.fromkeys(STRUCTURES, 0.5)}
"""Share of weights, or of structures, that stays unless told otherwise."""


class Prune(Method):
    """``prune:l1``, ``prune:taylor``, either with ``-global``, or ``prune:magnitude``; trained on unless ``raw``.

    ``keep=SHARE`` says how much stays.

    By magnitude single weights become zero, the smallest of the whole network: the network is as large and as slow as
    before, unless ``sparse`` follows, which stores it smaller. By L1 norm filters go for real (Li et al. 2017), by a
    gate's gradient attention heads and feed-forward neurons (Michel et al. 2019; a first-order Taylor criterion): the
    same share in each layer, or by one ranking of all layers.
    """

    name = "prune"
    applies_to = (CONVOLUTIONS, LINEAR)

    def __init__(self, words: Sequence[str] = ()) -> None:
        left = list(words)
        self.kind = choice(left, tuple(KEEP), "l1")
        self.keep = share(left, "keep") or KEEP[self.kind]
        self.trains = not flag(left, RAW)
        nothing_left(self.name, left, (*KEEP, "keep=SHARE", RAW))
        self.text = method_text(self.name, words)

    def check(self, outline: Outline) -> None:
        """See ``Method``."""
        super().check(outline)
        if self.kind == MAGNITUDE or outline.criterion is None:
            return
        if STRUCTURES[self.kind][0] != outline.criterion:
            valid = " or ".join(f"prune:{word}" for word, (by, _) in STRUCTURES.items() if by == outline.criterion)
            raise MethodError(f"prune:{self.kind} has no meaning for this network: write {valid}")

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        self.check(work.outline)
        if self.kind == MAGNITUDE:
            network = copy.deepcopy(work.network)
            report = zero_smallest(network, self.keep)
            work.task.settle(network.to(work.task.device), work.network)
        else:
            criterion, scope = STRUCTURES[self.kind]
            network = work.task.pruned(work, self.keep, scope)
            layers = work.task.structures(network)
            report = {"keep": self.keep, "criterion": criterion, "scope": scope, "layers": layers}
        network.to(work.task.device)
        if self.trains:
            report["training"] = train_on(network, work, session)
        return work.then(network, self.text, report)

    def after(self, outline: Outline) -> Outline:
        """See ``Method``."""
        return replace(super().after(outline), zeros=outline.zeros or self.kind == MAGNITUDE)


class Sparse(Method):
    """Stores zeros as bits: the file is smaller, the network that it loads as is not, nor faster."""

    name = "sparse"

    def __init__(self, words: Sequence[str] = ()) -> None:
        nothing_left(self.name, words, ("nothing",))
        self.text = method_text(self.name, words)

    def check(self, outline: Outline) -> None:
        """See ``Method``."""
        super().check(outline)
        if not outline.zeros:
            raise MethodError("sparse leaves zeros out of the file, and nothing made any: write prune:magnitude+sparse")

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        self.check(work.outline)
        return work.run_by(TorchRunner(work.network, sparse=True), self.text, {})


def zero_smallest(network: nn.Module, keep: float) -> dict[str, Any]:
    """Set all weights but the largest to zero, in place: one threshold for all layers (Han et al. 2015).

    Args:
        network: biases and batch norms are left alone.
        keep: share of the weights that stay.

    Returns:
        Counts for the report.
    """
    weights = _weights(network)
    sizes = torch.cat([weight.detach().abs().reshape(-1).cpu() for weight in weights])
    kept = max(1, round(keep * len(sizes)))
    threshold = torch.topk(sizes, kept, sorted=False).values.min().item()
    with torch.no_grad():
        for weight in weights:
            weight.masked_fill_(weight.abs() < threshold, 0)
    left = sum(int(weight.count_nonzero()) for weight in weights)
    return {"keep": keep, "weights": len(sizes), "weights left": left}


def train_on(network: nn.Module, work: Work, session: Session) -> dict[str, Any]:
    """Fine-tune a network in place, on the task's device already; what was pruned to zero stays zero."""
    with frozen_zeros(network):
        return work.task.fit(
            network, fresh=False, share=session.share, directory=session.directory, reporter=session.reporter
        )


@contextmanager
def frozen_zeros(network: nn.Module) -> Iterator[None]:
    """Give weights that are zero no gradient, so that they stay zero. Devices must not change."""
    handles = []
    for weight in _weights(network):
        if not weight.detach().all():
            handles.append(weight.register_hook(_times(weight.detach() != 0)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weights(network: nn.Module) -> list[Tensor]:
    return [parameter for parameter in network.parameters() if parameter.ndim > 1]


def _times(mask: Tensor) -> object:
    return lambda gradient: gradient * mask
