"""A caller's network as the engine needs it: unwrapped, in float32, its own memory; or a line that says why not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gaprune.errors import ModelError, first_line
from gaprune.models import open_attention
from gaprune.prune.graph.modes import evaluating

_WRAPPERS = {
    "OptimizedModule": ("_orig_mod", "compiled"),
    "DataParallel": ("module", "in DataParallel"),
    "DistributedDataParallel": ("module", "in DistributedDataParallel"),
    "AveragedModel": ("module", "an AveragedModel"),
}
"""By class the attribute that holds the network itself, and what it is, in words."""

_HOOKS = {
    "BasePruningMethod": "has masks of torch.nn.utils.prune: call prune.remove(module, {name!r})",
    "SpectralNorm": "is spectrally normalised: call torch.nn.utils.remove_spectral_norm(module)",
    "WeightNorm": "is weight-normed: call torch.nn.utils.remove_weight_norm(module)",
}
"""What old-style hooks compute a weight anew at each call, each with what would be right."""

_QUANTIZED = ("torch.ao.", "torchao.", "torch.nn.quantized", "torch.nn.qat", "torch.nn.intrinsic", "bitsandbytes.")
"""Where the modules of quantized networks come from."""

_HARMLESS = ("QuantStub", "DeQuantStub", "QuantWrapper", "FloatFunctional", "FXFloatFunctional")
"""Of them those that only mark where a float network may be quantized."""


@dataclass(frozen=True)
class Plain:
    """A copy that the engine can work on.

    Attributes:
        model: shares no memory with the caller's.
        notes: what was done to get there, in words; empty where it is the network as it was given.
    """

    model: nn.Module
    notes: tuple[str, ...]


def plain(model: nn.Module) -> Plain:
    """A copy of a caller's network without wrappers and parametrizations, in float32 and contiguous memory.

    It is on the same device.

    Args:
        model: the network; left as it is. Compiled networks, ``DataParallel`` and the like are unwrapped.

    Raises:
        ModelError: it is scripted, exported, quantized or masked, lies on no device, has modules that torch does not
            see, or cannot be copied; the line names the remedy.
    """
    inner, notes = _unwrapped(model)
    check_kind(inner)
    made, inside = _without_wrappers(_copied(inner))
    inside += _without_parametrizations(made)
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in made.parameters() if p.is_floating_point()})
    if dtypes not in ([], ["float32"]):
        notes.append(f"in {' and '.join(dtypes)}: converted to float32")
    made = open_attention(made).float().to(memory_format=torch.contiguous_format)
    return Plain(made, (*notes, *(note for note in inside if note not in notes)))


def copied(model: nn.Module) -> nn.Module:
    """A copy of a caller's network that the engine can work on, see ``plain``.

    Raises:
        ModelError: it cannot be copied or cut.
    """
    return plain(model).model


def check_kind(model: nn.Module) -> None:
    """Refuse networks that cannot be copied and cut, before anything is done with them.

    Raises:
        ModelError: one line with the remedy.
    """
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise ModelError(f"{name} is scripted or traced: give the network that it was made from")
    if _is_exported(model):
        raise ModelError(f"{name} was exported by torch.export: give the network that it was made from")
    for path, module in model.named_modules():
        _check_module(f"{name}.{path}" if path else name, module)
    _check_tensors(name, model)
    _check_hidden(name, model)


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors that modules hold as plain attributes, by path: no parameters nor buffers, so nothing moves them."""
    found = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                found[f"{path}.{name}" if path else name] = value
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside of ``torch.compile``, ``DataParallel`` and the like; itself where there is no such wrapper."""
    return _unwrapped(model)[0]


def _unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    notes: list[str] = []
    while type(model).__name__ in _WRAPPERS:
        attribute, words = _WRAPPERS[type(model).__name__]
        model = getattr(model, attribute)
        notes.append(f"{words}: taken out")
    return model, notes


def _without_wrappers(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The same module tree, in place, with wrappers inside it taken out."""
    notes: list[str] = []
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and type(child).__name__ in _WRAPPERS:
                parent._modules[name], found = _unwrapped(child)
                notes += found
    return model, notes


