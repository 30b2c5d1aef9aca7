"""Members of a front trained together on one set of weights, then cut out, recalibrated and, if wanted, polished."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from gaprune.device import pinned
from gaprune.errors import OptionError
from gaprune.options import SHARED_NEEDS
from gaprune.progress import duration
from gaprune.prune import GroupedConvolution, Grouping, Masks, restate_norms
from gaprune.recovery.members import STATES, Member, Tuner, forget, keep, open_member, say_frozen
from gaprune.recovery.network import Recovered, measured, recover, train
from gaprune.runs import FrontRow
from gaprune.session import Job
from gaprune.training import (
    Distillation,
    EpochRecord,
    Recipe,
    SharedFront,
    SharedLesson,
    digest_json,
    estimate_seconds,
    images_per_epoch,
    thawed,
)


@dataclass(frozen=True)
class SharedTuner:
    """Trains several members at once.

    Attributes:
        tuner: of the members: recipe of the shared training, lesson with its teacher, method.
        alone: recipe of the training of each member alone that follows; ``None`` leaves it out.
    """

    tuner: Tuner
    alone: Recipe | None = None

    def __call__(self, rows: Sequence[FrontRow]) -> None:
        """Train members, unless they were trained in this very way before; a stopped training goes on.

        Raises:
            OptionError: there is one member alone, or no teacher.
        """
        tuner, teacher = self.tuner, self.tuner.lesson
        if len(rows) < 2 or not isinstance(teacher, Distillation):
            raise OptionError(SHARED_NEEDS)
        members = [open_member(tuner.job, tuner.run, row) for row in sorted(rows, key=lambda row: row.flops)]
        masks = [saved_masks(tuner.job, member) for member in members]
        networks = [member.network for member in members]
        together = functools.partial(SharedFront, tuner.job.baseline.model, tuner.job.space.graph, masks)
        lesson = self._lesson(together(networks).digest(), teacher)  # named as the search left them
        whole = replace(tuner, lesson=lesson)
        alone = None if self.alone is None else vars(self.alone)
        fingerprint = digest_json({**whole.way, "polish": alone})
        pending = [place for place, member in enumerate(members) if not whole.done(member.row, fingerprint)]
        states = tuner.run.path / STATES / f"shared-{fingerprint[:12]}"
        if not pending:
            tuner.reporter.say("these members were trained in this way before")
            forget(states)
            return
        if self.alone is not None:
            replace(tuner, recipe=self.alone, method="alone, after training together").announce(rows)
        say_frozen(members[0], tuner.reporter)
        self._restate(networks)
        shared = together(networks)
        records = self._fit(shared, lesson, states / "together")
        with tuner.reporter.task("members", len(members)) as task:
            for place, member in enumerate(members):
                if place in pending:
                    self._take_out(shared, whole, place, member, records, fingerprint, states)
                task.advance(1)
        forget(states)

    def _restate(self, networks: Sequence[nn.Module]) -> None:
        """Let members compute in training mode what they do in eval mode, see ``restate_norms``."""
        task = self.tuner.job.evaluator.images
        with pinned(self.tuner.job.threads):
            for network in networks:
                restate_norms(thawed(network), task.calibration, task.mean, task.std, batch_size=task.batch_size)

    def _lesson(self, members: str, teacher: Distillation) -> SharedLesson:
        job = self.tuner.job
        return SharedLesson(
            teacher.teacher,
            teacher.temperature,
            teacher.weight,
            members=members,
            calibration=job.evaluator.images.calibration,
            mean=job.data.mean,
            std=job.data.std,
        )

    def _fit(self, shared: SharedFront, lesson: SharedLesson, directory: Path) -> list[EpochRecord]:
        job, reporter, recipe = self.tuner.job, self.tuner.reporter, self.tuner.recipe
        splits, shape = job.splits, job.data.image_shape
        sizes = {"validation_images": len(splits.search), "lesson": lesson}
        with pinned(job.threads):
            seconds = estimate_seconds(shared, shape, recipe, len(splits.train), **sizes)  # type: ignore[arg-type]
            images = images_per_epoch(recipe, len(splits.train))
            reporter.say(
                f"training {len(shared)} members in shared weights, {recipe.epochs} epochs of {images:,} "
                f"images, {self.tuner.method}: about {duration(seconds)} on this machine"
            )
        return train(job, shared, recipe, lesson, directory, reporter)

    def _take_out(
        self,
        shared: SharedFront,
        whole: Tuner,
        place: int,
        member: Member,
        records: list[EpochRecord],
        fingerprint: str,
        states: Path,
    ) -> None:
        """Cut a member out, train it alone if that is wanted, and keep it if it is better."""
        job, lesson = whole.job, whole.lesson
        assert isinstance(lesson, SharedLesson)
        with pinned(job.threads):
            network = lesson.taken(shared, place)
        made = measured(job, network, records)
        if self.alone is not None:
            folder = states / Path(member.row.home).name
            tuner = self.tuner
            longer = recover(job, network, member.kernels, self.alone, folder, tuner.reporter, lesson=tuner.lesson)
            made = Recovered.after([*records, *longer.records], longer.found, longer.tested)
        keep(whole, replace(member, network=network), made, fingerprint)


def saved_masks(job: Job, member: Member) -> Masks:
    """What a member keeps; tied groups in the channel orders that its network has."""
    masks = job.space.masks(member.genome, order=False)
    groupings = {}
    for weight, grouping in masks.groupings.items():
        module = member.network.get_submodule(weight.rpartition(".")[0])
        assert isinstance(module, GroupedConvolution)
        outputs = np.argsort(module.output_order.cpu().numpy())
        groupings[weight] = Grouping(grouping.groups, module.input_order.cpu().numpy(), outputs)
    return replace(masks, groupings=groupings)
