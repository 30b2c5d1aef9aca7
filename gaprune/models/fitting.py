"""From the names in a file to the names of a network, and words for what does not fit."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

COUNTER = "num_batches_tracked"
"""Batch norm's count of batches, on which no result depends."""

WRAPPERS = ("_orig_mod", "module")
"""Steps in a name that ``torch.compile`` and ``DataParallel`` put there."""

_NAMED = 3
_MOST_SHARED = 0.5
"""Least share of a network's names that a prefix must explain."""

_REMEDIES = {
    ".parametrizations.": "are parametrized (spectral or weight norm): call "
    "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight') before saving",
    "_mask": "are masked by torch.nn.utils.prune: call prune.remove(module, 'weight') before saving",
    "weight_g": "are weight-normed: call torch.nn.utils.remove_weight_norm(module) before saving",
    "_packed_params": "are quantized: give those of the float network",
    "zero_point": "are quantized: give those of the float network",
}
"""Parts of names that say what was done to the weights, each with what would be right."""


@dataclass(frozen=True)
class Renamed:
    """A file's tensors under a network's names.

    Attributes:
        tensors: by the network's names, as far as they were found; the rest by their own.
        notes: what was done to get there, in words.
    """

    tensors: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)


def renamed(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Renamed:
    """Tensors under the names that a network has.

    What ``torch.compile`` and ``DataParallel`` put into names goes; then a prefix that all of the network's names have
    in the file (``model.`` of Lightning), or that the network's names have and the file's do not. Batch norm's counters
    may be missing, and so may be here what only training sees: tensors of auxiliary heads.

    Args:
        tensors: by the file's names.
        expected: the network's own state.
    """
    found = Renamed(_unwrapped(tensors, expected))
    counters = {name for name in expected if name.endswith(COUNTER)}
    wanted = set(expected) - counters
    if not wanted <= found.tensors.keys():
        prefix = _prefix(found.tensors, wanted)
        if prefix:
            found = _without(found.tensors, prefix, set(expected))
        else:
            longer = _prefix(wanted, found.tensors)
            if longer:
                found = Renamed({longer + name: tensor for name, tensor in found.tensors.items()})
    kept = {name: expected[name] for name in counters - found.tensors.keys()} | found.tensors
    spare = [name for name in kept if name not in expected and _auxiliary(name, expected)]
    notes = [*found.notes, f"left out: {named(spare)}, of heads that only training uses"] if spare else found.notes
    return Renamed({name: tensor for name, tensor in kept.items() if name not in spare}, notes)


def misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """Why tensors do not fill a network, in words, with what comes closest; ``None`` where they do."""
    lacking, unknown = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    remedy = next((words for part, words in _REMEDIES.items() if any(part in name for name in unknown)), None)
    if remedy is not None:
        return f"its weights {remedy}"
    if lacking:
        return f"it lacks {named(lacking)}{_closest(lacking, unknown, tensors, expected)}"
    if unknown:
        return f"it has unknown {named(unknown)}"
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            return f"{name} is {shape(tensor)}, expected {shape(expected[name])}"
    return None


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds NaN or infinity, if there is one."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)


def named(names: Iterable[str]) -> str:
    """Some names, and how many more."""
    every = sorted(names)
    return ", ".join(every[:_NAMED]) + (f" and {len(every) - _NAMED} more" if len(every) > _NAMED else "")


def shape(tensor: Tensor) -> str:
    """A tensor's shape, as 64x3x7x7."""
    return "x".join(map(str, tensor.shape)) or "a single number"


def _unwrapped(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    known = {step for name in expected for step in name.split(".")}
    gone = set(WRAPPERS) - known
    short = {name: ".".join(step for step in name.split(".") if step not in gone) for name in tensors}
    if len(set(short.values())) < len(short):
        return dict(tensors)
    return {short[name]: tensor for name, tensor in tensors.items()}


def _prefix(names: Iterable[str], wanted: Iterable[str]) -> str:
    """What stands before most of the wanted names, with its dot; empty where nothing does."""
    wanted = {name for name in wanted if not name.endswith(COUNTER)}
    counts: Counter[str] = Counter()
    for name in names:
        steps = name.split(".")
        for place in range(1, len(steps)):
            if ".".join(steps[place:]) in wanted:
                counts[".".join(steps[:place]) + "."] += 1
    if not counts:
        return ""
    prefix, count = max(counts.items(), key=lambda item: (item[1], -len(item[0])))
    return prefix if count > _MOST_SHARED * len(wanted) else ""


def _without(tensors: Mapping[str, Tensor], prefix: str, expected: set[str]) -> Renamed:
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    outside = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    if any(name in expected for name in outside):
        return Renamed(inside | outside)
    return Renamed(inside, [f"left out: {named(outside)}, which lie beside {prefix}*"] if outside else [])


def _auxiliary(name: str, expected: Mapping[str, Tensor]) -> bool:
    first = name.partition(".")[0]
    return first.lower().startswith("aux") and not any(one.startswith(f"{first}.") for one in expected)


def _closest(
    lacking: set[str], unknown: set[str], tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> str:
    """For the first name that is lacking, the most similar one that nobody expects: of its shape, if there is any."""
    first = min(lacking)
    alike = [name for name in unknown if tensors[name].shape == expected[first].shape]
    near = difflib.get_close_matches(first, alike or sorted(unknown), n=1, cutoff=0.0)
    if not near:
        return ""
    return f" ({first} is {shape(expected[first])}; the file's closest is {near[0]}, {shape(tensors[near[0]])})"
