"""Members of a front trained on: each beside what the search left, and the search set says which is handed out."""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gaprune.errors import RunError, TrainingError
from gaprune.evaluate import under_attack
from gaprune.front import (
    CSV,
    current_row,
    finished_front,
    hand_over,
    handed_out,
    in_words,
    member_config,
    member_readme,
    note_training,
    trainings,
)
from gaprune.genome import Bits, Genome
from gaprune.progress import Reporter, duration
from gaprune.prune import present_kernels
from gaprune.recovery.network import Recovered, recover
from gaprune.runs import (
    FINETUNED,
    FrontRow,
    RunDirectory,
    atomic_write,
    put_back,
    read_json_object,
    settle,
    take_place,
    write_csv,
)
from gaprune.saved import METRICS, load, load_genome, save_compact, save_genome
from gaprune.session import Job
from gaprune.training import (
    Lesson,
    Recipe,
    digest_images,
    digest_json,
    digest_tensors,
    estimate_seconds,
    frozen_line,
    frozen_names,
    images_per_epoch,
    thawed,
)

STATES = "finetuning"
"""Folder of a run: by fingerprint the states of trainings that are not finished."""

PARTIAL = f"{FINETUNED}.partial"

CHANGED = 0.04
"""Share of the search images whose answer a short training may turn, in either direction: of as many, two counts differ
by chance by the root of this share over their number."""

GENTLER = 0.1
"""Of the learning rate, for another try.

EfficientNet-Lite0 with its ImageNet weights, 1.6 points behind at 75% of its FLOPs, loses 3.6 more in 24 steps of 64
photographs at a peak rate of 0.02 and 0.6 at 0.005, and gains 0.4 at 0.001.
"""


@dataclass(frozen=True)
class Member:
    """A member as the search left it.

    Attributes:
        row: of the front.
        genome: its genes.
        network: on the device, in eval mode.
        kernels: by weight name, (out, in) kernels that it has, where some are masked.
    """

    row: FrontRow
    genome: Genome
    network: nn.Module
    kernels: dict[str, Bits]


def open_member(job: Job, run: RunDirectory, row: FrontRow) -> Member:
    """Load a member as the search left it.

    Raises:
        RunError: its folder holds another network than the table says.
        CheckpointError: its folder is damaged.
    """
    home = run.path / row.home
    put_back(home / FINETUNED)
    settle(home)
    genome = load_genome(home, job.space.layout)
    if genome.key != row.key:
        raise RunError(f"{home} holds the genome {genome.key}, the front's table says {row.key}")
    network = load(home, model=job.form).to(job.device)
    return Member(row, genome, network, present_kernels(job.space.graph, job.space.masks(genome, order=False)))


@dataclass(frozen=True)
class Keeper(ABC):
    """Notes what trainings make of members, and hands the better networks out.

    Attributes:
        job: the reopened search.
        run: its directory.
        method: in words, for tables and folders.
        reporter: told how it goes.
    """

    job: Job
    run: RunDirectory
    method: str
    reporter: Reporter

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """JSON values that a training's record has besides what it gave."""

    @abstractmethod
    def advice_after(self, made: Recovered) -> str:
        """What to try after a training that did a member no good."""

    def done(self, row: FrontRow, fingerprint: str) -> bool:
        """Whether a member was trained in a way before."""
        return any(one["fingerprint"] == fingerprint for one in trainings(self.run.path / row.home))

    def record(self, row: FrontRow, fingerprint: str) -> dict[str, Any]:
        """What a training that was done gave."""
        return next(one for one in trainings(self.run.path / row.home) if one["fingerprint"] == fingerprint)


