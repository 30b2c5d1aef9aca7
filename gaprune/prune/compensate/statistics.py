"""Means and covariances at every consumer's input, from one pass of the original network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gaprune.data import ImageSet, normaliser
from gaprune.genome import Floats
from gaprune.progress import SILENT, Reporter
from gaprune.prune.compensate.least_squares import best_damping
from gaprune.prune.compensate.padding import is_linear, padding_sides
from gaprune.prune.compensate.patches import PatchMoments, PatchSums, draw_positions, patches_at, pointwise, taps_of
from gaprune.prune.graph.calls import Keywords, Positional, input_of
from gaprune.prune.graph.graph import Graph, Layer
from gaprune.prune.graph.inputs import Inputs
from gaprune.prune.graph.modes import evaluating
from gaprune.prune.norms.recalibration import Anchor

MOST_INPUTS = 4608
"""Widest input (channels, or channels x taps) whose covariance is collected: 512 channels of 3 x 3 taps."""

SAMPLES_PER_CHANNEL = 10
"""Samples (images x positions) a channel that a covariance over channels wants; all positions are taken."""

SAMPLES_PER_INPUT = 5
"""Patches for each of the channels x taps that a covariance over both wants; positions are drawn."""

FEWEST_POSITIONS = 8
"""Positions of an image that are drawn at least."""

KEPT_SAMPLES = 256
"""Patches that are kept as they are, to measure errors on."""

HELD_OUT_SAMPLES = 1024
"""Held-out patches that the damping is chosen on."""

HELD_OUT = 5
"""One sample in so many is held out, those at the end."""

PATCH_DAMPINGS = (1e-3, 1e-2, 1e-1)
"""Candidates for the damping over patches, relative to their mean variance; single precision bears no smaller one."""


@dataclass(frozen=True)
class Moments:
    """Sums over samples (positions of images) of one consumer's input.

    Attributes:
        count: number of samples.
        total: (in,) float64, sum of inputs.
        products: (in, in) float64, sum of outer products.
        height: of the input map; 1 for a linear layer.
        width: of the input map; 1 for a linear layer.
    """

    count: int
    total: Tensor
    products: Tensor
    height: int
    width: int

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of samples together."""
        return replace(
            self,
            count=self.count + other.count,
            total=self.total + other.total,
            products=self.products + other.products,
        )

    @property
    def mean(self) -> Tensor:
        """(in,) float64."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(in, in) float64."""
        return self.products / self.count - torch.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Statistics:
    """What is known of each consumer's input, by weight name.

    Attributes:
        fitted: over most of the images.
        held_out: over the rest, for choosing what fitting cannot choose (damping).
        images: number of images in both.
        patches: moments over (channels x taps), for consumers with more than one tap, stride or padding.
        samples: (n, in x taps) patches of the same consumers and of wider ones, to measure errors on.
        taylor: (neurons,) mean squared change of the loss that removing each would make, to first order; ``None``
            where it was not asked for.
        anchors: what batch norms are fed with on the images that compact networks are recalibrated on, by module path;
            none where that is not anchored.
    """

    fitted: dict[str, Moments]
    held_out: dict[str, Moments]
    images: int
    patches: dict[str, PatchMoments] = field(default_factory=dict)
    samples: dict[str, Tensor] = field(default_factory=dict)
    taylor: Floats | None = None
    anchors: dict[str, Anchor] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing was collected."""
        return not self.images and self.taylor is None and not self.anchors

    @property
    def bytes(self) -> int:
        """Memory that the second moments take."""
        moments = [m.products for part in (self.fitted, self.held_out) for m in part.values()]
        tensors = [*moments, *(p.covariance for p in self.patches.values()), *self.samples.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def consumers(model: nn.Module, graph: Graph) -> dict[str, Layer]:
    """Dense layers whose input moments can be collected, by weight name.

    Left out: weights that are used twice (one stand-in must serve both), flattened maps that are too wide, and whatever
    is not the ``weight`` of an ``nn.Conv2d`` or ``nn.Linear`` that does what these do (subclasses that pad
    by themselves are tried out).
    """
    uses = Counter(layer.weight for layer in graph.layers)
    modules = dict(model.named_modules())
    return {
        layer.weight: layer
        for layer in graph.layers
        if layer.kind == "dense"
        and not layer.computed
        and uses[layer.weight] == 1
        and (layer.inputs >= 0).any()
        and len(layer.inputs) <= MOST_INPUTS
        and layer.weight == f"{layer.name}.weight"
        and _understood(modules.get(layer.name))
    }


def _understood(module: nn.Module | None) -> bool:
    """Whether a layer is a convolution of its padded input or a linear map, its forward pass being torch's or not."""
    if isinstance(module, nn.Conv2d):
        return padding_sides(module) is not None
    return isinstance(module, nn.Linear) and is_linear(module)


