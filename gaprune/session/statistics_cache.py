"""What a run keeps of its preparation, so that going on with it does not collect it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gaprune.errors import RunError
from gaprune.prune import Statistics, load_statistics, save_statistics

NAME = "statistics.safetensors"


@dataclass
class Kept:
    """The statistics of one preparation.

    Attributes:
        directory: the run's, where it exists already.
        key: names the weights, the images and what is collected of them; others are collected anew.
        device: where the statistics are wanted.
        found: what was loaded or collected.
        on_disk: whether it was loaded.
    """

    directory: Path | None
    key: str
    device: torch.device
    found: Statistics | None = None
    on_disk: bool = False

    def statistics(self, collect: Callable[[], Statistics]) -> Statistics:
        """Those on disk, or else those that ``collect`` gives."""
        if self.directory is not None:
            self.found = load_statistics(self.directory / NAME, self.key, self.device)
        self.on_disk = self.found is not None
        if self.found is None:
            self.found = collect()
        return self.found

    def save(self, directory: Path) -> None:
        """Keep the statistics in a run directory, unless they are there; nothing where nothing was collected.

        Raises:
            RunError: they cannot be written.
        """
        if self.found is None or self.on_disk or self.found.empty:
            return
        try:
            save_statistics(directory / NAME, self.found, self.key)
        except OSError as error:
            raise RunError(f"cannot write {directory / NAME}: {error.strerror or error}") from error