@dataclass(frozen=True)
class Tuner(Keeper):
    """Trains members one by one on images.

    Attributes:
        recipe: the numbers of each training.
        lesson: what is learnt.
        advice: what to try after a training that did no good; none is fine-tuning's options.
        gentler: another try for a member that is worse for the first; ``None`` is none.
    """

    recipe: Recipe
    lesson: Lesson
    advice: str | None = None
    gentler: Recipe | None = None

    def __call__(self, row: FrontRow) -> None:
        """Train a member, unless it was trained in this very way before; a stopped training goes on."""
        fingerprint, second = self._train(row), self._second
        if second is not None and self.lost(row, fingerprint):
            share = second.recipe.lr / self.recipe.lr
            self.reporter.say(f"member {row.index} is worse for it: trained again, at {share:.0%} of the learning rate")
            second(row)

    def _train(self, row: FrontRow) -> str:
        """The same, once; names the training."""
        member = open_member(self.job, self.run, row)
        fingerprint = self.fingerprint(member.network)
        states = self.run.path / STATES / fingerprint[:12]
        if self.done(row, fingerprint):
            self.reporter.say(f"member {row.index} was trained in this way before")
        else:
            network, kernels = member.network, member.kernels
            try:
                made = recover(self.job, network, kernels, self.recipe, states, self.reporter, lesson=self.lesson)
            except TrainingError as error:
                raise TrainingError(f"member {row.index}: {error}") from error
            keep(self, member, made, fingerprint)
        forget(states)
        return fingerprint

    @property
    def _second(self) -> Tuner | None:
        return None if self.gentler is None else replace(self, recipe=self.gentler, gentler=None)

    def lost(self, row: FrontRow, fingerprint: str) -> bool:
        """Whether a training that was done has made a member worse, by more than chance would have it."""
        chance = math.sqrt(CHANGED / len(self.job.splits.search))
        found: float = self.record(row, fingerprint)["search_accuracy"]
        return found < row.untrained().search_accuracy - chance

    def fingerprint(self, network: nn.Module) -> str:
        """Names a training of these weights: what it starts from, what it learns and how."""
        frozen = {"frozen": names} if (names := frozen_names(network)) else {}
        return digest_json({"start": digest_tensors(network.state_dict()), **frozen, **self.way})

    @functools.cached_property
    def way(self) -> dict[str, Any]:
        """JSON values: what is learnt from which images, and how."""
        return {
            "train": digest_images(self.job.splits.train),
            "recipe": self.recipe.record(),
            "lesson": self.lesson.description(),
        }

    def told(self) -> dict[str, Any]:
        """See ``Keeper``."""
        return {"recipe": self.recipe.record(), "lesson": self.lesson.description()}

    def advice_after(self, made: Recovered) -> str:
        """Longer where it still rose, else gentler."""
        if self.advice is not None:
            return self.advice
        epochs, course = self.recipe.epochs, [record.accuracy for record in made.records]
        if len(course) < 2 or course[-1] > course[0]:
            return f"train longer (--epochs {2 * epochs} or more), or on more images (--epoch-images)"
        return f"train more gently (--lr {self.recipe.lr / 4:.2g}), or longer (--epochs {2 * epochs} or more)"

    def pending(self, rows: Sequence[FrontRow]) -> list[FrontRow]:
        """The members that were not yet trained in this way."""
        opened = ((row, open_member(self.job, self.run, row).network) for row in rows)
        return [row for row, network in opened if self._is_pending(row, network)]

    def _is_pending(self, row: FrontRow, network: nn.Module) -> bool:
        fingerprint, second = self.fingerprint(network), self._second
        if not self.done(row, fingerprint):
            return True
        return second is not None and self.lost(row, fingerprint) and second._is_pending(row, network)

    def announce(self, rows: Sequence[FrontRow]) -> None:
        """Say how long the members will take, from a few steps of the smallest and the largest."""
        ends = {row.index: row for row in (min(rows, key=_flops), max(rows, key=_flops))}
        seconds = {row.flops: self._seconds(row) for row in ends.values()}
        (low, least), *more = sorted(seconds.items())
        high, most = more[0] if more else (low + 1, least)
        total = sum(float(np.interp(row.flops, (low, high), (least, most))) for row in rows)
        images = images_per_epoch(self.recipe, len(self.job.splits.train))
        members = "1 member" if len(rows) == 1 else f"{len(rows)} members"
        self.reporter.say(
            f"fine-tuning {members}, {self.recipe.epochs} epochs of {images:,} images each, "
            f"{self.method}: about {duration(total)} on this machine"
        )
        say_frozen(open_member(self.job, self.run, rows[0]), self.reporter)

    def _seconds(self, row: FrontRow) -> float:
        splits = self.job.splits
        return estimate_seconds(
            thawed(open_member(self.job, self.run, row).network),
            self.job.data.image_shape,
            self.recipe,
            len(splits.train),
            validation_images=len(splits.search),
            lesson=self.lesson,
        )


