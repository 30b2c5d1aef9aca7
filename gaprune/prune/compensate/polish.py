"""Polish: a compact network's layers re-solved in turn against the original's outputs, without training or labels.

Each layer is fed by the already compacted ones before it, so errors are made up for instead of adding up. One forward
pass of the compact network over all images does it: when a layer's input arrives, its weights are solved for, and the
pass goes on with the new ones (channels x taps, from cross-covariances of what the compact layer sees with what the
original gave; He et al., ICCV 2017 reconstruct layers so, with channels chosen by lasso). Grouped and depthwise
convolutions are solved for group by group. A fifth of the images is held out: it says how far a layer may leave the
weights that it has, and that it had better keep them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaprune.data import ImageSet, normaliser
from gaprune.prune.compensate.least_squares import ridge, solve
from gaprune.prune.compensate.padding import padding_sides
from gaprune.prune.compensate.patches import draw_positions, outputs_at, patches_at
from gaprune.prune.compensate.statistics import FEWEST_POSITIONS, consumers
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.calls import Keywords, Positional, input_of
from gaprune.prune.graph.graph import Graph, Layer
from gaprune.prune.graph.modes import evaluating

DAMPINGS = (1e-3, 1e-2, 1e-1)
"""Relative to the mean variance of a layer's patches, pulling towards the weights that there are.

The first that does any good is taken: the best for each layer is not the best for the network (ResNet18 at 25% of the
FLOPs: 0.7 +- 0.3 points less).
"""

HELD_OUT = 5
"""One image in so many says which damping does a layer, or a group of one, good, or that its weights should stay."""

PATCHES = 32_000
"""Output positions of all images together that a layer is fitted on at most."""

FEWEST_PATCHES, PATCHES_PER_INPUT = 8_000, 64
"""Narrow layers are fitted on fewer, so many at least, and so many for each of their channels x taps."""

GROUPED_PATCHES = 2_048
"""The same of grouped and depthwise layers, each of whose groups has few inputs."""

SWEEPS = 2
"""Solves of a layer whose output an activation cuts off; each takes what is cut off for granted as the one before left
it."""


class Polisher:
    """Re-solves compact networks of one original.

    Args:
        model: the original network; its outputs are sampled once, here.
        graph: its pruning graph.
        images: calibration images; labels unused. All pass through a compact network at once.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass of the original.
        advance: told of the images done.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        images: ImageSet,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        batch_size: int = 256,
        advance: Callable[[int], object] = lambda images: None,
    ) -> None:
        self._layers = consumers(model, graph) | grouped_layers(model, graph)
        self._norms = {pair.convolution: pair for pair in graph.norms}
        self._images = images.loaded()
        self._normalised = normaliser(mean, std, images.images.device)
        samplers = {
            weight: _Sampler(number, _positions(layer, model.get_parameter(weight), len(images)))
            for number, (weight, layer) in enumerate(self._layers.items())
        }
        with evaluating(model), torch.no_grad(), _hooked(model, self._layers, samplers):
            for first in range(0, len(images), batch_size):
                batch = images.images[first : first + batch_size]
                model(self._normalised(batch))
                advance(len(batch))
        # of others the images do not lie on the first axis
        whole = {w: s for w, s in samplers.items() if sum(map(len, s.positions)) == len(images)}
        self._targets = {w: (torch.cat(s.positions), torch.cat(s.outputs)) for w, s in whole.items()}

    def __call__(self, network: nn.Module, masks: Masks) -> None:
        """Re-solve a compact network in place; it is left in eval mode.

        Its batch norm statistics must be the original's, as compaction leaves them. They stay, but for the means
        behind layers without bias, which take up what a bias would. Layers with masked kernels or tied groups stay as
        they are.

        Args:
            network: of this original.
            masks: what it keeps.
        """
        network.eval()
        handles = [
            network.get_submodule(layer.name).register_forward_pre_hook(
                self._solver(network, layer, masks), with_kwargs=True
            )
            for weight, layer in self._layers.items()
            if weight in self._targets and masks.kernel_mask(layer) is None
        ]
        try:
            with torch.no_grad():
                network(self._normalised(self._images.images[:]))
        finally:
            for handle in handles:
                handle.remove()

    def _solver(self, network: nn.Module, layer: Layer, masks: Masks) -> _Solver:
        positions, outputs = self._targets[layer.weight]
        kept = torch.from_numpy(np.flatnonzero(masks.kept(layer.outputs))).to(outputs.device)
        pair = self._norms.get(layer.name)
        norm = None if pair is None else network.get_submodule(pair.norm)
        tracked = getattr(norm, "running_var", None) is not None  # else nobody knows what is cut off
        bounds = pair.bounds if pair is not None and tracked else None
        return _Solver(positions, outputs.index_select(1, kept), norm, bounds)