def _without_parametrizations(model: nn.Module) -> list[str]:
    """Compute what is parametrized once and keep it, in place; what was done, in words."""
    kinds: dict[str, None] = {}
    for path, module in list(model.named_modules()):
        if parametrize.is_parametrized(module):
            lists: Any = module.parametrizations
            own = [type(one).__name__.lstrip("_") for name in lists for one in lists[name]]
            kinds |= dict.fromkeys(own)
            try:
                with evaluating(module), torch.no_grad():
                    tensors = {name: getattr(module, name).clone() for name in lists}
            except Exception as error:  # of a stranger's parametrization
                where = ".".join(part for part in (type(model).__name__, path, next(iter(lists))) if part)
                why = f"and cannot be computed once and kept: {first_line(error)}"
                raise ModelError(f"{where} is parametrized ({', '.join(own)}) {why}") from error
            _keep(module, tensors)
    return [f"parametrized ({', '.join(kinds)}): its weights are computed once and kept"] if kinds else []


def _keep(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put tensors in the place of parametrized ones; torch's own way would take the original's from it, too."""
    lists: Any = module.parametrizations
    origins = {name: list(lists[name].parameters()) for name in tensors}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, tensor in tensors.items():
        if origins[name]:
            learns = any(one.requires_grad for one in origins[name])
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=learns))
        else:
            module.register_buffer(name, tensor)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a stranger's network may raise anything
        raise ModelError(f"{type(model).__name__} cannot be copied: {first_line(error)}") from error


def _is_exported(model: nn.Module) -> bool:
    if not isinstance(model, torch.fx.GraphModule):
        return False
    targets = (node.target for node in model.graph.nodes if node.op == "call_function")
    return any(isinstance(target, torch._ops.OpOverload) for target in targets)


def _check_module(path: str, module: nn.Module) -> None:
    if type(module).__name__ in ("FullyShardedDataParallel", "FSDPModule"):
        raise ModelError(f"{path} is sharded over several processes: give the whole network")
    kind = type(module)
    if kind.__module__.startswith(_QUANTIZED) and kind.__name__ not in _HARMLESS:
        raise ModelError(f"{path} is quantized ({kind.__name__}): prune the float network, then quantize its members")
    for hook in module._forward_pre_hooks.values():
        for base_name, words in _HOOKS.items():
            if any(base.__name__ == base_name for base in type(hook).__mro__):
                name = getattr(hook, "_tensor_name", getattr(hook, "name", "weight"))
                raise ModelError(f"{path} {words.format(name=name)}")


def _check_tensors(name: str, model: nn.Module) -> None:
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise ModelError(f"{name}.{path} has no shape yet: run a batch through the network first")
        if tensor.is_meta:
            raise ModelError(f"{name}.{path} lies on the meta device, without numbers: load its weights first")
        if tensor.is_quantized or type(tensor.data).__module__.startswith(_QUANTIZED):
            raise ModelError(f"{name}.{path} is quantized: prune the float network, then quantize its members")
    floating = ((path, p.detach()) for path, p in model.named_parameters() if p.is_floating_point())
    with torch.no_grad():  # which lets tensors of inference mode through
        first = next((path for path, tensor in floating if not torch.isfinite(tensor).all()), None)
    if first is not None:
        raise ModelError(f"{name}.{first} holds NaN or infinity: its training diverged, or its weights were not loaded")


def _check_hidden(name: str, model: nn.Module) -> None:
    """Refuse modules in plain lists, tuples and dicts, which torch neither moves nor saves."""
    seen = set(map(id, model.modules()))
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute == "_modules" or attribute.endswith("_hooks"):
                continue
            for item in _held(value):
                if id(item) not in seen and next(item.parameters(), None) is not None:
                    kind, right = ("dict", "nn.ModuleDict") if isinstance(value, dict) else ("list", "nn.ModuleList")
                    where = ".".join(part for part in (name, path, attribute) if part)
                    raise ModelError(f"{where} is a plain {kind} of modules, which torch does not see: use {right}")


def _held(value: Any) -> Iterator[nn.Module]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for item in items:
        if isinstance(item, nn.Module):
            yield item
        elif isinstance(item, list | tuple | dict):
            yield from _held(item)
