"""Tucker decomposition by tensorly: Tucker-2 of convolutions, matrix Tucker of linear layers and embeddings.

Tucker-2 (Kim et al. 2016, arXiv:1511.06530) writes a k x k convolution as 1 x 1, k x k (the core) and 1 x 1. Of a
matrix W ~ U G V the core is multiplied into V, which is the same function with fewer parameters. Ranks come from
an energy: of each mode's squared singular values the least number that reaches it, as in HOSVD. A target size takes
the energy of each layer such that all layers together lose least: a layer of few parameters is left alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from gaprune.compress.factoring import FACTORABLE, Factored, factored, place
from gaprune.compress.method import CONVOLUTIONS, EMBEDDINGS, LINEAR, Method, Outline, Session, Work
from gaprune.compress.prune import train_on
from gaprune.compress.words import RAW, flag, method_text, nothing_left, share
from gaprune.errors import MethodError, OptionError
from gaprune.runtimes import needed

SIZE = 0.25
"""Share of the layers' parameters that stays unless told otherwise."""

BISECTIONS = 60
PRICES = (1e-15, 1e3)
"""Energy lost that a parameter is worth: the least and the most that are tried."""

ENERGIES = 400
"""Pairs of ranks that a target size chooses from, in a layer."""

TINY = float(np.finfo(np.float64).tiny)

SWEEPS = 10
"""Sweeps of alternating least squares at most (tensorly stops earlier where nothing changes)."""

Floats = NDArray[np.float64]


class Tucker(Method):
    """``tucker``, with ``size=SHARE`` of the layers' parameters or ``energy=SHARE``; trained on unless ``raw``.

    Convolutions and linear layers; ``embeddings`` adds those, ``only-embeddings`` takes nothing else.
    """

    name = "tucker"

    def __init__(self, words: Sequence[str] = ()) -> None:
        left = list(words)
        self.energy = share(left, "energy")
        size = share(left, "size")
        if size is not None and self.energy is not None:
            raise OptionError(f"tucker takes a size or an energy, not both: got {method_text(self.name, words)}")
        self.size = size or SIZE
        self.trains = not flag(left, RAW)
        only, too = flag(left, "only-embeddings"), flag(left, "embeddings")
        nothing_left(self.name, left, ("size=SHARE", "energy=SHARE", "embeddings", "only-embeddings", RAW))
        self.text = method_text(self.name, words)
        self.applies_to = (EMBEDDINGS,) if only else (CONVOLUTIONS, LINEAR, *((EMBEDDINGS,) if too else ()))

    def check(self, outline: Outline) -> None:
        """See ``Method``."""
        super().check(outline)
        if self.name in outline.methods:
            raise MethodError("tucker cannot follow tucker: the layers are factors already; choose a smaller size")
        if outline.zeros:
            raise MethodError(
                "tucker cannot follow prune:magnitude: factors of layers with zeros have none; write tucker first"
            )

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        self.check(work.outline)
        network = copy.deepcopy(work.network).cpu()
        layers = _layers(network, self.applies_to)
        if self.energy is None:
            ranks = _ranks_within(layers, self.size)
        else:
            ranks = [layer.ranks(self.energy) for layer in layers]
        report: dict[str, Any] = {
            "layers": [_factor(network, layer, chosen) for layer, chosen in zip(layers, ranks, strict=True)]
        }
        before, after = (sum(entry[name] for entry in report["layers"]) for name in ("params", "params left"))
        report |= {"params": before, "params left": after}
        if after == before:
            raise MethodError(f"{self.text}: no layer gets smaller at these ranks; choose a smaller size or energy")
        network.to(work.task.device)
        work.task.settle(network, work.network)
        if self.trains:
            report["training"] = train_on(network, work, session)
        return work.then(network, self.text, report)


@dataclass(frozen=True)
class _Layer:
    """A layer that may be factored: its weight as a tensor (output, input, taps), and both modes' energies.

    Attributes:
        path: of the module.
        shape: (output, input, taps).
        energies: of the input and output mode, squared singular values, largest first.
    """

    path: str
    shape: tuple[int, int, int]
    energies: tuple[Floats, Floats]

    @property
    def params(self) -> int:
        outputs, inputs, taps = self.shape
        return outputs * inputs * taps

    def ranks(self, energy: float) -> tuple[int, int]:
        """Of inputs and outputs."""
        found = (_rank(self.energies[0], energy), _rank(self.energies[1], energy))
        return found if self.shape[2] > 1 else (max(found), max(found))

    def factored_params(self, ranks: tuple[int, int]) -> int:
        outputs, inputs, taps = self.shape
        core = ranks[0] * ranks[1] * taps if taps > 1 else 0
        return inputs * ranks[0] + core + outputs * ranks[1]

    def lost(self, ranks: tuple[int, int]) -> float:
        """At most this share of the weight's energy is lost: both modes' tails (one, of a matrix)."""
        tails = [energies[rank:].sum() for energies, rank in zip(self.energies, ranks, strict=True)]
        lost = sum(tails) if self.shape[2] > 1 else tails[0]
        return float(lost / max(self.energies[0].sum(), TINY))


