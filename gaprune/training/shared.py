"""One set of weights for many networks that were cut from one original: trained together, taken apart afterwards.

As once-for-all networks do (Cai et al. 2020, arXiv:1908.09791; the sandwich rule of Yu and Huang 2019,
arXiv:1903.05134): each step trains the largest, the smallest and some networks between on the same images. Members need
not be nested: each gathers its own channels of the original. What pruning has made of its weights (compensation) and of
its norms (restated for training) it keeps as a constant offset, so that every member begins as it was.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gaprune.data import ImageSet
from gaprune.evaluate import Measurement
from gaprune.prune import Compactor, Graph, Masks, first_names, recalibrate
from gaprune.training.digest import digest_json, digest_tensors
from gaprune.training.frozen import frozen_names
from gaprune.training.lesson import Batch, Distillation

BETWEEN = 2
"""Members of a step, besides the smallest and the largest."""


@dataclass(frozen=True)
class Part:
    """What one member has of the original's parameters of one kind.

    Attributes:
        names: of the member's parameters.
        shapes: theirs.
        places: (n,) int64, where each of their entries lies among the original's.
        present: (n,) 1, or 0 where a kernel is masked; ``None`` where none is.
        offset: (n,) what the member has added to the original's.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    places: Tensor
    present: Tensor | None
    offset: Tensor

    def tensors(self, shared: Tensor) -> dict[str, Tensor]:
        """The member's parameters by name; gradients flow into the shared ones."""
        flat = shared.view(-1).index_select(0, self.places)
        flat = (flat if self.present is None else flat * self.present) + self.offset
        sizes = [shape.numel() for shape in self.shapes]
        pieces = zip(self.names, torch.split(flat, sizes), self.shapes, strict=True)
        return {name: piece.view(shape) for name, piece, shape in pieces}


class _Members:
    """The networks that are cut out; not copied with the weights, of whose state they are no part."""

    def __init__(self, networks: Sequence[nn.Module], parts: Sequence[tuple[Part, Part]]) -> None:
        self.networks, self.parts = list(networks), list(parts)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Members:
        return self


class SharedFront(nn.Module):
    """The original's parameters, and a way to run every member on them.

    Args:
        original: on the members' device.
        graph: its pruning graph.
        masks: of each member; groupings in the channel orders that the members have.
        networks: the members, as pruning left them.

    Attributes:
        weights: (1, n) parameters of two axes and more, those that decay.
        others: (m,) biases and those of batch norm.
    """

    def __init__(
        self, original: nn.Module, graph: Graph, masks: Sequence[Masks], networks: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        named = _parameters(original)
        heavy, light = ([p for p in named.values() if (p.ndim > 1) == decays] for decays in (True, False))
        self.weights = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in heavy])[None].clone())
        self.others = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in light]).clone())
        compact = Compactor(_numbered(original, named), graph)
        pairs = []
        for one, network in zip(masks, networks, strict=True):
            index: dict[str, Tensor] = dict(compact(one).named_parameters())
            parts = (self._part(network, index, self.weights, True), self._part(network, index, self.others, False))
            pairs.append(parts)
        self._members = _Members([copy.deepcopy(network) for network in networks], pairs)

    def __len__(self) -> int:
        return len(self._members.networks)

    def run(self, member: int, images: Tensor) -> Tensor:
        """Logits of a member; batch norm works on the batch in training mode."""
        network = self._members.networks[member].train(self.training)
        logits: Tensor = functional_call(network, self.tensors(member), (images,))
        return logits

    def tensors(self, member: int) -> dict[str, Tensor]:
        """A member's parameters, differentiable."""
        heavy, light = self._members.parts[member]
        return heavy.tensors(self.weights) | light.tensors(self.others)

    def cut(self, member: int) -> nn.Module:
        """A member with its parameters as they are now, a network of its own; batch norm wants recalibration."""
        network = copy.deepcopy(self._members.networks[member])
        tensors = self.tensors(member)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(tensors[name])
        return network.eval()

    def digest(self) -> str:
        """Names the members: which entries each has, and what it added."""
        parts = [digest_tensors({"p": p.places, "o": p.offset}) for pair in self._members.parts for p in pair]
        return digest_json(parts)

    @staticmethod
    def _part(network: nn.Module, index: dict[str, Tensor], shared: Tensor, decays: bool) -> Part:
        own = {name: p.detach() for name, p in network.named_parameters() if (p.ndim > 1) == decays}
        frozen = set(frozen_names(network))  # what stays as it is is all offset, and nothing of the shared weights
        shares = {name: torch.zeros_like(index[name]) if name in frozen else index[name] for name in own}
        numbers = torch.cat([shares[name].reshape(-1) for name in own]).long()
        present = (numbers > 0).to(shared.dtype)
        places = (numbers - 1).clamp(min=0)
        whole = bool(present.all())
        begins = shared.detach().view(-1)[places] * present
        offset = torch.cat([tensor.reshape(-1) for tensor in own.values()]) - begins
        shapes = tuple(tensor.shape for tensor in own.values())
        return Part(tuple(own), shapes, places, None if whole else present, offset)


