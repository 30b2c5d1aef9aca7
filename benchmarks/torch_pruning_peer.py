"""Torch-Pruning as a peer: every importance criterion that it offers, in every ranking scope, brought to a budget.

The criteria are scored once, on the untouched network; a scope and a ratio then decide who goes. Plans are made by
the package's own pruner and only read, so finding the ratio of a budget prunes nothing; the network that counts is
pruned for real, from a fresh copy with fresh dictionaries.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.subjects import Subject, first
from gaprune.data import ImageSet, normalise
from gaprune.prune.cut.masks import Masks

SCOPES: dict[str, dict[str, bool]] = {
    "local": {},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
}
GRADIENT_IMAGES = 128
OBDC_BATCH = 16
TOLERANCE = 0.03
"""How far below a budget a plan may fall before the next ratio is tried."""

RATIOS = (*(step / 20 for step in range(20)), 0.965, 0.98, 0.99)
"""Tried first: shares need not fall evenly."""

TRIES = 12

Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Criterion:
    """An importance criterion of the package.

    Attributes:
        name: in tables.
        make: the package's object for so many classes.
        gradients: what it reads from ``weight.grad``: nothing, the loss's gradient, the mean of its squares over
            single images; or ``hooks`` where it collects its own, ``activations`` where it watches a forward pass.
    """

    name: str
    make: Callable[[int], Any]
    gradients: str = "none"


def criteria() -> tuple[Criterion, ...]:
    """What ``torch_pruning.importance`` defines, in the variants that its documentation names."""
    imp = tp.importance
    return (
        Criterion("L1 norm", lambda _: imp.MagnitudeImportance(p=1, normalizer=None, group_reduction="first")),
        Criterion("L2 norm", lambda _: imp.MagnitudeImportance(p=2, normalizer=None, group_reduction="first")),
        Criterion("group L1 norm", lambda _: imp.GroupMagnitudeImportance(p=1)),
        Criterion("group L2 norm", lambda _: imp.GroupMagnitudeImportance(p=2)),
        Criterion("BN scale", lambda _: imp.BNScaleImportance()),
        Criterion("LAMP", lambda _: imp.LAMPImportance(p=2)),
        Criterion("FPGM", lambda _: imp.FPGMImportance()),
        Criterion("activation", lambda _: imp.ActivationImportance(), "activations"),
        Criterion("Taylor", lambda _: imp.GroupTaylorImportance(), "loss"),
        Criterion("Taylor, multivariable", lambda _: imp.GroupTaylorImportance(multivariable=True), "loss"),
        Criterion("Hessian", lambda _: imp.GroupHessianImportance(), "squares"),
        Criterion("OBD-C", lambda classes: imp.OBDCImportance(num_classes=classes), "hooks"),
        Criterion("random", lambda _: imp.RandomImportance()),
    )


@dataclass
class Scores:
    """The scores of a criterion: what a pruner asks as its importance. Each group is scored once.

    Attributes:
        importance: the package's criterion.
        known: by root layer, (channels,) scores, or ``None`` where the criterion has nothing to say.
    """

    importance: Callable[[Any], Tensor | None]
    known: dict[str, Tensor | None] = field(default_factory=dict)

    def __call__(self, group: Any) -> Tensor | None:
        """The scores of one group."""
        root = group[0].dep.target.name.partition(" ")[0]
        if root not in self.known:
            self.known[root] = self.importance(group)
        found = self.known[root]
        return None if found is None else found.clone()


def score(subject: Subject, criterion: Criterion) -> Scores:
    """Score every group of the untouched network; what the criterion raises goes through."""
    model = copy.deepcopy(subject.model).requires_grad_(True)
    importance = criterion.make(len(subject.data.classes))
    images = first(subject.splits.calibration, GRADIENT_IMAGES)
    scores = Scores(importance)
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pruner = _pruner(subject, model, scores, "local", 0.5)
        _prepare(subject, criterion, importance, model, pruner, images)
        for group in _groups(pruner):
            scores(group)
    return scores


class Planner:
    """Who goes in one scope at any ratio, by the package's own pruner; nothing is pruned.

    Args:
        subject: the network.
        scores: of a criterion.
        scope: of the ranking, one of ``SCOPES``.
    """

    def __init__(self, subject: Subject, scores: Scores, scope: str) -> None:
        self._subject = subject
        with _quiet():
            self._pruner = _pruner(subject, copy.deepcopy(subject.model), scores, scope, 0.5)
            groups = _groups(self._pruner)
        self._pruner.DG.get_all_groups = lambda *_, **__: iter(groups)  # the network stays, so they do
        self._outputs = {layer.name: layer.outputs for layer in subject.graph.layers}
        self._shares: dict[float, float] = {}

    def share(self, ratio: float) -> float:
        """Share of the FLOPs that is left at a ratio."""
        if ratio not in self._shares:
            self._shares[ratio] = self._subject.flops(self.masks(ratio)) / self._subject.flops()
        return self._shares[ratio]

    def ratio(self, budget: float) -> float | None:
        """The ratio whose plan comes nearest to a budget from below; ``None`` when every plan is above it.

        Shares need not fall evenly with the ratio: a layer that would lose all its channels is left whole by the
        package. The first interval that crosses the budget is searched, by turns between halves and the secant.
        """
        for ratio in RATIOS:
            self.share(ratio)
        for turn in range(TRIES):
            best = self._nearest(budget)
            low, high = self._crossing(budget)
            if high is None or (best is not None and self.share(best) >= (1 - TOLERANCE) * budget):
                break
            self.share(_between(low, high, self.share(low), self.share(high), budget, halve=turn % 3 == 2))
        return self._nearest(budget)

    def _nearest(self, budget: float) -> float | None:
        within = {ratio: share for ratio, share in self._shares.items() if share <= budget}
        return max(within, key=lambda ratio: within[ratio]) if within else None

    def _crossing(self, budget: float) -> tuple[float, float | None]:
        known = sorted(self._shares)
        pairs = itertools.pairwise(known)
        return next((pair for pair in pairs if self._shares[pair[0]] > budget >= self._shares[pair[1]]), (0.0, None))

    def masks(self, ratio: float) -> Masks:
        """What is kept at a ratio."""
        pruner = self._pruner
        pruner.per_step_pruning_ratio = [0.0, ratio]
        pruner.current_step = 0
        kept = np.ones(self._subject.graph.neurons + 1, dtype=np.bool_)  # the last entry serves index -1
        with _quiet():
            for group in pruner.step(interactive=True):
                for dep, indices in group:
                    name = dep.target.name.partition(" ")[0]
                    if name in self._outputs and pruner.DG.is_out_channel_pruning_fn(dep.handler):
                        kept[self._outputs[name][indices]] = False
        return Masks(kept[:-1])


def pruned(subject: Subject, scores: Scores, scope: str, ratio: float) -> nn.Module:
    """A fresh copy of the network, pruned by the package in one step."""
    model = copy.deepcopy(subject.model)
    with _quiet():
        _pruner(subject, model, scores, scope, ratio).step()
    return model.eval()


def _pruner(subject: Subject, model: nn.Module, importance: Any, scope: str, ratio: float) -> Any:
    """The package's pruner; the dictionaries are fresh because it writes to its defaults."""
    heads = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    return tp.pruner.BasePruner(
        model,
        torch.zeros((1, *subject.data.image_shape), device=subject.device),
        importance=importance,
        pruning_ratio=ratio,
        ignored_layers=heads,
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        channel_groups={},
        **SCOPES[scope],
    )


