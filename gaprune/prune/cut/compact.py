"""Genome to compact network: neurons really removed, kernels zeroed or grouped.

The plan is a table of kept indices by parameter; the network's own module tree is copied without its weights
(on the meta device, once) and filled with the cut tensors. No candidate copies or traces the original.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from gaprune.prune.cut.grouped import GroupedConvolution
from gaprune.prune.cut.masks import Grouping, Masks
from gaprune.prune.graph.graph import FittedNumber, Graph, Layer
from gaprune.prune.graph.tensors import WAS_GROUPED, first_names, state_tensors


class Compactor:
    """Makes compact networks of one original.

    Args:
        model: the original; its tensors are read at each call and never written.
        graph: its pruning graph.
    """

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        self.graph = graph
        self.tensors = state_tensors(model)
        self._first = first_names(model)
        self._skeleton = copy.deepcopy(model).to("meta").eval()
        self._hollow = {id(tensor): tensor for tensor in (*self._skeleton.parameters(), *self._skeleton.buffers())}

    def __call__(self, masks: Masks, replaced: Mapping[str, Tensor] | None = None) -> nn.Module:
        """The compact network in eval mode on the original's device; shares no memory with it.

        Args:
            masks: what to keep.
            replaced: tensors over kept channels, by name, to use instead of the original's (compensated ones).
        """
        replaced = replaced or {}
        network = copy.deepcopy(self._skeleton, dict(self._hollow))  # all tensors are replaced: none is copied
        masked = self._kernel_masks(masks)
        made: dict[str, Tensor] = {}
        indices: dict[bytes, Tensor] = {}
        for name, tensor in self.tensors.items():
            first = self._first[name]
            if first not in made:
                cut = replaced[first] if first in replaced else self._cut(first, tensor, masks, indices)
                if first in masked:
                    cut *= masked[first].to(cut.device, cut.dtype).view(*masked[first].shape, *[1] * (cut.ndim - 2))
                made[first] = cut
        fill(network, made, self._first)
        for layer in self.graph.layers:
            self._finish(network, layer, masks)
        fit_attributes(network)
        fit_numbers(
            network, {(one.path, one.name): _number(one, masks) for one in self.graph.fitted}, only_changed=True
        )
        return network

    def _cut(self, name: str, tensor: Tensor, masks: Masks, indices: dict[bytes, Tensor]) -> Tensor:
        """A tensor over kept channels; ``indices`` of those on the device, of which many tensors have the same."""
        axes = self.graph.axes.get(name, ())
        out = tensor
        for axis, neurons in enumerate(axes):
            if neurons is not None:
                kept = masks.kept(neurons)
                if not kept.all():
                    key = str(neurons.shape).encode() + neurons.tobytes()
                    if key not in indices:
                        indices[key] = torch.from_numpy(np.flatnonzero(kept)).to(out.device)
                    out = out.index_select(axis, indices[key])
        return out.clone() if out is tensor else out

    def _kernel_masks(self, masks: Masks) -> dict[str, Tensor]:
        found = {}
        for layer in self.graph.convolutions():
            mask = masks.kernel_mask(layer) if layer.weight in masks.kernels else None
            if mask is not None:
                found[layer.weight] = torch.from_numpy(mask)
        return found

    def _finish(self, network: nn.Module, layer: Layer, masks: Masks) -> None:
        """Set what a changed width means beyond the tensors: the groups of a convolution."""
        path = layer.weight.rpartition(".")[0]
        if layer.kind == "depthwise":
            module: Any = network.get_submodule(path)
            module.groups = int(masks.kept(layer.inputs).sum())
        elif layer.weight in masks.groupings and not isinstance(network.get_submodule(path), GroupedConvolution):
            split(network, path, masks.groupings[layer.weight])


def split(network: nn.Module, path: str, grouping: Grouping) -> None:
    """Replace the convolution at ``path`` by a real grouped one with the grouping's channel orders."""
    conv: Any = network.get_submodule(path)
    weight: Tensor = conv.weight
    out, inputs = (torch.tensor(order, device=weight.device) for order in (grouping.outputs, grouping.inputs))
    blocks = zip(out.chunk(grouping.groups), inputs.chunk(grouping.groups), strict=True)
    rows = [weight.detach()[o][:, i] for o, i in blocks]
    set_tensor(conv, "weight", torch.cat(rows))
    if conv.bias is not None:
        set_tensor(conv, "bias", conv.bias.detach()[out])
    conv.groups = grouping.groups
    place_grouped(network, path, inputs, torch.argsort(out))


