"""Pruning a BERT: attention heads and feed-forward neurons really removed, the same everywhere or by one ranking."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from gaprune.compress import Inputs
from gaprune.errors import MethodError
from gaprune.prune import fit_attributes, set_tensor
from gaprune.text.networks import BertClassifier

UNIFORM, GLOBAL = "uniform", "global"


@dataclass(frozen=True)
class Structures:
    """Removable parts of the layers: heads or neurons.

    Attributes:
        scores: by layer, one a part, (parts,); small is dispensable.
    """

    scores: list[Tensor]

    def kept(self, share: float, scope: str) -> list[Tensor]:
        """By layer the ascending indices (kept,) of the parts that stay, at least one in each layer.

        The number of parts that stay is ``share`` of all, to within a layer's rounding; a layer's last part stays.
        """
        if scope == UNIFORM:
            counts = [max(1, round(share * len(layer))) for layer in self.scores]
            return [layer.topk(count).indices.sort().values for layer, count in zip(self.scores, counts, strict=True)]
        flat = torch.cat([_last_stays(layer) for layer in self.scores])
        count = max(len(self.scores), round(share * len(flat)))
        chosen = torch.zeros(len(flat), dtype=torch.bool)
        chosen[flat.topk(count).indices] = True
        return [mask.nonzero().squeeze(1) for mask in torch.split(chosen, [len(layer) for layer in self.scores])]


def pruned_bert(model: BertClassifier, batches: list[tuple[Inputs, Tensor]], keep: float, scope: str) -> BertClassifier:
    """A copy of a BERT with the least important heads and neurons removed.

    The importance of a part is what removing it would change in the loss, to first order (Michel et al. 2019):
    the sum over texts of |dL/dm| at m = 1, where m scales the part's output. Layers are made comparable by the norm
    of their scores.

    Args:
        model: the network, on any device, its layers plain; it stays as it is.
        batches: inputs and labels (N,), on the CPU, that importance is measured on.
        keep: share of the heads, and of the neurons, that stay.
        scope: ``uniform`` or ``global``.

    Raises:
        MethodError: the layers are no plain linear layers any more.
    """
    for layer in layers_of(model):
        if not all(isinstance(module, nn.Linear) for module in _linear_of(layer)):
            raise MethodError("the linear layers of the encoder are factored: write prune before tucker")
    return without_least(model, importance(model, batches), keep, scope)


def without_least(
    model: BertClassifier, ranked: tuple[Structures, Structures], keep: float, scope: str
) -> BertClassifier:
    """A copy of a BERT that keeps the most important heads and neurons.

    Args:
        model: as ``pruned_bert`` has it.
        ranked: what ``importance`` found.
        keep: see ``pruned_bert``.
        scope: see ``pruned_bert``.
    """
    heads, neurons = ranked
    network = copy.deepcopy(model)
    kept = zip(heads.kept(keep, scope), neurons.kept(keep, scope), strict=True)
    for layer, (head, neuron) in zip(layers_of(network), kept, strict=True):
        keep_parts(layer, heads=head, neurons=neuron)
    fit_attributes(network)
    return network.eval()


def importance(model: BertClassifier, batches: list[tuple[Inputs, Tensor]]) -> tuple[Structures, Structures]:
    """Scores of heads and of feed-forward neurons, by layer."""
    network = copy.deepcopy(model).eval().requires_grad_(False)
    device = next(network.parameters()).device
    layers = layers_of(network)
    counts = [count for layer in layers for count in (_head_count(layer), _neuron_count(layer))]
    totals = [torch.zeros(count, device=device) for count in counts]
    for inputs, labels in batches:
        gates = [torch.ones(len(labels), 1, count, device=device, requires_grad=True) for count in counts]
        with _gated(layers, gates):
            logits = network(*(tensor.to(device) for tensor in inputs))
        loss = nn.functional.cross_entropy(logits, labels.to(device), reduction="sum")
        for total, gradient in zip(totals, torch.autograd.grad(loss, gates), strict=True):
            total += gradient.abs().sum((0, 1))
    normed = [(total / total.norm().clamp(min=1e-12)).cpu() for total in totals]
    return Structures(normed[0::2]), Structures(normed[1::2])


def shapes(model: nn.Module) -> list[dict[str, int]]:
    """Heads and feed-forward neurons of each layer, as they are."""
    return [{"heads": _head_count(layer), "neurons": _neuron_count(layer)} for layer in layers_of(model)]


def keep_parts(layer: Any, *, heads: Tensor, neurons: Tensor) -> None:
    """Leave a layer the heads and neurons of ascending indices (kept,), in place."""
    own, size = layer.attention.self, int(layer.attention.self.attention_head_size)
    rows = (heads.unsqueeze(1) * size + torch.arange(size)).reshape(-1)
    for part in (own.query, own.key, own.value):
        _select(part, "weight", 0, rows)
        _select(part, "bias", 0, rows)
    _select(layer.attention.output.dense, "weight", 1, rows)
    own.num_attention_heads, own.all_head_size = len(heads), len(rows)
    _select(layer.intermediate.dense, "weight", 0, neurons)
    _select(layer.intermediate.dense, "bias", 0, neurons)
    _select(layer.output.dense, "weight", 1, neurons)


def layers_of(model: nn.Module) -> list[Any]:
    """The layers of a BERT, first to last."""
    return [module for module in model.modules() if isinstance(module, BertLayer)]


def _linear_of(layer: Any) -> Iterator[nn.Module]:
    own = layer.attention.self
    yield from (
        own.query,
        own.key,
        own.value,
        layer.attention.output.dense,
        layer.intermediate.dense,
        layer.output.dense,
    )


def _head_count(layer: Any) -> int:
    own = layer.attention.self
    return int(own.query.weight.shape[0]) // int(own.attention_head_size)


def _neuron_count(layer: Any) -> int:
    return int(layer.intermediate.dense.weight.shape[0])


@contextmanager
def _gated(layers: list[Any], gates: list[Tensor]) -> Iterator[None]:
    """Scale heads and neurons of each layer by gates (N, 1, parts)."""
    outputs = [module for layer in layers for module in (layer.attention.output.dense, layer.output.dense)]
    handles = [module.register_forward_pre_hook(_scaling(gate)) for module, gate in zip(outputs, gates, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scaling(gate: Tensor) -> Any:
    """A hook that scales a layer's inputs by a gate, whose entries stand for runs of equal length."""

    def scale(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (values,) = inputs
        return (values * gate.repeat_interleave(values.shape[-1] // gate.shape[-1], dim=-1),)

    return scale


def _last_stays(scores: Tensor) -> Tensor:
    lifted = scores.clone()
    lifted[scores.argmax()] = torch.inf
    return lifted


def _select(module: nn.Module, name: str, axis: int, indices: Tensor) -> None:
    tensor = getattr(module, name).detach()
    set_tensor(module, name, tensor.index_select(axis, indices.to(tensor.device)).clone())
