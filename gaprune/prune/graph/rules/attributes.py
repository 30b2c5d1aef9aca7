"""Numbers that a module holds and its forward reads: they are fitted to the channels that are kept."""

from __future__ import annotations

from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.tracing import Attribute, Trace

OTHER = ("img", "image", "patch", "window", "grid", "stride", "kernel", "resolution", "depth", "layers", "classes")
"""Parts of the names of numbers that say something else than how many channels there are."""

OF_CONVOLUTIONS = ("in_channels", "out_channels", "groups")
"""Numbers of convolutions that follow their weights in any case."""


def numbers(found: Trace, node: Node) -> tuple[str, dict[str, int]]:
    """The path of the module that makes a call and its whole numbers above 1, by name; none for torch's modules."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    module = dict(found.model.named_modules(remove_duplicate=False)).get(path)
    if module is None or type(module).__module__.startswith("torch.nn."):
        return path, {}
    kept = OF_CONVOLUTIONS if isinstance(module, _ConvNd) else ()
    held = [(name, value) for name, value in vars(module).items() if name not in kept]
    return path, {
        name: value
        for name, value in held
        if type(value) is int and value > 1 and name[0] != "_" and not any(part in name for part in OTHER)
    }


def heads(found: Trace, node: Node) -> set[int]:
    """The numbers of heads of the module that makes a call."""
    return {value for name, value in numbers(found, node)[1].items() if counts_heads(name)}


def counts_heads(name: str) -> bool:
    """Whether a module's number of this name says how many heads it has."""
    return name.endswith("heads") or name in ("nhead", "n_head", "num_head")


def fit(found: Trace, node: Node, atoms: Atoms, *, of_heads: bool = False) -> bool:
    """Note the module's numbers that are how many channels ``atoms`` are; whether there is one.

    Args:
        found: the walk.
        node: the call whose shape such a number decides.
        atoms: (n,) along the axis.
        of_heads: whether the axis is that of heads, whose number and no other is meant.
    """
    path, held = numbers(found, node)
    fitting = [name for name, value in held.items() if value == len(atoms) and counts_heads(name) == of_heads]
    found.attributes += [Attribute(path, name, atoms) for name in fitting]
    return bool(fitting)


def hold(found: Trace, node: Node, name: str, atoms: Atoms) -> None:
    """Note the number ``name`` of the module that calls a norm, if it has it as torch's do; else what ``fit`` finds.

    Args:
        found: the walk.
        node: the call.
        name: of the number, or of a tuple of this one number.
        atoms: (n,) along the axis that it counts.
    """
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    held = getattr(dict(found.model.named_modules(remove_duplicate=False)).get(path), name, None)
    number = held[0] if isinstance(held, tuple | list) and len(held) == 1 else held
    if type(number) is int and number == len(atoms):
        found.attributes.append(Attribute(path, name, atoms, listed=number is not held))
    else:
        fit(found, node, atoms)