def images_wanted(layers: dict[str, Layer]) -> int:
    """Images that give every covariance enough samples; a map's positions are the consumer's output positions."""
    return max(
        (-(-SAMPLES_PER_CHANNEL * len(layer.inputs) // max(layer.positions, 1)) for layer in layers.values()),
        default=1,
    )


def collect(
    model: nn.Module,
    graph: Graph,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    taps: bool = True,
    batch_size: int = 256,
    reporter: Reporter = SILENT,
) -> Statistics:
    """One pass over ``images``; the last fifth is held out.

    Args:
        model: the original network; left in the mode it was in.
        graph: its pruning graph.
        images: calibration images; labels unused.
        mean: normalisation.
        std: normalisation.
        taps: whether to collect moments over (channels x taps) where they say more than those over channels.
        batch_size: images a forward pass.
        reporter: told of the images done, and then of the layers whose covariances are solved for their damping.
    """
    normalised = normaliser(mean, std, images.images.device)
    held_from = max(len(images) - len(images) // HELD_OUT, 1)

    def parts(start: int, stop: int) -> Iterator[Inputs]:
        for first in range(start, stop, batch_size):
            yield Inputs((normalised(images.images[first : min(first + batch_size, stop)]),))

    both = parts(0, held_from), parts(held_from, len(images))
    return _collect(model, graph, both, held_from, len(images), taps, reporter)


def collect_over(
    model: nn.Module, graph: Graph, batches: Sequence[Inputs], *, taps: bool = True, reporter: Reporter = SILENT
) -> Statistics:
    """``collect`` over any batches; the last fifth of them is held out.

    Args:
        model: the original network; left in the mode it was in.
        graph: its pruning graph.
        batches: what it is called with.
        taps: whether to collect moments over (channels x taps) where they say more than those over channels.
        reporter: told of the samples done, and then of the layers whose covariances are solved for their damping.
    """
    held_from = max(len(batches) - max(len(batches) // HELD_OUT, 1), 1)
    fitted, held = batches[:held_from], batches[held_from:]
    counts = sum(map(len, fitted)), sum(map(len, batches))
    return _collect(model, graph, (fitted, held), *counts, taps, reporter)


def _collect(
    model: nn.Module,
    graph: Graph,
    parts: tuple[Iterable[Inputs], Iterable[Inputs]],
    fitted: int,
    total: int,
    taps: bool,
    reporter: Reporter,
) -> Statistics:
    """One pass over samples to fit, of which there are ``fitted``, and then over those held out."""
    layers = consumers(model, graph)
    modules = {weight: model.get_submodule(layer.name) for weight, layer in layers.items()}
    watchers = {
        weight: Watcher(module, number, fitted, taps=taps) for number, (weight, module) in enumerate(modules.items())
    }
    with (
        evaluating(model),
        torch.no_grad(),
        _watching(modules, watchers),
        reporter.task("statistics", total) as t,
    ):
        for batches, held in zip(parts, (False, True), strict=True):
            for watcher in watchers.values():
                watcher.held = held
            for batch in batches:
                batch(model)
                t.advance(len(batch))
    patches = {}
    with reporter.task("statistics, solving", len(watchers)) as t:
        for weight, watcher in watchers.items():
            if watcher.sums is not None:
                patches[weight] = watcher.patches()
            t.advance(1)
    return Statistics(
        fitted={weight: w.moments[False] for weight, w in watchers.items() if False in w.moments},
        held_out={weight: w.moments[True] for weight, w in watchers.items() if True in w.moments},
        images=total,
        patches=patches,
        samples={weight: torch.cat(w.samples)[:KEPT_SAMPLES] for weight, w in watchers.items() if w.samples},
    )


@contextmanager
def _watching(modules: dict[str, nn.Module], watchers: dict[str, Watcher]) -> Iterator[None]:
    """Show the input of every call of a layer to the layer's watcher."""
    hooks = [m.register_forward_pre_hook(watchers[weight], with_kwargs=True) for weight, m in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Watcher:
    """Sums up what one consumer is fed with.

    Args:
        module: the consumer.
        seed: of the positions that are sampled.
        images: how many will be fitted.
        taps: whether to sum over patches where they say more than channels.

    Attributes:
        held: whether the images that come are held out.
        moments: over channels, of fitted (``False``) and held-out (``True``) images.
        sums: over patches; ``None`` where they are not summed up.
        samples: a few patches as they are; none where channels say all.
    """

    def __init__(self, module: nn.Module, seed: int, images: int, *, taps: bool) -> None:
        self.held = False
        self.moments: dict[bool, Moments] = {}
        self.sums: PatchSums | None = None
        self.samples: list[Tensor] = []
        self._module = module
        self._weight = module.get_parameter("weight").detach().flatten(1)
        self._pointwise = pointwise(module)
        self._generator = torch.Generator().manual_seed(seed)
        self._held_out: list[Tensor] = []
        self._damping: float | None = None
        width = self._weight.shape[1]
        if taps and not self._pointwise and width <= MOST_INPUTS:
            self.sums = PatchSums(width, self._weight.device)
        self._positions = max(-(-SAMPLES_PER_INPUT * width // images), FEWEST_POSITIONS)

    def __call__(self, module: nn.Module, inputs: Positional, keywords: Keywords) -> None:
        """Take the input of one call."""
        x = input_of(inputs, keywords)
        found = _moments(x, maps=isinstance(module, nn.Conv2d))
        self.moments[self.held] = self.moments[self.held] + found if self.held in self.moments else found
        if not self._pointwise and sum(map(len, self.samples)) < KEPT_SAMPLES:
            self.samples.append(self._rows(x, 1))
        if self.sums is None:
            return
        rows = self._rows(x, self._positions)
        if not self.held or self._damping is not None:
            self.sums.add(rows)
            return
        self._held_out.append(rows)
        if sum(map(len, self._held_out)) >= HELD_OUT_SAMPLES:
            self._settle()

    def patches(self) -> PatchMoments:
        """The moments of all patches, and the damping that suits the held-out ones."""
        assert self.sums is not None
        if self._damping is None:
            self._settle()
        mean, covariance = self._found()
        return PatchMoments(self.sums.count, mean, covariance, self._damping or PATCH_DAMPINGS[0])

    def _settle(self) -> None:
        """Choose the damping, on every second channel by falling variance; held-out patches then join the sums."""
        assert self.sums is not None
        self._damping = PATCH_DAMPINGS[0]
        if not self._held_out:
            return
        mean, covariance = self._found()
        held_out = torch.cat(self._held_out)
        taps = taps_of(self._module)
        variance = covariance.diagonal().reshape(-1, taps).sum(1)
        channels = torch.argsort(variance, descending=True, stable=True)[::2]
        kept = (channels[:, None] * taps + torch.arange(taps, device=channels.device)).reshape(-1)
        self._damping = best_damping(self._weight, covariance, mean, kept, held_out, PATCH_DAMPINGS)
        self.sums.add(held_out)
        self._held_out.clear()

    def _found(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the patches so far, in the network's type."""
        assert self.sums is not None
        return self.sums.mean().to(self._weight.dtype), self.sums.covariance().to(self._weight.dtype)

    def _rows(self, x: Tensor, most: int) -> Tensor:
        return patches_at(self._module, x, draw_positions(self._module, x, most, self._generator))


def _moments(x: Tensor, *, maps: bool) -> Moments:
    """Of (N, C, H, W) maps or (..., F) features."""
    height, width = (x.shape[2], x.shape[3]) if maps else (1, 1)
    samples = x.transpose(0, 1).flatten(1) if maps else x.reshape(-1, x.shape[-1]).T
    samples = samples.double()
    lower = (
        samples @ samples.T
    ).tril()  # not every library gives the two halves alike, and one of them is kept on disk
    return Moments(samples.shape[1], samples.sum(1), lower + lower.tril(-1).T, height, width)