def _groups(pruner: Any) -> list[Any]:
    return list(
        pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types)
    )


def _prepare(
    subject: Subject, criterion: Criterion, importance: Any, model: nn.Module, pruner: Any, images: ImageSet
) -> None:
    """Give a criterion the gradients or activations that it reads, from labelled calibration images."""
    model.eval()
    pixels = normalise(images.images, *subject.norm)
    if criterion.gradients == "loss":
        F.cross_entropy(model(pixels), images.labels).backward()
    elif criterion.gradients == "squares":
        _mean_squares(model, pixels, images.labels)
    elif criterion.gradients == "activations":
        with importance.compute_importance(model), torch.no_grad():
            model(pixels)
    elif criterion.gradients == "hooks":
        importance._prepare_model(model, pruner)
        for start in range(0, len(images), OBDC_BATCH):
            batch = slice(start, start + OBDC_BATCH)
            F.cross_entropy(model(pixels[batch]), images.labels[batch]).backward()
            importance.step()
        importance._rm_hooks(model)


def _mean_squares(model: nn.Module, pixels: Tensor, labels: Tensor) -> None:
    """Leave in each ``grad`` the mean over images of the squared gradient.

    The package's own ``accumulate_grad`` asks for names where it stores parameters, and so keeps the last image alone.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for image, label in zip(pixels, labels, strict=True):
        loss = F.cross_entropy(model(image[None]), label[None])
        for total, gradient in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            total += gradient.square()
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total / len(labels)


def _between(low: float, high: float, above: float, below: float, budget: float, *, halve: bool) -> float:
    """A ratio inside an interval: its middle, or where widths would meet the budget were they linear."""
    if halve:
        return (low + high) / 2
    top, bottom, wanted = (np.sqrt(share) for share in (above, below, budget * (1 - TOLERANCE / 2)))
    place = float((top - wanted) / max(top - bottom, 1e-9))
    return low + (high - low) * min(max(place, 0.05), 0.95)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's warnings, which repeat for every plan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
