"""What becomes of the head of a checkpoint that was trained for other classes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gaprune.errors import CheckpointError, OptionError
from gaprune.runs import json_value

KINDS = ("keep", "cut", "new")
HOW = "keep, cut:CLASS_FILE or new"
_MATRIX = 2


@dataclass(frozen=True)
class HeadRule:
    """What ``--head`` says.

    Attributes:
        kind: ``keep``: the head must have the data's classes; ``cut``: its rows of the data's classes remain; ``new``:
            another one is fitted to the training images.
        file: for ``cut``, a file that names the head's classes; ``None`` where the checkpoint does so itself.
    """

    kind: str = "keep"
    file: Path | None = None

    @classmethod
    def parse(cls, text: str | None) -> HeadRule:
        """What a text means; ``None`` is ``keep``.

        Raises:
            OptionError: it is no such rule, or its file is not there.
        """
        kind, _, file = (text or KINDS[0]).partition(":")
        if kind not in KINDS or (file and kind != "cut"):
            raise OptionError(f"head must be {HOW}, got {text!r}")
        if file and not Path(file).is_file():
            raise OptionError(f"head cut:{file}: there is no such file; it names the head's classes, one a line")
        return cls(kind, Path(file) if file else None)


@dataclass(frozen=True)
class OtherHead:
    """The tensors of a head that has another number of outputs than the network's.

    Attributes:
        names: of its tensors.
        outputs: how many the file's head has.
        classes: how many the network's has.
    """

    names: tuple[str, ...]
    outputs: int
    classes: int


def other_head(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> OtherHead | None:
    """The head, where tensors fit a network but for the first axis of a matrix and its bias."""
    both = [(name, tensors[name], tensor) for name, tensor in expected.items() if name in tensors]
    apart = [name for name, found, tensor in both if found.shape != tensor.shape]
    if not apart or any(found.ndim != tensor.ndim or found.shape[1:] != tensor.shape[1:] for _, found, tensor in both):
        return None
    outputs, classes = {len(tensors[name]) for name in apart}, {len(expected[name]) for name in apart}
    if len(outputs) > 1 or len(classes) > 1 or all(tensors[name].ndim < _MATRIX for name in apart):
        return None
    if not set(apart) <= set(head_names(expected)):
        return None
    return OtherHead(tuple(apart), outputs.pop(), classes.pop())


def same_head(expected: Mapping[str, Tensor]) -> OtherHead:
    """The head of a network, taken as the head of a file that has as many outputs."""
    names = head_names(expected)
    return OtherHead(names, len(expected[names[0]]), len(expected[names[0]]))


def head_names(expected: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The tensors of the last layer: the last weight of two axes or more, and its bias."""
    last = [name for name, tensor in expected.items() if tensor.ndim >= _MATRIX][-1]
    path = last.rpartition(".")[0]
    return tuple(name for name in expected if name.rpartition(".")[0] == path)


def rows_of(classes: Sequence[str], names: Sequence[Sequence[str]], where: str) -> list[int]:
    """For each class of the data the output of a head that stands for it.

    Args:
        classes: the data's, in label order.
        names: for each output of the head what it is called.
        where: that is said, for the message.

    Raises:
        CheckpointError: a class is not there, or two outputs are called so.

    Example:
        >>> rows_of(["tench", "church"], [["n01440764", "tench"], ["n01443537"], ["church"]], "names.txt")
        [0, 2]
    """
    places: dict[str, list[int]] = {}
    for index, called in enumerate(names):
        for name in dict.fromkeys(_plain(one) for one in called):
            places.setdefault(name, []).append(index)
    rows = []
    for name in classes:
        found = places.get(_plain(name), [])
        if not found:
            close = difflib.get_close_matches(_plain(name), places, n=1)
            meant = f" (the closest is {close[0]!r})" if close else ""
            raise CheckpointError(f"{where} has no class {name!r}{meant}: name all {len(classes)} classes of the data")
        if len(found) > 1:
            raise CheckpointError(f"{where} has {name!r} {len(found)} times, as outputs {found[0]} and {found[1]}")
        rows.append(found[0])
    return rows


def read_classes(path: Path, outputs: int) -> list[list[str]]:
    """What a file calls each output of a head.

    Args:
        path: one line an output, in order (``n01440764 tench, Tinca tinca``); or lines ``NAME INDEX`` or
            ``INDEX NAME``; or JSON: a list, or an object ``{"0": ["n01440764", "tench"], ...}``.
        outputs: of the head.

    Raises:
        CheckpointError: it cannot be read, or says nothing of this kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = _from_json(json_value(text)) if path.suffix == ".json" else _from_lines(text, outputs)
    except (OSError, ValueError, LookupError, TypeError) as error:
        wanted = f"one name a line for {outputs} outputs, or lines NAME INDEX or INDEX NAME"
        raise CheckpointError(f"{path} is no list of a head's classes ({error}): expected {wanted}") from error
    names: list[list[str]] = [[] for _ in range(outputs)]
    for index, called in found.items():
        if not 0 <= index < outputs:
            raise CheckpointError(f"{path} names output {index}, the head has 0 to {outputs - 1}")
        names[index] += called
    return names


def _from_json(content: Any) -> dict[int, list[str]]:
    if isinstance(content, list):
        return {index: _names(value) for index, value in enumerate(content)}
    if all(str(key).isdecimal() for key in content):
        return {int(key): _names(value) for key, value in content.items()}
    return {int(value): [str(key)] for key, value in content.items()}


def _names(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else _called(str(value))


def _from_lines(text: str, outputs: int) -> dict[int, list[str]]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [_pair(line) for line in lines]
    if len(lines) == outputs:
        if {index for _, index in pairs} == set(range(outputs)):  # every line says which output it is
            return {index: [*_called(line), name] for line, (name, index) in zip(lines, pairs, strict=True)}
        return {index: _called(line) for index, line in enumerate(lines)}
    found: dict[int, list[str]] = {}
    for line, (name, index) in zip(lines, pairs, strict=True):
        if index < 0:
            raise ValueError(f"it has {len(lines)} lines, one is {line!r}")
        found.setdefault(index, []).append(name)
    return found


def _pair(line: str) -> tuple[str, int]:
    """A name and the output that it is of; -1 where the line neither ends nor begins with one."""
    plain = line.replace(",", " ").replace("\t", " ")
    for index, _, name in (plain.rpartition(" ")[::-1], plain.partition(" ")):
        if name.strip() and index.strip(" :").isdecimal():
            return name.strip(), int(index.strip(" :"))
    return line, -1


def _called(line: str) -> list[str]:
    """The names in a line: all of it, its first word, and what commas separate."""
    first, _, rest = line.partition(" ")
    return [line, first, *(part.strip() for part in line.split(",")), *(part.strip() for part in rest.split(","))]


def _plain(name: str) -> str:
    return name.strip().replace("_", " ").casefold()
