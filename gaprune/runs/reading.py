"""JSON files of a directory, checked against its checksums."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gaprune.runs.sealing import Seal, read_file


def read_json_object(path: Path, more: Callable[[Seal, bytes], str] | None = None) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: of the file.
        more: see ``read_file``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, not JSON, nested too deep, or not an object.
        RunError: it is not what the folder's checksums say.
    """
    return json_object(read_file(path.parent, path.name, more))


def json_value(text: str | bytes) -> Any:
    """What a text of JSON says.

    Raises:
        ValueError: it is not UTF-8, not JSON, or nested deeper than Python goes.

    >>> json_value("[" * 100_000)
    Traceback (most recent call last):
        ...
    ValueError: it is nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that some bytes are.

    Raises:
        ValueError: they are not UTF-8, not JSON, nested too deep, or not an object.
    """
    value = json_value(content.decode())
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value