@dataclass(frozen=True)
class SharedLesson(Distillation):
    """Distillation of the smallest, the largest and some members between at once; the mean of their losses.

    Attributes:
        members: names the members, see ``SharedFront.digest``.
        calibration: images that batch norm is recalibrated on before members are measured.
        mean: per channel mean of the pixels.
        std: per channel standard deviation of the same.
    """

    members: str = ""
    calibration: ImageSet | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """See ``Lesson``; members stand smallest first."""
        assert isinstance(model, SharedFront)
        members = _sampled(len(model), batch.generator)  # which a GPU's host waits for, so before the teacher runs
        targets = self.targets(batch)
        losses = [self.blend(batch.logits(functools.partial(model.run, member)), batch, targets) for member in members]
        return torch.stack(losses).mean()

    def check(self, averaged: nn.Module, measured: Callable[[nn.Module], Measurement]) -> Measurement:
        """The member in the middle, cut out and recalibrated."""
        assert isinstance(averaged, SharedFront)
        return measured(self.taken(averaged, len(averaged) // 2))

    def taken(self, shared: SharedFront, member: int) -> nn.Module:
        """A member cut out, batch norm recalibrated.

        Plainly: its weights were trained behind norms that gave mean 0 and variance 1, whatever the original's gave.
        """
        network = shared.cut(member)
        if self.calibration is not None:
            recalibrate(network, self.calibration, self.mean, self.std)
        return network

    def description(self) -> dict[str, Any]:
        """See ``Lesson``."""
        return {**super().description(), "shared": self.members, "between": BETWEEN, "norms": "restated"}


def _sampled(count: int, generator: torch.Generator) -> list[int]:
    """The smallest, the largest, and different ones between as far as there are."""
    inner = torch.randperm(max(count - 2, 0), generator=generator, device=generator.device)[:BETWEEN] + 1
    return sorted({0, count - 1, *inner.tolist()})


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    """By first name, each once."""
    first = first_names(model)
    return {name: parameter for name, parameter in model.named_parameters() if first[name] == name}


def _numbered(original: nn.Module, named: dict[str, Tensor]) -> nn.Module:
    """A copy whose parameters hold the number of each entry among those of its kind, from 1.

    What compaction makes of them says where every entry of a member comes from, and 0 that it is masked. The numbers
    are in double precision, which holds them exactly.
    """
    numbered = copy.deepcopy(original).double()
    targets = dict(numbered.named_parameters())
    begin = {True: 1, False: 1}
    with torch.no_grad():
        for name, parameter in named.items():
            start, size = begin[parameter.ndim > 1], parameter.numel()
            targets[name].copy_(torch.arange(start, start + size, dtype=torch.float64).view(parameter.shape))
            begin[parameter.ndim > 1] += size
    return numbered
