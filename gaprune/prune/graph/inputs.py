"""What a network is called with: images of one shape, or any tensors by position and by keyword."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gaprune.errors import OptionError

BATCH = 2
"""Samples in the traced example; 1 would be taken for an axis that broadcasts."""


@dataclass(frozen=True)
class Inputs:
    """A batch as a network is called with it; the first axis of every tensor counts its samples.

    Attributes:
        positional: arguments by position, any pytree of tensors and of what torch leaves alone.
        keywords: arguments by name, likewise.
    """

    positional: tuple[Any, ...]
    keywords: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, what: str) -> Inputs:
        """A tensor is one argument, a tuple or list arguments by position, a mapping arguments by name.

        Args:
            given: as a caller writes it.
            what: it is called in the error.

        Raises:
            OptionError: it is something else, holds no tensor, or its tensors have not the same first axis.
        """
        if isinstance(given, Tensor):
            made = cls((given,))
        elif isinstance(given, Mapping) and all(isinstance(name, str) for name in given):
            made = cls((), dict(given))
        elif isinstance(given, tuple | list):
            made = cls(tuple(given))
        else:
            rule = "a tensor, a tuple of arguments or a dict of keyword arguments"
            raise OptionError(f"{what} must be {rule}, got {type(given).__name__}")
        made._check(what)
        return made

    def _check(self, what: str) -> None:
        tensors = self.tensors()
        if not tensors:
            raise OptionError(f"{what} holds no tensor, so there is nothing to call a network with")
        sizes = sorted({len(one) if one.ndim else 0 for one in tensors})
        if len(sizes) > 1 or not sizes[0]:
            shapes = ", ".join(str(tuple(one.shape)) for one in tensors)
            raise OptionError(f"{what}: the first axis of every tensor must count its samples, got shapes {shapes}")

    def __len__(self) -> int:
        """Samples."""
        return len(self.tensors()[0])

    def __call__(self, network: nn.Module) -> Any:
        """What a network gives for them, on the device of its parameters."""
        parameter = next(network.parameters(), None)
        placed = self if parameter is None else self.on(parameter.device)
        return network(*placed.positional, **placed.keywords)

    def tensors(self) -> list[Tensor]:
        """All tensors, by position first."""
        leaves, _ = pytree.tree_flatten((self.positional, self.keywords))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """With every tensor changed."""
        positional, keywords = pytree.tree_map_only(Tensor, change, (self.positional, self.keywords))
        return Inputs(positional, keywords)

    def on(self, device: torch.device) -> Inputs:
        """On a device."""
        return self.map(lambda tensor: tensor.to(device))

    def like(self, parameter: Tensor) -> Inputs:
        """On a parameter's device, floating tensors in its type."""
        kind = parameter.dtype
        return self.map(lambda one: one.to(parameter.device, kind if one.is_floating_point() else one.dtype))

    def first(self, count: int) -> Inputs:
        """So many samples: the first ones, over again where there are fewer."""
        return self.map(lambda one: one[torch.arange(count, device=one.device) % len(one)])

    def varied(self) -> Inputs:
        """With noise in place of floating tensors that are the same everywhere, by which no two networks differ."""
        generator = torch.Generator().manual_seed(0)

        def vary(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point() or bool((tensor != tensor.flatten()[0]).any()):
                return tensor
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        return self.map(vary)

    def __str__(self) -> str:
        """The shapes of its tensors."""
        return ", ".join("x".join(map(str, tensor.shape)) for tensor in self.tensors())


Form = tuple[int, int, int] | Inputs
"""What a network takes: the (C, H, W) of one image, or an example of its inputs."""


def tensors_in(output: Any) -> list[Tensor]:
    """The tensors of what a network gives: of tuples, lists, mappings and data classes in any depth."""
    return list(_tensors_in(output))


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors_in(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors_in(one)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from _tensors_in(getattr(value, part.name))


def flattened(model: nn.Module, inputs: Inputs) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network as what takes and gives tensors alone, for what knows nothing else; and the tensors that it takes.

    Args:
        model: any network; the one that is given back shares its modules and tensors, under the same names.
        inputs: what it is called with.
    """
    leaves, spec = pytree.tree_flatten((inputs.positional, inputs.keywords))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    plain = copy.copy(model)
    own = vars(model).get("forward")

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        positional, keywords = pytree.tree_unflatten(filled, spec)
        found = own(*positional, **keywords) if own else type(model).forward(plain, *positional, **keywords)
        return tuple(tensors_in(found))

    plain.forward = forward
    return plain, tuple(leaves[place] for place in places)
