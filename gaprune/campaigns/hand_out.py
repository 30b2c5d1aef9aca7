"""The front of a run that was made in parts: networks of the parts' own fronts, copied and told of the original."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gaprune.evolve import is_efficient
from gaprune.front import FRONT, distinct, member_readme, new_front, replace_front
from gaprune.genome import Genome
from gaprune.runs import (
    FrontRow,
    RunDirectory,
    atomic_write,
    check_folder,
    json_bytes,
    member_name,
    write_file,
    write_indices,
)
from gaprune.saved import METRICS, read_metrics, save_genome
from gaprune.session import Job


@dataclass(frozen=True)
class PartNetwork:
    """A network that a part of a run has left.

    Attributes:
        source: its folder.
        number: of the part.
        genome: of the true original.
        row: its costs counted against the true original; not numbered.
        made: how it came about, for its README.
        minimised: by objective, in their order; needed where some may be dominated.
        violation: of the constraints.
    """

    source: Path
    number: int
    genome: Genome
    row: FrontRow
    made: str
    minimised: tuple[float, ...] = ()
    violation: float = 0.0


def undominated(networks: Sequence[PartNetwork]) -> list[PartNetwork]:
    """The front over several fronts; of networks that are worth the same the first. Fewest FLOPs first."""
    worth = [(one.minimised, one.violation) for one in networks]
    first = [one for place, one in enumerate(networks) if worth.index(worth[place]) == place]
    efficient = is_efficient(np.array([one.minimised for one in first]), np.array([one.violation for one in first]))
    return smallest_first(one for one, stays in zip(first, efficient, strict=True) if stays)


def smallest_first(networks: Iterable[PartNetwork]) -> list[PartNetwork]:
    """Fewest FLOPs first; of as many those of later parts."""
    return sorted(networks, key=lambda one: (one.row.flops, -one.number))


def hand_out(
    job: Job, run: RunDirectory, kind: str, networks: Sequence[PartNetwork], marks: dict[str, int]
) -> list[FrontRow]:
    """Copy networks under ``front/``, in their order, and write their table; an older front stays until then.

    Args:
        job: of the true original.
        run: the whole run's directory.
        kind: what a part is called; each network's metrics name its part.
        networks: of the run's parts.
        marks: what the manifest says when all is there.

    Returns:
        One row a network.
    """
    names = [member_name(one.genome.key, f"{kind}{one.number}") for one in networks]
    names = distinct(names, [one.genome.key for one in networks])
    rows = []
    with new_front(run) as folder:
        for index, (network, name) in enumerate(zip(networks, names, strict=True)):
            row = replace(network.row, index=index, path=f"{FRONT}/{name}")
            _copy(job, kind, network, row, folder / name)
            rows.append(row)
        write_indices(folder, names)
    return replace_front(job, run, rows, marks)


def _copy(job: Job, kind: str, network: PartNetwork, row: FrontRow, folder: Path) -> None:
    check_folder(network.source)
    shutil.copytree(network.source, folder)
    metrics = read_metrics(network.source)
    untold = ("index", "path", *(("latency", "latency_share") if row.latency is None else ()))
    own = {name: value for name, value in vars(row).items() if name not in untold}
    told = {**metrics, **own, "widths": list(row.widths), kind: network.number}
    write_file(folder, METRICS, json_bytes(told))
    save_genome(folder, network.genome, job.space.layout)
    atomic_write(folder / "README.md", member_readme(job, row, network.made).encode())
