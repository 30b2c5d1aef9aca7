"""Small networks for the tests of the pruning engine, and what a mask means, written down a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet
from gaprune.prune.cut.costs import cost_model
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph
from gaprune.prune.rank.importance import l2
from gaprune.prune.space import PruningSpace, SpaceOptions

SHAPE = (3, 8, 8)
MEAN, STD = (120.0, 130.0, 110.0), (60.0, 61.0, 62.0)


def image_set(count: int = 30) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


class Net(nn.Module):
    """Some modules, and a forward over them: ``Net(lambda s, x: s.head(s.conv(x)), conv=..., head=...)``."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **({"padding": kernel // 2} | options))


def pooled(s: Any, x: Tensor) -> Tensor:
    """Global average pooling and the linear layer ``head``."""
    out: Tensor = s.head(x.mean((2, 3)))
    return out


def chain() -> nn.Module:
    """Two convolutions with batch norm, no branches."""
    return Net(
        lambda s, x: pooled(s, F.relu(s.norm2(s.conv2(F.relu(s.norm1(s.conv1(x))))))),
        conv1=conv(3, 6),
        norm1=nn.BatchNorm2d(6),
        conv2=conv(6, 8, stride=2),
        norm2=nn.BatchNorm2d(8),
        head=nn.Linear(8, 3),
    )


def residual() -> nn.Module:
    """A stem, a block with an identity shortcut and one with a projection."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = F.relu(s.norm(s.stem(x)))
        x = F.relu(x + s.b(F.relu(s.a(x))))
        x = F.relu(s.d(F.relu(s.c(x))) + s.shortcut(x))
        return pooled(s, x)

    return Net(
        run,
        stem=conv(3, 6),
        norm=nn.BatchNorm2d(6),
        a=conv(6, 4),
        b=conv(4, 6),
        c=conv(6, 8, stride=2),
        d=conv(8, 8),
        shortcut=conv(6, 8, 1, stride=2),
        head=nn.Linear(8, 3),
    )


def dense_block() -> nn.Module:
    """Every layer reads all maps before it, as in DenseNet."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = s.stem(x)
        y = s.grow1(F.relu(s.norm1(x)))
        z = s.grow2(F.relu(s.norm2(torch.cat([x, y], 1))))
        return pooled(s, s.transition(torch.cat([x, y, z], 1)))

    return Net(
        run,
        stem=conv(3, 4),
        norm1=nn.BatchNorm2d(4),
        grow1=conv(4, 2),
        norm2=nn.BatchNorm2d(6),
        grow2=conv(6, 2),
        transition=conv(8, 6, 1),
        head=nn.Linear(6, 3),
    )


def depthwise(multiplier: int = 1) -> nn.Module:
    """Pointwise, depthwise, pointwise."""
    return Net(
        lambda s, x: pooled(s, s.project(F.relu6(s.norm(s.depth(F.relu6(s.expand(x))))))),
        expand=conv(3, 6, 1),
        depth=conv(6, 6 * multiplier, groups=6),
        norm=nn.BatchNorm2d(6 * multiplier),
        project=conv(6 * multiplier, 4, 1),
        head=nn.Linear(4, 3),
    )


def grouped() -> nn.Module:
    """A convolution of two groups in the middle."""
    return Net(
        lambda s, x: pooled(s, s.after(F.relu(s.grouped(F.relu(s.before(x)))))),
        before=conv(3, 8),
        grouped=conv(8, 12, groups=2),
        after=conv(12, 6),
        head=nn.Linear(6, 3),
    )