def _layers(network: nn.Module, applies_to: tuple[str, ...]) -> list[_Layer]:
    kinds = {CONVOLUTIONS: nn.Conv2d, LINEAR: nn.Linear, EMBEDDINGS: nn.Embedding}
    wanted = [kinds[kind] for kind in applies_to]
    places = [module for _, module in network.named_modules(remove_duplicate=False)]
    found = []
    for path, module in network.named_modules():
        # subclasses may read their weight in ways that factors have no answer to
        if type(module) in wanted and path and places.count(module) == 1 and getattr(module, "groups", 1) == 1:
            tensor = _tensor(module)
            found.append(_Layer(path, tensor.shape, (_energies(tensor, 1), _energies(tensor, 0))))
    return found


def _tensor(module: nn.Module) -> Any:
    """(output, input, taps) float64; 1 x 1 convolutions and matrices have one tap."""
    assert isinstance(module, FACTORABLE)
    weight = module.weight.detach().double()
    if isinstance(module, nn.Embedding):
        weight = weight.T
    return weight.reshape(weight.shape[0], weight.shape[1], -1).cpu().numpy()


def _energies(tensor: Any, mode: int) -> Floats:
    unfolded = np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)
    if unfolded.shape[0] > unfolded.shape[1]:
        unfolded = unfolded.T
    values: Floats = np.clip(np.linalg.eigvalsh(unfolded @ unfolded.T)[::-1], 0, None)
    return values


def _rank(energies: Floats, energy: float) -> int:
    total = np.cumsum(energies)
    return min(len(energies), int(np.searchsorted(total, energy * total[-1] * (1 - 1e-12))) + 1)


def _ranks_within(layers: list[_Layer], size: float) -> list[tuple[int, int] | None]:
    """Ranks at which all layers together keep at most ``size`` of their parameters, and lose least energy.

    A layer's loss is relative to its own weight. The sum of losses plus a price for each parameter is least where every
    layer by itself chooses the least; the price is bisected. None leaves a layer as it is.
    """
    limit = size * sum(layer.params for layer in layers)
    options = [_options(layer) for layer in layers]
    low, high = PRICES
    for _ in range(BISECTIONS):
        price = (low * high) ** 0.5
        params = sum(params[np.argmin(lost + price * params)] for params, lost, _ in options)
        if params > limit:
            low = price
        else:
            high = price
    return [ranks[int(np.argmin(lost + high * params))] for params, lost, ranks in options]


def _options(layer: _Layer) -> tuple[Floats, Floats, list[tuple[int, int] | None]]:
    """What a layer may become: parameters, energy lost, ranks; the last is the layer itself."""
    ranks = list(dict.fromkeys(layer.ranks(energy) for energy in np.linspace(0, 1, ENERGIES, endpoint=False)))
    params = [float(layer.factored_params(one)) for one in ranks] + [float(layer.params)]
    lost = [layer.lost(one) for one in ranks] + [0.0]
    return np.array(params), np.array(lost), [*ranks, None]


def _factor(network: nn.Module, layer: _Layer, ranks: tuple[int, int] | None) -> dict[str, Any]:
    """Put factors in the place of a layer, unless they are larger; what became of it."""
    report = {"layer": layer.path, "shape": list(layer.shape), "params": layer.params}
    if ranks is None or layer.factored_params(ranks) >= layer.params:
        return report | {"ranks": None, "params left": layer.params, "energy": 1.0}
    module = network.get_submodule(layer.path)
    with torch.random.fork_rng(devices=[]):  # the random weights of new layers are thrown away
        made = factored(module, ranks).to(next(module.parameters()).dtype)
    tensor = _tensor(module)
    kept = _fill(made, module, tensor, ranks)
    place(network, layer.path, made)
    return report | {"ranks": list(ranks), "params left": layer.factored_params(ranks), "energy": kept}


def _fill(made: Factored, module: nn.Module, tensor: Any, ranks: tuple[int, int]) -> float:
    """Give factors their weights; the share of the weight's energy that they keep."""
    decomposition = needed("tensorly.decomposition")
    matrix = tensor.shape[2] == 1
    with threadpool_limits(1):  # many small products: more threads only wait for each other
        (core, (left, right)), _ = decomposition.partial_tucker(
            tensor[..., 0] if matrix else tensor,
            rank=[ranks[1], ranks[0]],
            modes=[0, 1],
            n_iter_max=SWEEPS,
            init="svd",
        )
    weights = [core @ right.T, left] if matrix else [right.T, core, left]
    _assign(made, module, [torch.from_numpy(np.ascontiguousarray(weight)) for weight in weights])
    return float((core**2).sum() / max((tensor**2).sum(), TINY))


def _assign(made: Factored, module: nn.Module, weights: list[Tensor]) -> None:
    if isinstance(module, nn.Embedding):
        weights = [weights[0].T, weights[1]]
    with torch.no_grad():
        for child, weight in zip(made, weights, strict=True):
            assert isinstance(child, FACTORABLE)
            child.weight.copy_(weight.reshape(child.weight.shape))
        bias = getattr(module, "bias", None)
        if bias is not None:
            made[-1].get_parameter("bias").copy_(bias)
