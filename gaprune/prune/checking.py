"""A graph is believed only after compact and masked networks have agreed on it."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from gaprune.errors import ModelError, first_line
from gaprune.genome import Bits
from gaprune.options import Layers
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import NAMED, ChannelGroup, Graph, build_graph, without_groups
from gaprune.prune.graph.inputs import BATCH, Form, Inputs, tensors_in
from gaprune.prune.graph.modes import evaluating
from gaprune.prune.probing import random_advice, random_operators

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Largest relative difference that rounding may cause; a wrong graph is off by far more."""

LEFT_BEFORE = "it was left whole when the run began"

UNDERSTOOD = "; all else is searched, and a rule for it would let these go, too (CONTRIBUTING.md: a graph rule)"
"""What would help where an operator is not understood."""

FEW = 4
"""Groups of a kind that are tried one by one in any case."""

_OF_BLOCKS = re.compile(r"\d+(?=.*[A-Za-z])")
"""Numbers in a layer's name but those that it ends with, which are its own."""

DIFFER = "compact and masked networks differ"

logger = logging.getLogger(__name__)


def checked_graph(
    model: nn.Module,
    form: Form,
    *,
    layers: Layers = "all",
    whole: Collection[str] = (),
    neurons: int | None = None,
) -> Graph:
    """The pruning graph of ``model``, less the channel groups whose removal does not work out.

    Neurons are removed in three ways: a random half of all, to equal widths in all groups (where a forward that
    compares shapes takes another way), and all but one of each group. Compact and masked networks are compared in eval
    mode, and in a training mode in which batch norm and dropout rest, so that branches of ``self.training`` are seen.
    When they differ or the compact one raises (a forward with widths written into it), groups are added by ever smaller
    halves, and those with which it goes wrong are left whole. Logs one warning for each reason, with the layers that
    it leaves unpruned.

    Args:
        model: the network.
        form: (C, H, W) of one input image, or an example of its inputs.
        layers: whose outputs are neurons: ``all`` that have weights, or ``conv``, convolutions alone.
        whole: layers whose groups stay whole in any case: what an earlier version left so.
        neurons: how many there were then; where there are as many now, nothing needs to stay whole.

    Raises:
        ModelError: the network cannot be traced, answers at random, or nothing remains that may be removed.
    """
    graph = None if whole and neurons is None else _checked(model, form, layers, ())
    if graph is None or (whole and graph.neurons != neurons):
        graph = _checked(model, form, layers, whole)
    by_reason: dict[str, list[str]] = {}
    for layer, why in graph.unpruned:
        by_reason.setdefault(why, []).append(layer)
    for why, found in by_reason.items():
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        remedy = UNDERSTOOD if why.endswith("is not understood") else ""
        logger.warning("left unpruned: %s%s: %s%s", ", ".join(found[:NAMED]), more, why, remedy)
    return graph


def _checked(model: nn.Module, form: Form, layers: Layers, whole: Collection[str]) -> Graph:
    graph = build_graph(model, form, layers=layers)
    left = {group.name: LEFT_BEFORE for group in graph.groups if not set(whole).isdisjoint(group.producers)}
    if left:
        graph = without_groups(graph, left)
    example = _example(model, form)
    if _Check(model, graph, example)(graph.groups) is not None:
        _check_repeats(model, example)
        graph = _without_failing(model, graph, example)
    return graph


