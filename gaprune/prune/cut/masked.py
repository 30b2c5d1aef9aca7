"""The masked network: what a compact one must equal, at the original's widths.

A removed neuron contributes nothing to any consumer: the weights of these for it are zero, and where it is summed over
without a weight (queries by keys) it is zero itself. Norms and reductions over channels see the kept ones alone; so do
layers whose weight is computed at each call, and what it is computed from.
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
from gaprune.prune.graph.graph import Graph, MaskedCall
from gaprune.prune.graph.tensors import first_names, state_tensors


def masked_network(model: nn.Module, graph: Graph, masks: Masks) -> nn.Module:
    """A copy of the original with masks applied at the consumers' input: compaction's reference.

    A removed neuron contributes nothing to any consumer: the consumers' weights for it are zero. So are the
    kernels of removed connections. Norms and reductions over channels see the kept ones.
    """
    held = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    network = copy.deepcopy(model, held).eval()  # all tensors are replaced: none is copied
    fill(network, _masked_tensors(model, graph, masks), first_names(model))
    calls = [(call, masks.kept(call.neurons)) for call in graph.masked]
    return network if all(kept.all() for _, kept in calls) else _Seeing(network, calls).eval()


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


class _Seeing(nn.Module):
    """A network of which some calls see kept channels alone.

    Args:
        network: what is called.
        calls: in order, each with the (n,) boolean of what it sees.
    """

    def __init__(self, network: nn.Module, calls: list[tuple[MaskedCall, Any]]) -> None:
        super().__init__()
        self.network = network
        self._calls = calls

    def forward(self, *positional: Any, **keywords: Any) -> Any:
        """What the network gives."""
        with _Calls(self._calls):
            return self.network(*positional, **keywords)


REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "std_mean", "logsumexp", "prod", "all", "any")
EXTREMES = ("max", "min")


def _functions() -> dict[Any, str]:
    """By function what its calls are named in the graph; a tensor's method is another one than torch's function."""
    named: dict[Any, str] = {
        F.scaled_dot_product_attention: "attention",
        F.batch_norm: "batch_norm",
        F.linear: "linear",
        torch.conv1d: "convolution",
        torch.conv2d: "convolution",
        torch.conv3d: "convolution",
    }
    for name in ("layer_norm", "group_norm", "rms_norm"):
        named |= {getattr(F, name): name, getattr(torch, name): name}
    for name in (*REDUCTIONS, *EXTREMES):
        named |= {getattr(owner, name): name for owner in (torch, Tensor) if hasattr(owner, name)}
    return named


class _Calls(TorchFunctionMode):
    """Takes the place of calls that see kept channels alone, in order of each kind.

    Kinds of which every call sees all are left alone.
    """

    _FUNCTIONS: Mapping[Any, str] = _functions()

    def __init__(self, calls: list[tuple[MaskedCall, Any]]) -> None:
        super().__init__()
        kinds = {one.call for one, kept in calls if not kept.all()}
        self._calls = {kind: iter([pair for pair in calls if pair[0].call == kind]) for kind in kinds}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what sees all of its input; let others see the kept channels."""
        call, given = self._FUNCTIONS.get(func), dict(kwargs or {})
        if call not in self._calls or (call in EXTREMES and _of_two(args, given)):
            return func(*args, **given)
        if call == "attention" and given.get("scale") is not None:
            return func(*args, **given)
        masked, kept = next(self._calls[call])
        if kept.all():
            return func(*args, **given)
        if call == "attention":
            return func(*args, **{**given, "scale": int(kept.sum()) ** -0.5})
        if call == "convolution" and masked.axis != 1 - args[0].ndim:
            return _slid(func, masked, kept, args, given)
        positional = _with_input(masked, kept, args, given)
        return func(*positional, **given) if positional else _normalised(masked, kept, args, given)


def _of_two(args: Any, given: dict[str, Any]) -> bool:
    """Whether the larger or smaller of two tensors is asked for."""
    return isinstance(given.get("other", args[1] if len(args) > 1 else None), Tensor)


def _with_input(masked: MaskedCall, kept: Any, args: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a reduction or a layer that sees kept channels alone, by position; none for norms."""
    name = "input" if "input" in given else "self"
    x = given.pop(name) if not args else args[0]
    places = torch.from_numpy(np.flatnonzero(kept)).to(x.device)
    if masked.call in (*REDUCTIONS, *EXTREMES):
        return x.index_select(masked.axis, places), *args[1:]
    if masked.call in ("convolution", "linear"):
        seen = torch.zeros_like(x).index_copy(masked.axis, places, x.index_select(masked.axis, places))
        return seen, *args[1:]
    if not args:
        given[name] = x
    return ()


def _slid(func: Any, masked: MaskedCall, kept: Any, args: Any, given: dict[str, Any]) -> Tensor:
    """A convolution that slides over the kept channels, and zeros where the others were."""
    places = torch.from_numpy(np.flatnonzero(kept)).to(args[0].device)
    made = func(args[0].index_select(masked.axis, places), *args[1:], **given)
    whole = list(made.shape)
    whole[masked.axis] = len(kept)
    found: Tensor = made.new_zeros(whole).index_copy(masked.axis, places, made)
    return found


def _normalised(norm: MaskedCall, kept: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """What a norm gives whose moments are those of the kept channels, and zeros where the others were."""
    if norm.call == "batch_norm":
        return _standardised(norm, kept, args, kwargs)
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


def _standardised(norm: MaskedCall, kept: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """A batch norm whose moments run over another axis of channels, too, as in a standardised weight."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    x = given.pop("input")
    places = torch.from_numpy(np.flatnonzero(kept)).to(x.device)
    made = F.batch_norm(x.index_select(norm.axis, places), **given)
    return torch.zeros_like(x).index_copy(norm.axis, places, made)
