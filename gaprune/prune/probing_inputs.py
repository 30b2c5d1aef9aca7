"""One look at a network with inputs of any kind before anything slow; see ``probing.py`` for images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gaprune.errors import ModelError, first_line
from gaprune.prune.graph.foreign import plain_tensors
from gaprune.prune.graph.graph import NO_LAYER
from gaprune.prune.graph.inputs import BATCH, Inputs, tensors_in
from gaprune.prune.graph.modes import evaluating
from gaprune.prune.probing import in_words, random_advice, random_operators

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def probe_inputs(model: nn.Module, name: str, example: Inputs, what: str) -> tuple[str, ...]:
    """Run a network on two samples of an example and on one, in eval mode.

    A network that writes to its inputs is given a copy of them from then on.

    Args:
        model: of the engine's own (see ``foreign.plain``), on the device that it will run on.
        name: of the network.
        example: what it is called with.
        what: the example is called in messages.

    Returns:
        What should be known of it, a line each.

    Raises:
        ModelError: it cannot be used; the line names the remedy.
    """
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ModelError(f"{name} has no parameters, so there is nothing to prune")
    if not any(isinstance(module, _LAYERS) for module in model.modules()) and all(
        p.ndim < 2 for p in model.parameters()
    ):
        raise ModelError(NO_LAYER.format(name))
    two = example.first(BATCH).on(parameter.device)
    with evaluating(model), torch.no_grad():
        given = two.map(Tensor.clone)
        found = _run(model, name, given, what)
        _check_output(found, name)
        notes = _given_copies(model, name, given, two)
        if _leaves_differ(found, two(model)):
            raise ModelError(random_advice(name, random_operators(lambda: two(model))))
        _run(model, name, example.first(1).on(parameter.device), f"one sample of {what}")
    return notes


def _run(model: nn.Module, name: str, given: Inputs, what: str) -> Any:
    try:
        return given(model)
    except Exception as error:  # a stranger's network may raise anything
        device = given.tensors()[0].device
        held = [path for path, tensor in plain_tensors(model).items() if tensor.device != device]
        advice = f"; {held[0]} is a plain tensor, which does not move with it: use register_buffer" if held else ""
        raise ModelError(f"{name} cannot take {what} ({given}): {first_line(error)}{advice}") from error


def _check_output(found: Any, name: str) -> None:
    floating = [one for one in tensors_in(found) if one.is_floating_point()]
    if not floating:
        rule = "a floating tensor, or a tuple, list, dict or data class that holds some"
        raise ModelError(f"{name} gives {in_words(found)}, expected {rule}")
    if any(torch.isnan(one).any() for one in floating):
        raise ModelError(f"{name} gives NaN for the task's inputs: its weights or statistics are broken")


def _given_copies(model: nn.Module, name: str, given: Inputs, before: Inputs) -> tuple[str, ...]:
    if all(torch.equal(now, then) for now, then in zip(given.tensors(), before.tensors(), strict=True)):
        return ()
    model.register_forward_pre_hook(copy_inputs, with_kwargs=True)
    return (f"{name} changes its inputs in place: it is given a copy each time",)


def copy_inputs(module: nn.Module, given: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
    """A hook that gives a module its own copy of what it is called with."""
    positional, named = pytree.tree_map_only(Tensor, Tensor.clone, (given, keywords))
    return positional, named


def _leaves_differ(found: Any, again: Any) -> bool:
    return any(
        not torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
        for one, other in zip(tensors_in(found), tensors_in(again), strict=False)
    )