def _without_failing(model: nn.Module, graph: Graph, example: Inputs) -> Graph:
    """The graph without those groups with which, beside the ones before them, removal goes wrong.

    Blocks of one kind are tried at once: where their first and their last group of a kind go wrong, all stay.
    """
    check, kept, reasons = _Check(model, graph, example), list[ChannelGroup](), dict[str, str]()

    def add(kinds: list[tuple[ChannelGroup, ...]]) -> None:
        groups = tuple(group for kind in kinds for group in kind)
        reason = check((*kept, *groups))
        if reason is None:
            kept.extend(groups)
        elif len(groups) == 1:
            reasons[groups[0].name] = reason
        elif len(kinds) == 1 and len(groups) > FEW and check((*kept, groups[0])) and check((*kept, groups[-1])):
            reasons.update((group.name, reason) for group in groups)
        else:
            parts: list[tuple[ChannelGroup, ...]] = kinds if len(kinds) > 1 else [(group,) for group in groups]
            add(parts[: len(parts) // 2])
            add(parts[len(parts) // 2 :])

    every = _kinds(graph)
    half = len(every) // 2
    for kinds in (every[:half], every[half:]) if half else (every,):
        add(kinds)
    less = without_groups(graph, reasons)
    reason = _Check(model, less, example)(less.groups) if kept else None
    if not kept or reason is not None:
        raise ModelError(f"{type(model).__name__} cannot be pruned: {reason or next(iter(reasons.values()))}")
    return less


def _kinds(graph: Graph) -> list[tuple[ChannelGroup, ...]]:
    """The groups by what their layers are called but for blocks' numbers: those of like blocks are of one kind."""
    found: dict[tuple[str, ...], list[ChannelGroup]] = {}
    for group in graph.groups:
        named = dict.fromkeys(_OF_BLOCKS.sub("", name) for name in (group.name.partition(" ")[0], *group.producers))
        found.setdefault((*named, group.name.partition(" ")[2]), []).append(group)
    return [tuple(groups) for groups in found.values()]


def _example(model: nn.Module, form: Form) -> Inputs:
    parameter = next(model.parameters())
    if isinstance(form, Inputs):
        return form.first(BATCH).varied().like(parameter)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((BATCH, *form), generator=generator)
    return Inputs((images,)).like(parameter)


class _Check:
    """Why removing neurons of some groups goes wrong; ``None`` when it does not."""

    def __init__(self, model: nn.Module, graph: Graph, example: Inputs) -> None:
        self._model, self._graph, self._example = model, graph, example
        self._compact = Compactor(model, graph)
        self._trains, self._comparable = _training(model, example)

    def __call__(self, groups: tuple[ChannelGroup, ...]) -> str | None:
        for masks, where in _removals(self._graph, groups):
            reason = self._differ(masks)
            if reason is not None:
                return reason + where
        return None

    def _differ(self, masks: Masks) -> str | None:
        """Why compact and masked networks do not give the same in either mode."""
        try:
            compact, masked = self._compact(masks), masked_network(self._model, self._graph, masks)
        except Exception as error:  # as in _apart
            return _fails(error)
        reason = _apart(lambda: _called(compact, self._example, False), lambda: _called(masked, self._example, False))
        if reason is not None or not self._trains:
            return reason
        if self._comparable:
            reason = _apart(lambda: _called(compact, self._example, True), lambda: _called(masked, self._example, True))
        else:
            reason = _failure(lambda: _called(compact, self._example, True))
        return None if reason is None else f"training mode uses it otherwise: {reason}"


def _called(network: nn.Module, example: Inputs, training: bool) -> object:
    """What a network of our own gives, on a copy of the example: it may write to its input."""
    copied = example.map(Tensor.clone)
    if not training:
        return copied(network)
    _resting(network.train())
    device = copied.tensors()[0].device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return copied(network)


def _resting(network: nn.Module) -> nn.Module:
    """Batch norm and dropout in eval mode: what is left of training mode are branches of a network's own."""
    for module in network.modules():
        if isinstance(module, _BatchNorm | _DropoutNd):
            module.eval()
    return network


def _training(model: nn.Module, example: Inputs) -> tuple[bool, bool]:
    """Whether a network has branches of its own in training mode that run; whether these give the same each time."""
    if not any(_has_own_forward(module) for module in model.modules()):
        return False, False
    found, copied = list[object](), copy.deepcopy(model)

    def run() -> None:
        found.append(_called(copied, example, True))

    try:
        with torch.no_grad():
            drawn = random_operators(run)
    except Exception:  # eval mode is what counts
        return False, False
    return True, bool(_compared(found[0])) and not drawn


def _has_own_forward(module: nn.Module) -> bool:
    """Whether a module is none of torch's own."""
    return not type(module).__module__.startswith("torch.nn.")


def _check_repeats(model: nn.Module, example: Inputs) -> None:
    """Raise ``ModelError`` where the network itself answers differently each time, so that nothing can be compared."""

    def run() -> object:
        return example.map(Tensor.clone)(model)

    with evaluating(model):
        if _apart(run, run) == DIFFER:
            with torch.no_grad():
                raise ModelError(random_advice(type(model).__name__, random_operators(run)))


def _apart(first: Callable[[], object], second: Callable[[], object]) -> str | None:
    """Why two outputs are not the same; ``None`` where they are but for rounding."""
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            found, wanted = first(), second()  # TF32 alone would set them further apart than the tolerance
    except Exception as error:  # whatever a foreign forward raises is the reason
        return _fails(error)
    given, expected = _compared(found), _compared(wanted)
    if not expected:
        return "its output holds no floating tensor"
    if len(given) != len(expected):
        return DIFFER
    return DIFFER if any(map(_differs, given, expected)) else None


def _compared(output: object) -> list[Tensor]:
    """What is compared of an output: all floating tensors."""
    return [one for one in tensors_in(output) if one.is_floating_point()]


def _differs(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape:
        return True
    if not wanted.numel():
        return False
    scale = wanted.abs().max().clamp_min(1e-12)
    apart = float((found - wanted).abs().max() / scale)
    return not apart <= TOLERANCE.get(wanted.dtype, 0.05)


def _failure(run: Callable[[], object]) -> str | None:
    """Why something raises; ``None`` where it does not."""
    try:
        with torch.no_grad():
            run()
    except Exception as error:  # as in _apart
        return _fails(error)
    return None


def _fails(error: Exception) -> str:
    return f"it fails without some of its channels ({first_line(error)[:120]})"


def _removals(graph: Graph, groups: tuple[ChannelGroup, ...]) -> Iterator[tuple[Masks, str]]:
    """What is removed from these groups, and in words where that alone goes wrong."""
    rng = np.random.default_rng(0)
    yield _kept(graph, groups, rng, lambda group: group.size - group.size // 2), ""
    smallest = min((group.size for group in groups), default=1)
    equal = max(1, smallest // 2)
    yield (
        _kept(graph, groups, rng, lambda group: max(equal, group.least)),
        ", where widths are equal: does its forward compare shapes?",
    )
    if equal > 1:
        yield _kept(graph, groups, rng, lambda group: group.least), ", where one channel is left"


def _kept(
    graph: Graph, groups: tuple[ChannelGroup, ...], rng: np.random.Generator, count: Callable[[ChannelGroup], int]
) -> Masks:
    """Masks that keep so many random neurons of each of these groups, and all others."""
    neurons: Bits = np.ones(graph.neurons, dtype=np.bool_)
    for group in groups:
        gone = rng.permutation(group.size)[: max(group.size - count(group), 0)]
        neurons[group.start + gone] = False
    return replace(Masks.full(graph), neurons=neurons)