def gated() -> nn.Module:
    """A squeeze-and-excite gate."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = F.relu(s.conv1(x))
        gate = torch.sigmoid(s.excite(F.relu(s.squeeze(x.mean((2, 3), keepdim=True)))))
        return pooled(s, s.conv2(x * gate))

    return Net(
        run,
        conv1=conv(3, 6),
        squeeze=conv(6, 4, 1),
        excite=conv(4, 6, 1),
        conv2=conv(6, 5),
        head=nn.Linear(5, 3),
    )


def flattened() -> nn.Module:
    """A head that reads 4 x 4 maps."""
    return Net(
        lambda s, x: s.head(F.max_pool2d(F.relu(s.conv1(x)), 2).flatten(1)),
        conv1=conv(3, 6),
        head=nn.Linear(6 * 16, 3),
    )


def used_twice() -> nn.Module:
    """One convolution called twice in a row."""
    return Net(
        lambda s, x: pooled(s, F.relu(s.again(F.relu(s.again(F.relu(s.conv1(x))))))),
        conv1=conv(3, 6),
        again=conv(6, 6),
        head=nn.Linear(6, 3),
    )


class TwoNames(nn.Module):
    """Convolutions that are registered under two names each, the second of which is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(3, 6), conv(6, 6)
        self.body = nn.Sequential(self.conv1, nn.ReLU(), self.conv2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return pooled(self, self.body(x))


def two_names() -> nn.Module:
    return TwoNames()


def tied_weights() -> nn.Module:
    """Two convolutions with one weight between them and a bias each."""
    model = Net(
        lambda s, x: pooled(s, F.relu(s.b(F.relu(s.a(F.relu(s.conv1(x))))))),
        conv1=conv(3, 6),
        a=conv(6, 6),
        b=conv(6, 6),
        head=nn.Linear(6, 3),
    )
    model.b.weight = model.a.weight
    return model


def single_channels() -> nn.Module:
    """A grey image, and a bottleneck of one channel."""
    return Net(
        lambda s, x: pooled(s, s.out(F.relu(s.bottle(F.relu(s.conv1(x[:, :1])))))),
        conv1=conv(1, 6),
        bottle=conv(6, 1),
        out=conv(1, 5),
        head=nn.Linear(5, 3),
    )


def unet() -> nn.Module:
    """Down, up by interpolation, with a skip connection that is concatenated."""

    def run(s: Any, x: Tensor) -> Tensor:
        top = F.relu(s.down1(x))
        low = F.relu(s.down2(F.max_pool2d(top, 2)))
        up = F.interpolate(s.up(low), scale_factor=2, mode="bilinear")
        return pooled(s, F.relu(s.merge(torch.cat([top, up], 1))))

    return Net(
        run,
        down1=conv(3, 4),
        down2=conv(4, 6),
        up=conv(6, 4),
        merge=conv(8, 6),
        head=nn.Linear(6, 3),
    )


def tokens_first() -> nn.Module:
    """Nine tokens, an odd number, as (tokens, images, features)."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = s.conv(x).flatten(2).permute(2, 0, 1)
        out: Tensor = s.head((x + s.second(F.relu(s.first(x)))).mean(0))
        return out

    parts = {"first": nn.Linear(6, 8), "second": nn.Linear(8, 6), "head": nn.Linear(6, 3)}
    return Net(run, conv=conv(3, 6, 3, stride=2, padding=0), **parts)


PRUNABLE: dict[str, Callable[[], nn.Module]] = {
    "chain": chain,
    "residual": residual,
    "dense block": dense_block,
    "depthwise": depthwise,
    "depthwise with a multiplier": lambda: depthwise(2),
    "grouped": grouped,
    "gated": gated,
    "flattened": flattened,
    "used twice": used_twice,
    "two names": two_names,
    "tied weights": tied_weights,
    "single channels": single_channels,
    "unet": unet,
}
"""Networks of which every hidden channel may go, but those that are alone."""


def prepared(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 and eval mode, with statistics as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for name, tensor in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items():
            if tensor.is_floating_point():
                value = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                fan = max(tensor[0].numel() if tensor.ndim > 1 else 1, 1)
                tensor.copy_(value.abs() + 0.5 if name.endswith("running_var") else value / fan**0.5)
    return model


def images(shape: tuple[int, int, int] = SHAPE, count: int = 3) -> Tensor:
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def space_of(model: nn.Module, graph: Graph, shape: tuple[int, int, int] = SHAPE, **options: Any) -> PruningSpace:
    return PruningSpace(graph, cost_model(model, graph, shape), l2(model, graph), SpaceOptions(**options))


def fits(graph: Graph, options: dict[str, Any]) -> bool:
    """Whether some convolution can be split into the connection groups that are asked for."""
    groups = options.get("connection_groups", 1)
    return groups == 1 or any(
        layer.splittable and len(layer.inputs) % groups == len(layer.outputs) % groups == 0
        for layer in graph.convolutions()
    )


def random_masks(space: PruningSpace, seed: int, share: float = 0.6) -> Masks:
    """What some random repaired genome means."""
    bits = np.random.default_rng(seed).random(space.layout.size) < share
    return space.masks(space.layout.pack(space.repair(bits)))


def masked_by_hooks(model: nn.Module, graph: Graph, masks: Masks, x: Tensor) -> Tensor:
    """The masked network by its definition: each consumer's input is multiplied by the mask of its channels.

    Masks of connections multiply the convolution's kernels, for the time of the call.
    """
    handles = []
    saved: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    try:
        for layer in {layer.name: layer for layer in graph.layers if layer.kind != "depthwise"}.values():
            kept = torch.from_numpy(masks.kept(layer.inputs)).double()
            if layer.name in modules:
                hook = _multiply(kept, layer.convolution)
                handles.append(modules[layer.name].register_forward_pre_hook(hook))
            else:  # a functional call has no input to hook
                weight = model.get_parameter(layer.weight)
                saved[layer.weight] = weight.detach().clone()
                weight.data.mul_(kept[:, None, None])
        handles += _kept_moments(modules, graph, masks)
        for layer in graph.convolutions():
            mask = _connections(masks, layer.weight, masks.kept(layer.outputs), masks.kept(layer.inputs))
            if mask is not None:
                weight = model.get_parameter(layer.weight)
                saved.setdefault(layer.weight, weight.detach().clone())
                weight.data.mul_(torch.from_numpy(mask)[:, :, None, None])
        with torch.no_grad():
            out: Tensor = model(x)
        return out
    finally:
        for handle in handles:
            handle.remove()
        for name, weight in saved.items():
            model.get_parameter(name).data.copy_(weight)


def _kept_moments(modules: dict[str, nn.Module], graph: Graph, masks: Masks) -> list[Any]:
    """Hooks that let norms over channels take the moments of the kept ones, written out."""
    norms = {n: m for n, m in modules.items() if isinstance(m, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm)}
    calls = [one for one in graph.masked if one.call in ("layer_norm", "group_norm", "rms_norm")]
    handles = []
    for module, norm in zip(norms.values(), calls, strict=True):
        kept = torch.from_numpy(masks.kept(norm.neurons)).double()
        if kept.all():
            continue
        handles.append(module.register_forward_hook(_normalise(kept, norm.axis, norm.groups)))
    return handles


def _normalise(kept: Tensor, axis: int, groups: int) -> Callable[[Any, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x,) = inputs
        mask = kept.view(-1, *[1] * (-1 - axis)).expand(x.shape)
        dims = [2] if isinstance(module, nn.GroupNorm) else list(range(-len(module.normalized_shape), 0))
        shaped, there = x, mask
        if dims == [2]:
            shaped, there = (one.reshape(len(x), groups, -1) for one in (x, mask))
        seen = there.sum(dims, keepdim=True).clamp_min(1)
        mean = (shaped * there).sum(dims, keepdim=True) / seen * (not isinstance(module, nn.RMSNorm))
        variance = ((shaped - mean).square() * there).sum(dims, keepdim=True) / seen
        out = ((shaped - mean) / (variance + module.eps).sqrt()).reshape(x.shape)
        if module.weight is None:
            return out
        places = [-1] if dims == [-1] else [-1, 1, 1]
        bias = getattr(module, "bias", None)
        return out * module.weight.view(places) + (0 if bias is None else bias.view(places))

    return hook


def _multiply(kept: Tensor, convolution: bool) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        mask = kept.to(inputs[0].dtype)
        return (inputs[0] * (mask[:, None, None] if convolution else mask), *inputs[1:])

    return hook


def _connections(masks: Masks, weight: str, rows: Any, columns: Any) -> Any:
    """(out, in) boolean over the original's channels, or None."""
    if weight in masks.kernels:
        return masks.kernels[weight]
    if weight not in masks.groupings:
        return None
    grouping = masks.groupings[weight]
    whole = np.zeros((len(rows), len(columns)), dtype=np.bool_)
    kept_rows, kept_columns = np.flatnonzero(rows), np.flatnonzero(columns)
    for outputs, inputs in zip(
        np.split(grouping.outputs, grouping.groups), np.split(grouping.inputs, grouping.groups), strict=True
    ):
        whole[np.ix_(kept_rows[outputs], kept_columns[inputs])] = True
    return whole


def warnings_of(caplog: Any) -> list[str]:
    """What the package warned of; torch logs, too."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("gaprune")]


def apart(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found - wanted).detach().abs().max() / wanted.detach().abs().max())
