"""What the folders of a front say of fine-tuning.

A member's folder keeps the network as the search left it. Its folder ``finetuned/`` holds the trained one, where that
is better on the search images; ``metrics.json`` lists every training with its settings and what came of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.runs import (
    CHECKSUMS,
    FINETUNED,
    PARTS,
    FrontRow,
    check_file,
    file_digest,
    json_bytes,
    put_back,
    replacing,
    write_file,
)
from gaprune.saved import METRICS, read_metrics


def trainings(home: Path) -> list[dict[str, Any]]:
    """Every training of the member in a folder, oldest first.

    Raises:
        RunError: its metrics are missing or damaged.
    """
    found: list[dict[str, Any]] = read_metrics(home).get(FINETUNED, [])
    return found


def note_training(home: Path, record: dict[str, Any]) -> None:
    """Add a training to a member's metrics; one that is kept takes the place of an earlier one."""
    earlier = [{**one, "kept": one["kept"] and not record["kept"]} for one in trainings(home)]
    write_file(home, METRICS, json_bytes({**read_metrics(home), FINETUNED: [*earlier, record]}))


def handed_out(home: Path) -> dict[str, Any]:
    """The training whose network lies in a member's folder ``finetuned/``; empty where there is none.

    Raises:
        RunError: the folder's metrics are missing or damaged.
    """
    place = home / FINETUNED
    with suppress(FileNotFoundError):
        check_file(home, f"{FINETUNED}/{CHECKSUMS}")
    found: dict[str, Any] = read_metrics(place, "training")["training"] if place.is_dir() else {}
    return found


def in_words(training: dict[str, Any]) -> str:
    """What a training was."""
    if "train" in training:
        return f"fine-tuned {training['method']}"
    return f"fine-tuned for {training['epochs']} epochs, {training['method']}"


def current_row(path: Path, row: FrontRow) -> FrontRow:
    """The row with the better of a member's networks, as its folder tells.

    Args:
        path: of the run.
        row: of the member, before or after any fine-tuning.

    Raises:
        RunError: the folder's metrics are missing or damaged.
    """
    home = path / row.home
    metrics = read_metrics(home, "objectives")
    own = {"objectives": metrics["objectives"], "attacked": metrics.get("attacked", {})}
    plain = replace(row.untrained(), path=row.home, **own)
    best = handed_out(home)
    if not best or best["search_accuracy"] <= plain.search_accuracy:
        return plain
    return replace(
        plain,
        path=f"{row.home}/{FINETUNED}",
        objectives=best["objectives"],
        attacked=best.get("attacked", {}),
        search_accuracy=best["search_accuracy"],
        test_accuracy=best["test_accuracy"],
        trained_epochs=best["epochs"],
        search_accuracy_before=plain.search_accuracy,
        test_accuracy_before=plain.test_accuracy,
        fitness_before=next(iter(plain.objectives.values()), None),
    )


def carry_over(old: Path, new: Path, rows: Sequence[FrontRow]) -> None:
    """Take what members of an old front were trained to into the folders of a new one, where they are on it.

    Args:
        old: folder of the old front; may be missing.
        new: folder of the new one.
        rows: of the new one.
    """
    homes = {}
    for home in filter(Path.is_dir, old.glob("*")):
        put_back(home / FINETUNED)
        with suppress(RunError):  # what is damaged has nothing to carry over
            if trainings(home):
                homes[_origin(home)] = home
    for row in rows:
        target = new / Path(row.home).name
        if _origin(target) in homes:
            source = homes[_origin(target)]
            write_file(target, METRICS, json_bytes({**read_metrics(target), FINETUNED: trainings(source)}))
            if (source / FINETUNED).is_dir():
                hand_over(target, source / FINETUNED, shutil.copytree)


def hand_over(home: Path, new: Path, take: Callable[[Path, Path], object]) -> None:
    """Let a folder become a member's ``finetuned/``.

    Args:
        home: the member's folder.
        new: the folder.
        take: what copies or moves the one to the other place.
    """
    seal = {f"{FINETUNED}/{CHECKSUMS}": file_digest(new / CHECKSUMS)}
    replacing(home, seal, lambda: take(new, home / FINETUNED))


def _origin(home: Path) -> tuple[str, ...]:
    """Names the network that a search left: two parts of a run may find the same genome, with weights of their own."""
    metrics = read_metrics(home, "key")
    return metrics["key"], *(f"{part} {metrics[part]}" for part in PARTS if part in metrics)
