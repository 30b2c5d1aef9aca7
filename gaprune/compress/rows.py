"""One row of the comparison a chain, each made once: works and rows are kept in the run directory.

``works/`` holds every model that a chain made on its way (chains that begin alike share them), ``rows/`` what was
measured of each chain's last. What is measured was saved and loaded again before, so it is what ships. Times are taken
when all rows are there, in one sitting; a table with a new row is timed anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gaprune.compress.chain import ORIGINAL, Chain
from gaprune.compress.method import Session, Work
from gaprune.compress.sitting import OF_A_ROW, TIMES, Sitting, time_in_turn
from gaprune.compress.storage import is_saved, load_work, save_work, shipped_bytes
from gaprune.compress.timing import BATCHES
from gaprune.compress.words import OURS
from gaprune.errors import CheckpointError, RunError, first_line
from gaprune.options import students_of
from gaprune.progress import Reporter
from gaprune.runs import MEGABYTE, inside, json_bytes, json_object, read_file, remove_file, write_file

WORKS, ROWS, TRAINING = "works", "rows", "training"


@dataclass(frozen=True)
class Row:
    """What was measured of one chain.

    Attributes:
        chain: as it is written; ``none`` is the original.
        size_mb: of the files that ship, in 10^6 bytes.
        metrics: on the test set, at least ``accuracy`` and ``f1``, 0 to 1.
        seconds: by ``device batch``, such as ``cpu 128``, median seconds a batch; None where it cannot run.
        spread: how many times as long as the fastest round of the timing the slowest took.
        params: number of parameters (of a quantized network: before).
        flops: of one sample, likewise; None where not known.
        runtime: whose kernels ran.
        passes: over the training data, of all training steps together.
        steps: what each method reports of itself.
        path: of the model that ships, within the run directory.
    """

    chain: str
    size_mb: float
    metrics: dict[str, float]
    params: int
    flops: int | None
    runtime: str
    passes: float
    seconds: dict[str, float | None] = field(default_factory=dict)
    spread: float | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    path: str = ""

    @property
    def ours(self) -> bool:
        """Whether gaprune's network is in it."""
        return OURS in re.split(r"[+:]", self.chain)


