"""Trained weights for a network: nothing of it is changed unless everything fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from gaprune.errors import CheckpointError
from gaprune.models.fitting import Renamed, misfit, not_finite, renamed, shape
from gaprune.models.head import HOW, HeadRule, OtherHead, other_head, read_classes, rows_of, same_head
from gaprune.models.reading import StoredWeights, read_stored

__all__ = ["Loaded", "fill_weights", "fits", "load_weights"]


@dataclass(frozen=True)
class Loaded:
    """What a network was filled with.

    Attributes:
        metadata: of the file.
        notes: what was done to make it fit, in words; empty where it did as it was.
        undrawn: names of the head's tensors that the file has not given, which are as the network drew them.
    """

    metadata: dict[str, str]
    notes: tuple[str, ...] = ()
    undrawn: tuple[str, ...] = ()


def load_weights(model: nn.Module, path: Path) -> dict[str, str]:
    """Fill a network with the weights of a file; the network's own precision and device stay.

    Nothing is changed unless everything fits: the same names (see ``renamed``), the same shapes, finite numbers.

    Args:
        model: the network to fill.
        path: as for ``read_weights``.

    Returns:
        The file's metadata.

    Raises:
        CheckpointError: the file cannot be read or does not fit, naming what differs.
    """
    return fill_weights(model, read_stored(path), str(path)).metadata


def fill_weights(
    model: nn.Module,
    stored: Sequence[StoredWeights],
    source: str,
    *,
    head: HeadRule | None = None,
    classes: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Loaded:
    """Fill a network with the first of some weights that fit it.

    Args:
        model: the network to fill.
        stored: what lies in a file, likeliest first.
        source: the file, for messages.
        head: what becomes of a head for another number of classes; by default it is refused.
        classes: the data's, in label order.
        outputs: what the weights' own outputs are called, where that is known.

    Raises:
        CheckpointError: none fits; the message is of the first.
    """
    expected, head = model.state_dict(), head or HeadRule()
    found = [renamed(one.tensors, expected) for one in stored]
    fitting = [place for place, one in enumerate(found) if _fits(one, expected)]
    place = fitting[0] if fitting else 0
    chosen, notes = found[place], list(found[place].notes)
    if len(stored) > 1:
        notes.insert(0, f"{stored[place].place} of {', '.join(one.place for one in stored)}")
    tensors = chosen.tensors
    apart = other_head(tensors, expected)
    if apart is None and head.kind != "keep" and misfit(tensors, expected) is None:
        apart = same_head(expected)
    if apart is not None and tensors.keys() == expected.keys():
        tensors, note = _with_head(tensors, expected, apart, head, source, classes, outputs)
        notes.append(note)
    reason = misfit(tensors, expected)
    if reason is not None:
        raise CheckpointError(f"{source} does not fit this network: {reason}")
    broken = not_finite(tensors)
    if broken is not None:
        raise CheckpointError(f"{source} is no trained network: {broken} holds NaN or infinity")
    model.load_state_dict(tensors)
    undrawn = apart.names if apart is not None and head.kind == "new" else ()
    return Loaded(stored[place].metadata, tuple(notes), undrawn)


def fits(stored: Sequence[StoredWeights], expected: dict[str, Tensor]) -> bool:
    """Whether some weights fit a network's state, but for its number of classes."""
    return any(_fits(renamed(one.tensors, expected), expected) for one in stored)


def _fits(found: Renamed, expected: dict[str, Tensor]) -> bool:
    apart = other_head(found.tensors, expected)
    tensors = found.tensors if apart is None else found.tensors | {name: expected[name] for name in apart.names}
    return misfit(tensors, expected) is None


def _with_head(
    tensors: dict[str, Tensor],
    expected: dict[str, Tensor],
    apart: OtherHead,
    head: HeadRule,
    source: str,
    classes: Sequence[str],
    outputs: Sequence[str],
) -> tuple[dict[str, Tensor], str]:
    """The tensors with the network's number of outputs, and what was done for that in words."""
    first = apart.names[0]
    if head.kind == "new":
        drawn = {name: expected[name] for name in apart.names}
        return tensors | drawn, f"a new head in place of one for {apart.outputs} classes"
    if head.kind == "keep" or apart.outputs < apart.classes:
        advice = f"--head {HOW.removeprefix('keep, ')}" if apart.outputs > apart.classes else "--head new"
        raise CheckpointError(
            f"{source} was trained for {apart.outputs} classes, this network has {apart.classes} "
            f"({first} is {shape(tensors[first])}, expected {shape(expected[first])}): {advice}"
        )
    where, called = str(head.file or source), [[name] for name in outputs]
    if head.file is not None:
        called = read_classes(head.file, apart.outputs)
    if len(called) != apart.outputs:
        raise CheckpointError(f"{source} does not say what its {apart.outputs} outputs are: give --head cut:CLASS_FILE")
    rows = rows_of(classes, called, where)
    cut = {name: tensors[name][rows].clone() for name in apart.names}
    return tensors | cut, f"its head cut from {apart.outputs} to {len(rows)} classes"