class _Sampler:
    """Keeps a layer's output at drawn positions."""

    def __init__(self, seed: int, most: int) -> None:
        self.positions: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self._most = most
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, module: nn.Module, inputs: Positional, keywords: Keywords, output: Tensor) -> None:
        positions = draw_positions(module, input_of(inputs, keywords), self._most, self._generator)
        self.positions.append(positions)
        self.outputs.append(outputs_at(module, output, positions))


class _Solver:
    """Solves for one layer's weights when its input arrives.

    Args:
        positions: (images, s) output positions to fit.
        wanted: (images x s, out kept) what the original gives there.
        norm: the batch norm that takes the layer's output, if one alone does.
        bounds: behind the norm, where the activation that alone follows it is flat; the norm then has running
            statistics.
    """

    def __init__(
        self, positions: Tensor, wanted: Tensor, norm: nn.Module | None, bounds: tuple[float, float] | None
    ) -> None:
        self._positions = positions
        self._wanted = wanted
        self._norm: Any = norm
        self._bounds = bounds

    def __call__(self, module: nn.Module, inputs: Positional, keywords: Keywords) -> None:
        groups = int(getattr(module, "groups", 1))
        x = _by_group(patches_at(module, input_of(inputs, keywords), self._positions), groups)
        constants = (
            getattr(module, "bias", None) is not None or self._norm is not None
        )  # else nothing can hold a constant
        mean = x.mean(1, keepdim=True) * constants
        images, drawn = self._positions.shape
        fit = _LeastSquares(x - mean, mean[:, 0], drawn * (images - images // HELD_OUT))
        old = module.get_parameter("weight")
        weight, aim = old.detach().reshape(groups, len(old) // groups, -1), _by_group(self._wanted, groups)
        centre = aim.mean(1, keepdim=True) * constants
        weight = fit(aim - centre, weight)
        for _ in range(0 if self._bounds is None else SWEEPS - 1):
            aim = _by_group(self._uncut(_in_a_row(fit.given(weight) + centre)), groups)
            centre = aim.mean(1, keepdim=True) * constants
            weight = fit(aim - centre, weight)
        old.data.copy_(weight.reshape(old.shape))
        self._place(_in_a_row(centre - mean @ weight.mT)[0], module.bias)

    def _uncut(self, given: Tensor) -> Tensor:
        assert self._bounds is not None
        return _cut_off(self._wanted, given, self._norm, self._bounds)

    def _place(self, constant: Tensor, bias: Any) -> None:
        """A constant of the output goes into the bias, or where there is none into the mean of the batch norm."""
        if bias is not None:
            bias.data.copy_(constant)
        elif self._norm is not None and self._norm.running_mean is not None:
            self._norm.running_mean -= constant


class _LeastSquares:
    """Weights of a layer's groups; how far they may leave those that there are is settled at the first call.

    Args:
        x: (groups, n, k) inputs, centred.
        mean: (groups, k) what was taken off them.
        fitted: the first so many of n are fitted while the others choose; in the end all are.
    """

    def __init__(self, x: Tensor, mean: Tensor, fitted: int) -> None:
        self._x, self._mean, self._fitted = x, mean, fitted
        first, rest = x[:, :fitted], x[:, fitted:]
        products = first.mT @ first
        self._first = products / max(fitted, 1)
        self._whole = (products + rest.mT @ rest) / x.shape[1]
        self._damping: Tensor | None = None
        self._moves = torch.ones(len(x), dtype=torch.bool, device=x.device)

    def given(self, weight: Tensor) -> Tensor:
        """(groups, n, out) outputs without constants."""
        return self._x @ weight.mT

    def __call__(self, wanted: Tensor, weight: Tensor) -> Tensor:
        """(groups, out, k) from (groups, n, out) centred outputs and the weights that there are."""
        missing = wanted - self.given(weight)
        if self._damping is None:
            self._damping = self._chosen(missing)
        step = self._solved(self._whole, self._x.mT @ missing / self._x.shape[1], self._damping)
        return weight + step.mT * self._moves[:, None, None]

    def _chosen(self, missing: Tensor) -> Tensor:
        """(groups,) of each the least damping that misses less of what is held out than the weights that there are.

        Where none does, the weights stay.
        """
        least = missing.new_full((len(missing),), DAMPINGS[0])
        rest, misses = self._x[:, self._fitted :], missing[:, self._fitted :]
        if not 0 < self._fitted < missing.shape[1]:
            return least
        right = self._x[:, : self._fitted].mT @ missing[:, : self._fitted] / self._fitted
        kept = misses.square().sum((1, 2))
        better: list[Tensor] = []
        for damping in DAMPINGS:
            misses_now = misses - rest @ self._solved(self._first, right, least * 0 + damping)
            better.append(misses_now.square().sum((1, 2)) < kept)
            if better[-1].all():
                break
        self._moves = torch.stack(better).any(0)
        return missing.new_tensor(DAMPINGS)[torch.stack(better).int().argmax(0)]

    def _solved(self, products: Tensor, right: Tensor, damping: Tensor) -> Tensor:
        damped = products.clone()
        damped.diagonal(dim1=-2, dim2=-1).add_(ridge(products, self._mean, damping)[:, None])
        return solve(damped, right)


def grouped_layers(model: nn.Module, graph: Graph) -> dict[str, Layer]:
    """Grouped and depthwise convolutions that can be solved for, by weight name; see ``consumers``."""
    uses = Counter(layer.weight for layer in graph.layers)
    modules = dict(model.named_modules())
    found = {}
    for layer in graph.layers:
        module = modules.get(layer.name)
        alone = uses[layer.weight] == 1 and not layer.computed and layer.weight == f"{layer.name}.weight"
        pruned = layer.kind != "dense" and (layer.inputs >= 0).any()
        if alone and pruned and isinstance(module, nn.Conv2d) and padding_sides(module) is not None:
            found[layer.weight] = layer
    return found


def _positions(layer: Layer, weight: Tensor, images: int) -> int:
    """Output positions of an image that a layer is fitted on."""
    if layer.kind != "dense":
        return -(-GROUPED_PATCHES // max(images, 1))
    wanted = max(FEWEST_PATCHES, PATCHES_PER_INPUT * weight[0].numel())
    return max(-(-min(PATCHES, wanted) // max(images, 1)), FEWEST_POSITIONS)


def _by_group(rows: Tensor, groups: int) -> Tensor:
    """(groups, n, k) of (n, groups x k)."""
    return rows.view(len(rows), groups, -1).transpose(0, 1)


def _in_a_row(blocks: Tensor) -> Tensor:
    """(n, groups x k) of (groups, n, k)."""
    return blocks.transpose(0, 1).flatten(1)


def _cut_off(wanted: Tensor, given: Tensor, norm: Any, bounds: tuple[float, float]) -> Tensor:
    """(n, out): what to aim at when only what lies between ``bounds`` behind the batch norm counts.

    Where the original is cut off, any output that is cut off on the same side will do: the nearest to the one given.
    """
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = (0.0 if norm.bias is None else norm.bias) - norm.running_mean * scale
    safe = scale.where(scale != 0, torch.ones_like(scale))
    behind = wanted * scale + shift
    aim = wanted
    for bound, cut in ((bounds[0], behind <= bounds[0]), (bounds[1], behind >= bounds[1])):
        if math.isfinite(bound):
            threshold = (bound - shift) / safe
            low = torch.minimum(given, threshold)
            high = torch.maximum(given, threshold)
            nearest = torch.where((scale > 0) == (bound == bounds[0]), low, high)
            aim = torch.where(cut & (scale != 0), nearest, aim)
    return aim


@contextmanager
def _hooked(model: nn.Module, layers: dict[str, Layer], samplers: dict[str, _Sampler]) -> Iterator[None]:
    """Show input and output of every call of a layer to its sampler."""
    handles = [
        model.get_submodule(layer.name).register_forward_hook(samplers[weight], with_kwargs=True)
        for weight, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