class Comparison:
    """Makes the rows of one comparison.

    Args:
        folder: the run directory, owned by this process.
        original: what every chain starts from.
        threads: CPU threads of the timing.
        reporter: told how it goes.
        batches: batch sizes that are timed.
    """

    def __init__(
        self, folder: Path, original: Work, threads: int, reporter: Reporter, batches: Sequence[int] = BATCHES
    ) -> None:
        self._folder = folder
        self._original = original
        self._threads = threads
        self._reporter = reporter
        self._batches = tuple(batches)

    def rows(self, chains: Sequence[Chain]) -> tuple[list[Row], dict[str, str]]:
        """The rows of all chains in order, those of an earlier process included; and why some chains have none.

        Raises:
            RunError: the run directory cannot be written.
        """
        found, failures = {}, {}
        with self._reporter.task("rows", len(chains)) as task:
            for chain in chains:
                try:
                    row = self.row(chain)
                except OF_A_ROW as error:
                    failures[chain.text] = first_line(error)
                    self._reporter.say(f"{chain.text}: {failures[chain.text]}")
                    task.advance()
                    continue
                found[chain] = row
                task.advance(row=chain.text, accuracy=f"{row.metrics['accuracy']:.4f}", MB=f"{row.size_mb:.2f}")
        sitting, untimed = self._sitting(list(found))
        timed = [
            dataclasses.replace(row, seconds=sitting.seconds(row.chain), spread=sitting.spread(row.chain))
            for row in found.values()
            if row.chain not in untimed
        ]
        return timed, failures | untimed

    def row(self, chain: Chain) -> Row:
        """One row, without times: from disk, or made now.

        Raises:
            MethodError: a method of the chain does not apply.
            TrainingError: a training diverged.
            RunError: the run directory cannot be written.
        """
        file = self._folder / ROWS / f"{slug(chain.text)}.json"
        kept = _read(self._folder, file.name)
        if kept is not None and is_saved(self._folder / kept.path):
            return kept
        work, place = self._made(chain)
        row = self._measured(chain, work, place)
        try:
            remove_file(self._folder, TIMES)
            file.parent.mkdir(exist_ok=True)
            write_file(self._folder, f"{ROWS}/{file.name}", json_bytes(dataclasses.asdict(row)))
        except OSError as error:
            raise RunError(f"cannot write {file}: {error.strerror or error}") from error
        return row

    def _measured(self, chain: Chain, work: Work, place: Path) -> Row:
        device = work.task.device if work.task.device.type in work.runner.devices else _cpu(work)
        metrics = work.task.evaluate(work.runner.predictor(device, self._threads), device)
        return Row(
            chain=chain.text,
            size_mb=shipped_bytes(place) / MEGABYTE,
            metrics=metrics,
            params=work.params,
            flops=work.flops,
            runtime=work.runner.runtime,
            passes=sum(step.report.get("training", {}).get("passes", 0) for step in work.steps),
            steps=[dataclasses.asdict(step) for step in work.steps],
            path=str(place.relative_to(self._folder)),
        )

    def _sitting(self, chains: Sequence[Chain]) -> tuple[Sitting, dict[str, str]]:
        """The times of all rows, from disk or taken now; and why some have none."""
        before = Sitting.load(self._folder)
        if before.covers([chain.text for chain in chains], self._batches):
            return before, {}
        works = {chain.text: partial(self._work, chain) for chain in chains}
        sitting, failures = time_in_turn(works, self._batches, self._threads, self._reporter)
        try:
            sitting.save(self._folder)
        except OSError as error:
            raise RunError(f"cannot write in {self._folder}: {error.strerror or error}") from error
        return sitting, failures

    def _work(self, chain: Chain) -> Work:
        return self._made(chain)[0]

    def _made(self, chain: Chain) -> tuple[Work, Path]:
        """The chain's last work as it was loaded again, and its folder."""
        beginnings = [Chain(chain.methods[:count]) for count in range(len(chain.methods) + 1)]
        places = [self._place(beginning, chain.share) for beginning in beginnings]
        for count in reversed(range(len(places))):
            work = self._loaded(places[count], chain)
            if work is not None:
                break
        else:
            count, work = 0, self._kept(self._original, places[0], chain)
        for method, place in zip(chain.methods[count:], places[count + 1 :], strict=True):
            self._reporter.say(f"{chain.text}: {method.text}")
            session = Session(chain.share, place / TRAINING, self._reporter)
            work = self._kept(method.apply(work, session), place, chain)
            shutil.rmtree(place / TRAINING, ignore_errors=True)
        return work, places[-1]

    def _place(self, beginning: Chain, share: float) -> Path:
        """Where a work lies: by its chain, and by what each training step of it may spend."""
        trains = any(method.trains for method in beginning.methods)
        return self._folder / WORKS / slug(beginning.text + (f"@{share:.3g}" if trains and share < 1 else ""))

    def _kept(self, work: Work, place: Path, chain: Chain) -> Work:
        save_work(place, work)
        return load_work(place, self._original.task, students_of(chain.text))

    def _loaded(self, place: Path, chain: Chain) -> Work | None:
        if not is_saved(place):
            return None
        try:
            return load_work(place, self._original.task, students_of(chain.text))
        except CheckpointError as error:
            self._reporter.say(f"{error}; it is made again")
            return None


def slug(text: str) -> str:
    """A file name for a chain, its own."""
    words = re.sub(r"[^A-Za-z0-9.+@=_-]+", "-", text)
    return words if words == text else f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def saved_rows(folder: Path) -> dict[str, Row]:
    """The rows of a comparison on disk whose models are there, by chain.

    Args:
        folder: of the comparison.
    """
    found = (_read(folder, file.name) for file in sorted((folder / ROWS).glob("*.json")))
    return {row.chain: row for row in found if row is not None and is_saved(folder / row.path)}


def unmatched(rows: Sequence[Row], metric: str = "accuracy") -> list[Row]:
    """The rows without gaprune's network that no row with it matches: none is as small and as good."""
    ours = [row for row in rows if row.ours]

    def matched(row: Row) -> bool:
        return any(one.size_mb <= row.size_mb and one.metrics[metric] >= row.metrics[metric] for one in ours)

    return [row for row in rows if not row.ours and row.chain != ORIGINAL and not matched(row)]


def _cpu(work: Work) -> Any:
    import torch

    assert "cpu" in work.runner.devices
    return torch.device("cpu")


def _read(folder: Path, name: str) -> Row | None:
    """A row as it was written; ``None`` where there is none, or one of an earlier version is damaged."""
    with suppress(OSError, ValueError, TypeError):
        row = Row(**json_object(read_file(folder, f"{ROWS}/{name}")))
        return dataclasses.replace(row, path=inside(row.path))
    return None
