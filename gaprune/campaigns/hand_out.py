"""The front of a run that was made in parts: networks of the parts' own fronts, copied and told of the original."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gaprune.front.members import FRONT, member_readme, member_row, new_front, show
from gaprune.prune.genome import Genome
from gaprune.runs import FrontRow, RunDirectory
from gaprune.runs.files import atomic_write, write_json
from gaprune.saved import METRICS, read_metrics, save_genome
from gaprune.session.job import Job


@dataclass(frozen=True)
class PartNetwork:
    """A network that a part of a run has left.

    Attributes:
        source: its folder.
        genome: of the true original.
        search_accuracy: on the search set, 0 to 1.
        test_accuracy: on the test set, 0 to 1.
        objectives: by name, plain values.
        made: how it came about, for its README.
        part: what its metrics say of the part, by name.
    """

    source: Path
    genome: Genome
    search_accuracy: float
    test_accuracy: float | None
    objectives: dict[str, float]
    made: str
    part: dict[str, Any] = field(default_factory=dict)


def original_row(job: Job, network: PartNetwork) -> FrontRow:
    """The network's row, counted against the true original; not numbered."""
    return member_row(job, network.genome, network.objectives, network.search_accuracy, network.test_accuracy)


def hand_out(job: Job, run: RunDirectory, networks: Sequence[PartNetwork], done: dict[str, int]) -> list[FrontRow]:
    """Copy networks under ``front/``, in their order, and write their table; an older front stays until then.

    Args:
        job: of the true original.
        run: the whole run's directory.
        networks: of its parts.
        done: what the manifest says when all is there.

    Returns:
        One row a network.
    """
    digits = max(2, len(str(len(networks) - 1)))
    rows = []
    with new_front(run) as folder:
        for index, network in enumerate(networks):
            name = f"{index:0{digits}d}"
            row = replace(original_row(job, network), index=index, path=f"{FRONT}/{name}")
            _copy(job, network, row, folder / name)
            rows.append(row)
    return show(job, run, rows, done)


def _copy(job: Job, network: PartNetwork, row: FrontRow, folder: Path) -> None:
    shutil.copytree(network.source, folder)
    metrics = read_metrics(network.source)
    own = {name: value for name, value in vars(row).items() if name not in ("index", "path")}
    write_json(folder / METRICS, {**metrics, **own, "widths": list(row.widths), **network.part})
    save_genome(folder, network.genome, job.space.layout)
    atomic_write(folder / "README.md", member_readme(job, row, network.made).encode())