def more_gently(recipe: Recipe) -> Recipe:
    """The recipe of another try, for members that are worse for the first."""
    return replace(recipe, lr=GENTLER * recipe.lr)


def say_frozen(member: Member, reporter: Reporter) -> None:
    """Say which tensors the caller's network keeps from being trained."""
    line = frozen_line(member.network)
    if line is not None:
        reporter.say(line)


def forget(states: Path) -> None:
    """Remove the states of a training that is over, and their common folder where it held no others."""
    shutil.rmtree(states, ignore_errors=True)
    with suppress(OSError):
        states.parent.rmdir()


def keep(keeper: Keeper, member: Member, made: Recovered, fingerprint: str) -> None:
    """Note what training gave, and hand the network out if no earlier one is as good on the search images."""
    job, run = keeper.job, keeper.run
    home, now = run.path / member.row.home, current_row(run.path, member.row)
    better = made.worth > now.search_accuracy or handed_out(home).get("fingerprint") == fingerprint
    values, _, _ = job.evaluator.judge(member.genome, made.found, member.network)
    record = {
        "fingerprint": fingerprint,
        "kept": better,
        "search_accuracy": made.worth,
        "test_accuracy": made.tested,
        "objectives": {objective.name: values[objective.name] for objective in job.objectives},
        **({"attacked": attacked} if (attacked := under_attack(values)) else {}),
        "epochs": made.epochs,
        "seconds": round(made.seconds, 3),
        "method": keeper.method,
        **keeper.told(),
        "course": [dataclasses.asdict(one) for one in made.records],
    }
    if better:
        _hand_out(keeper, member, record)
    note_training(home, record)
    update_table(run)
    outcome = "kept" if better else f"no better than before on the search data, not kept: {keeper.advice_after(made)}"
    parts = [f"search {_from_to(job, now.search_accuracy, made.worth)}"]
    if made.tested is not None:
        parts.append(f"test {_from_to(job, now.test_accuracy, made.tested)}")
    told = ", ".join([*parts, duration(made.seconds)])
    keeper.reporter.say(f"member {member.row.index}: {told}: {outcome}")


def _from_to(job: Job, before: float | None, after: float) -> str:
    """Two accuracies, or two scores by their name."""
    score = job.material.score
    first, then = (
        "?" if one is None else f"{100 * one:.2f}%" if score is None else f"{one:.4g}" for one in (before, after)
    )
    return f"{first} -> {then}" if score is None else f"{score} {first} -> {then}"


def update_table(run: RunDirectory) -> list[FrontRow]:
    """Write the table of the front anew, as the members' folders say; its rows."""
    found = [current_row(run.path, row) for row in finished_front(run)]
    write_csv(found, run.path / CSV)
    return found


def _hand_out(keeper: Keeper, member: Member, record: dict[str, Any]) -> None:
    """Save the trained network in ``finetuned/``, whole before it takes an older one's place."""
    job, home = keeper.job, keeper.run.path / member.row.home
    plain = current_row(keeper.run.path, member.row).untrained()
    trained = replace(
        plain,
        path=f"{member.row.home}/{FINETUNED}",
        search_accuracy=record["search_accuracy"],
        test_accuracy=record["test_accuracy"],
    )
    before = {"search_accuracy": plain.search_accuracy, "test_accuracy": plain.test_accuracy}
    metrics = {name: value for name, value in read_json_object(home / METRICS).items() if name != FINETUNED}
    reached = ("search_accuracy", "test_accuracy", "objectives", "attacked")
    metrics |= {name: record[name] for name in reached if name in record}
    metrics |= {"made": in_words(record), "before": before}
    shutil.rmtree(home / PARTIAL, ignore_errors=True)
    save_compact(home / PARTIAL, member.network, member_config(job), metrics | {"training": record})
    save_genome(home / PARTIAL, member.genome, job.space.layout)
    readme = member_readme(job, trained, f"by a search, then {metrics['made']}")
    atomic_write(home / PARTIAL / "README.md", readme.encode())
    hand_over(home, home / PARTIAL, take_place)


def _flops(row: FrontRow) -> int:
    return row.flops