def place_grouped(network: nn.Module, path: str, input_order: Tensor, output_order: Tensor) -> None:
    """Put a ``GroupedConvolution`` around the convolution at ``path``, under each name that it has."""
    conv = network.get_submodule(path)
    places = [
        (parent, name) for parent in network.modules() for name, child in parent._modules.items() if child is conv
    ]
    grouped = GroupedConvolution(conv, input_order, output_order).eval()
    for parent, name in places:
        setattr(parent, name, grouped)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], first: Mapping[str, str]) -> None:
    """Replace all parameters and buffers, whatever their shapes were; names of one tensor go on sharing one.

    Args:
        network: filled in place.
        tensors: by first name.
        first: for each name the first name of the same tensor.
    """
    remember_groups(network)
    made: dict[str, Tensor] = {}
    for name, source in first.items():
        made[source] = set_tensor(network, name, made.get(source, tensors[source]))


def set_tensor(network: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Replace the parameter or buffer ``name``, whatever its shape was; the tensor as it now stands there."""
    path, _, leaf = name.rpartition(".")
    module = network.get_submodule(path)
    if leaf in module._parameters:
        old = module._parameters[leaf]
        learns = old.requires_grad if old is not None else True
        if not isinstance(tensor, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=learns)
        module._parameters[leaf] = tensor
    else:
        module._buffers[leaf] = tensor
    return tensor


def remember_groups(network: nn.Module) -> None:
    """Mark grouped convolutions before they are cut: left with one channel a group they would look depthwise.

    What later prunings remove must be what the first network can lose: index j of every group at once.
    """
    for module in network.modules():
        if isinstance(module, _ConvNd) and 1 < module.groups < module.in_channels:
            setattr(module, WAS_GROUPED, True)


def fit_attributes(network: nn.Module) -> None:
    """Make the widths that standard modules state agree with their tensors."""
    for module in network.modules():
        if isinstance(module, _ConvNd) and module.transposed:
            into, per_group = module.weight.shape[:2]
            module.in_channels, module.out_channels = into, per_group * module.groups
        elif isinstance(module, _ConvNd):
            out, per_group = module.weight.shape[:2]
            module.out_channels, module.in_channels = out, per_group * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.GroupNorm):
            module.num_channels = len(module.weight) if module.affine else module.num_channels
        elif isinstance(module, _NormBase):
            found = module.weight if module.affine else module.running_mean
            if found is not None:
                module.num_features = len(found)
        elif isinstance(module, nn.PReLU):
            module.num_parameters = len(module.weight)


FITTED = "fitted_numbers"
"""Attribute of modules of cut networks: the names of their numbers that were fitted to the kept widths."""


def fit_numbers(
    network: nn.Module, numbers: Mapping[tuple[str, str], int | tuple[int, ...]], *, only_changed: bool = False
) -> None:
    """Set numbers of modules that follow widths, by path and name, and note their names on the modules."""
    for (path, name), value in numbers.items():
        module = network.get_submodule(path)
        if not only_changed or getattr(module, name) != value:
            setattr(module, name, value)
            setattr(module, FITTED, tuple(dict.fromkeys((*getattr(module, FITTED, ()), name))))


def fitted_numbers(network: nn.Module) -> dict[str, dict[str, Any]]:
    """By module path the numbers that were fitted."""
    return {
        path: {name: getattr(module, name) for name in getattr(module, FITTED)}
        for path, module in network.named_modules()
        if hasattr(module, FITTED)
    }


def _number(fitted: FittedNumber, masks: Masks) -> int | tuple[int, ...]:
    count = int(masks.kept(fitted.neurons).sum())
    return (count,) if fitted.listed else count
