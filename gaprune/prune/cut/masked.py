"""The masked network: what a compact one must equal, at the original's widths.

A removed neuron contributes nothing to any consumer: the weights of these for it are zero, and where it is summed over
without a weight (queries by keys) it is zero itself. Norms over channels see the kept ones alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gaprune.prune.cut.compact import fill
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, MaskedNorm
from gaprune.prune.graph.tensors import first_names, state_tensors


def masked_network(model: nn.Module, graph: Graph, masks: Masks) -> nn.Module:
    """A copy of the original with masks applied at the consumers' input: compaction's reference.

    A removed neuron contributes nothing to any consumer: the consumers' weights for it are zero. So are the
    kernels of removed connections. Norms over channels take the moments of the kept ones.
    """
    network = copy.deepcopy(model).eval()
    fill(network, _masked_tensors(model, graph, masks), first_names(model))
    norms = [(norm, masks.kept(norm.neurons)) for norm in graph.masked]
    return network if all(kept.all() for _, kept in norms) else _WithNorms(network, norms).eval()


def _masked_tensors(model: nn.Module, graph: Graph, masks: Masks) -> dict[str, Tensor]:
    first = first_names(model)
    tensors = {name: tensor.clone() for name, tensor in state_tensors(model).items() if first[name] == name}
    for layer in graph.layers:
        weight = tensors[layer.weight]
        if layer.kind == "depthwise":
            continue
        axis = graph.axes.get(layer.weight, (None, None))[layer.input_axis]
        if axis is not None:
            gone = torch.from_numpy(np.flatnonzero(~masks.kept(axis))).to(weight.device)
            weight.index_fill_(layer.input_axis, gone, 0)
        mask = masks.kernel_mask(layer)
        if mask is not None:
            rows, columns = (np.flatnonzero(masks.kept(ends)) for ends in (layer.outputs, layer.inputs))
            whole = np.zeros(weight.shape[:2], dtype=np.bool_)
            whole[np.ix_(rows, columns)] = mask
            weight *= (
                torch.from_numpy(whole).to(weight.device, weight.dtype).view(*whole.shape, *[1] * (weight.ndim - 2))
            )
    if len(graph.contracted):
        _silence(tensors, graph, masks)
    return tensors


def _silence(tensors: Mapping[str, Tensor], graph: Graph, masks: Masks) -> None:
    """Zero all that belongs to removed neurons that are summed over, so that they are zero themselves."""
    silent = Masks(masks.neurons | ~np.isin(np.arange(len(masks.neurons)), graph.contracted))
    for name, axes in graph.axes.items():
        for axis, neurons in enumerate(axes):
            if neurons is not None:
                gone = torch.from_numpy(np.flatnonzero(~silent.kept(neurons))).to(tensors[name].device)
                tensors[name].index_fill_(axis, gone, 0)


class _WithNorms(nn.Module):
    """A network whose norms over channels see kept ones alone.

    Args:
        network: what is called.
        norms: in order of their calls, each with the (n,) boolean of what it sees.
    """

    def __init__(self, network: nn.Module, norms: list[tuple[MaskedNorm, Any]]) -> None:
        super().__init__()
        self.network = network
        self._norms = norms

    def forward(self, *positional: Any, **keywords: Any) -> Any:
        """What the network gives."""
        with _Norms(self._norms):
            return self.network(*positional, **keywords)


class _Norms(TorchFunctionMode):
    """Takes the place of calls of norms over channels and of attention, in order of each kind."""

    _NORMS: Mapping[Any, str] = {
        F.layer_norm: "layer_norm",
        torch.layer_norm: "layer_norm",
        F.group_norm: "group_norm",
        torch.group_norm: "group_norm",
        F.rms_norm: "rms_norm",
        torch.rms_norm: "rms_norm",
        F.scaled_dot_product_attention: "attention",
    }

    def __init__(self, norms: list[tuple[MaskedNorm, Any]]) -> None:
        super().__init__()
        self._norms = {kind: iter([pair for pair in norms if pair[0].call == kind]) for kind in self._NORMS.values()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what is no norm; let a norm see kept channels, and put zeros where the others were."""
        call = self._NORMS.get(func)
        if call is None:
            return func(*args, **(kwargs or {}))
        given = dict(kwargs or {})
        if call == "attention" and given.get("scale") is not None:
            return func(*args, **given)
        norm, kept = next(self._norms[call])
        if kept.all():
            return func(*args, **given)
        if call == "attention":
            return func(*args, **{**given, "scale": int(kept.sum()) ** -0.5})
        return _seeing(norm, kept, args, given)


def _seeing(norm: MaskedNorm, kept: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    size = "num_groups" if norm.call == "group_norm" else "normalized_shape"
    bias = () if norm.call == "rms_norm" else ("bias",)
    given = dict(zip(("input", size, "weight", *bias, "eps"), args, strict=False)) | kwargs
    x = given["input"]
    places = torch.from_numpy(np.flatnonzero(kept)).to(x.device)
    seen = x.index_select(norm.axis, places)
    held = {name: given.get(name) for name in ("weight", "bias")}
    own = {name: None if tensor is None else tensor.index_select(0, places) for name, tensor in held.items()}
    whole = [len(kept)] if norm.call == "group_norm" else list(given["normalized_shape"])
    if norm.call == "group_norm":
        groups = len(places) if norm.groups == len(kept) else norm.groups
        made = F.group_norm(seen, groups, own["weight"], own["bias"], given.get("eps", 1e-5))
    else:
        shape = seen.shape[-len(whole) :]
        if norm.call == "layer_norm":
            made = F.layer_norm(seen, shape, own["weight"], own["bias"], given.get("eps", 1e-5))
        else:
            made = F.rms_norm(seen, shape, own["weight"], given.get("eps"))
    return torch.zeros_like(x).index_copy(norm.axis, places, made)
