"""``--log tensorboard``: the numbers of every generation as event files in the run directory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gaprune.errors import OptionError
from gaprune.options import SearchOptions
from gaprune.session import Callback, Generation

FOLDER = EXTRA = "tensorboard"
BUDGETS = (0.5, 0.25, 0.1, 0.05)
"""Shares of the original's FLOPs."""


@contextmanager
def boards(options: SearchOptions) -> Iterator[tuple[Callback, ...]]:
    """The callbacks that write what was asked for; files are closed at the end.

    Raises:
        OptionError: a library is missing; the line says what to install.
    """
    if options.records.log != "tensorboard":
        yield ()
        return
    if importlib.util.find_spec(EXTRA) is None:
        raise OptionError(f'--log {EXTRA} needs {EXTRA}, which is not installed: pip install "gaprune[{EXTRA}]"')
    writer = BoardWriter()
    try:
        yield (writer,)
    finally:
        writer.close()


class BoardWriter:
    """A callback that writes generations, each part of a run in a folder of its own, ``tensorboard/`` in it.

    Resumed, it goes on in the same folder: what a killed process had written of later generations is passed over.
    """

    def __init__(self) -> None:
        self._writers: dict[Path, Any] = {}

    def __call__(self, generation: Generation) -> None:
        """Write one generation, to the disk."""
        writer = self._writer(generation)
        for name, value in scalars(generation).items():
            writer.add_scalar(name, value, generation.number)
        writer.flush()

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, generation: Generation) -> Any:
        if generation.path not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            folder = str(generation.path / FOLDER)
            self._writers[generation.path] = SummaryWriter(folder, purge_step=generation.number)
        return self._writers[generation.path]


def scalars(generation: Generation) -> dict[str, float]:
    """The numbers of a generation by name."""
    found = {
        "search/hypervolume": generation.hypervolume,
        "search/networks on the front": float(len(generation.front)),
        "search/candidates": float(generation.candidates),
        "search/failed": float(generation.failed),
        "search/seconds": generation.seconds,
    }
    whole = generation.original_flops
    for budget in BUDGETS:
        within = [one["accuracy"] for one in generation.front if "accuracy" in one and one["flops"] <= budget * whole]
        if within:
            found[f"accuracy/within {budget:.0%} of FLOPs"] = max(within)
    return found
