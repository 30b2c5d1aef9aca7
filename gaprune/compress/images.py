"""Image classification as a task: what the methods need to know of images, and nothing else does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gaprune.baseline import Baseline
from gaprune.compress.method import Inputs, Predict, Student, Task, Work
from gaprune.compress.metrics import classification
from gaprune.compress.students import THIN, is_thin, thin_share, thin_student
from gaprune.compress.widths import cut_by_l1
from gaprune.compress.words import OURS
from gaprune.data import ImageData, ImageSet, LazyImages, Splits, normalise
from gaprune.device import pinned
from gaprune.errors import MethodError, ModelError, OptionError
from gaprune.models import build, check_name, model_names
from gaprune.progress import Reporter
from gaprune.prune import (
    Anchors,
    build_graph,
    count_flops,
    fold,
    kept_anchors,
    plain,
    recalibrate,
    restate_norms,
    take_anchors,
)
from gaprune.training import Distillation, Recipe, default_recipe, fit, gentler, images_per_epoch

BATCH = 128
OBJECT = "object"
"""Entry of a base whose original was given as an object."""

STUDENTS = (THIN, f"{THIN}=SHARE", *model_names(), "package.module:factory", f"{OURS}:RULE")

Found = TypeVar("Found")
Member = Callable[[str], tuple[nn.Module, dict[str, Any]]]
"""From a rule (``knee``, ``03``, ``flops<=0.1``; empty for the picked one) to a front member and what is told of it."""


@dataclass(frozen=True)
class ImageTask(Task):
    """A network of images, its data, and how it is trained.

    Attributes:
        model_name: as ``gaprune.models.build`` knows it.
        stem: its first layers.
        data: normalised as the original needs it.
        splits: on ``device``.
        original: the trained network, the teacher of every training.
        epochs: passes over the training images that a row may spend.
        device: where networks are trained and judged.
        threads: CPU threads meanwhile.
        seed: of trainings.
        member: front members of a run, where there is one.
        epoch_images: images of such a pass, drawn anew for each; None is all of them.
        own: the caller's network, where it was given as an object, for its form.
        criterion: see ``Task``.
        input_names: see ``Task``.
        varying: see ``Task``.
    """

    model_name: str
    stem: str
    data: ImageData
    splits: Splits
    original: Baseline
    epochs: int
    device: torch.device
    threads: int
    seed: int = 0
    member: Member | None = None
    epoch_images: int | None = None
    own: nn.Module | None = None

    criterion: str = "l1"
    input_names: tuple[str, ...] = ("images",)
    varying: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:  # type: ignore[override]
        """See ``Task``."""
        return f"{self.model_name} on {self.data.name}"

    @cached_property
    def teacher(self) -> nn.Module:
        """The original, batch norms folded into its convolutions: the same answers in less time."""
        teacher = copy.deepcopy(self.original.model).eval().requires_grad_(False)
        with suppress(ModelError):  # a network that cannot be traced teaches as it is
            fold(teacher, build_graph(self.original.model, self.data.image_shape).norms)
        return teacher.to(self.device).to(memory_format=torch.channels_last)

    def work(self) -> Work:
        """The original."""
        return Work.of(self.original.model, self, self.base())

    @property
    def named(self) -> tuple[str, ...]:
        """See ``Task``."""
        return (self.model_name,)

    def base(self, **more: Any) -> dict[str, Any]:
        """What ``build_network`` makes the untrained original from."""
        return {
            "builder": "images",
            "model": self.model_name,
            "stem": self.stem,
            **({} if self.own is None else {OBJECT: True}),
            "classes": list(self.data.classes),
            "image_shape": list(self.data.image_shape),
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            **more,
        }

    def inputs(self, count: int) -> Inputs:
        """See ``Task``: calibration images, over again where there are too few."""
        images = self.splits.calibration.images
        return (self._normalised(images[torch.arange(count, device=images.device) % len(images)]).cpu(),)

    def calibration(self) -> Iterator[Inputs]:
        """See ``Task``."""
        for batch in _batches(self.splits.calibration.images):
            yield (self._normalised(batch).cpu(),)

    def evaluate(self, predict: Predict, device: torch.device) -> dict[str, float]:
        """See ``Task``."""
        test: ImageSet = self.splits.test
        with pinned(self.threads):
            logits = [predict((self._normalised(batch).to(device),)).cpu() for batch in _batches(test.images)]
        return classification(torch.cat(logits), test.labels.cpu())

    def fit(
        self, model: nn.Module, *, fresh: bool, share: float, directory: Path | None, reporter: Reporter
    ) -> dict[str, Any]:
        """See ``Task``: one-cycle SGD on labels and the original's logits, from scratch at a higher rate.

        Norms of a trained network are restated first, as they are where a search's members are fine-tuned.
        """
        recipe = self.recipe(fresh, share)
        model.to(self.device)
        with pinned(self.threads):
            if not fresh:
                restate_norms(model, self.splits.calibration, self.data.mean, self.data.std)
            records = fit(
                model,
                self.splits.train.to(self.device),
                self.splits.search,
                mean=self.data.mean,
                std=self.data.std,
                flip=self.data.flip,
                recipe=recipe,
                lesson=Distillation(self.teacher),
                directory=directory,
                reporter=reporter,
            )
        seconds = sum(record.seconds for record in records)
        passes = recipe.epochs * images_per_epoch(recipe, len(self.splits.train)) / len(self.splits.train)
        return {"passes": round(passes, 3), "seconds": seconds, "search accuracy": records[-1].accuracy}

    def recipe(self, fresh: bool, share: float) -> Recipe:
        """How a network is trained that may spend a share of the passes: one at least."""
        usual = default_recipe(self.original.model, self.data, self.device, seed=self.seed)
        epochs, rate = max(1, round(self.epochs * share)), usual.lr * (1 if fresh else gentler(self.original.model))
        return replace(usual, epochs=epochs, epoch_images=self.epoch_images, lr=rate)

    def settle(self, model: nn.Module, before: nn.Module) -> None:
        """See ``Task``."""
        self._recalibrate(model, self._anchors(before))

    def students(self) -> tuple[str, ...]:
        """See ``Task``: the original's form made thin; any other network by its name; a front member."""
        return STUDENTS

    def student(self, name: str) -> Student:
        """See ``Task``.

        Raises:
            OptionError: there is no such student.
            MethodError: ``ours`` without a run.
        """
        first, _, rest = name.partition(":")
        if first == OURS:
            network, found = _front(name, self.member)(rest)
            return Student(network, self, self.base(student=name, member=found), trained=True)
        try:
            network = untrained(self.base(student=name), self.seed, self.own)
        except (ModelError, OptionError) as error:
            raise _unknown_student(name, error) from error
        return Student(network, self, self.base(student=name))

    def pruned(self, work: Work, keep: float, scope: str) -> nn.Module:
        """See ``Task``: filters, cut by gaprune's own compaction."""
        try:
            network, graph, masks = cut_by_l1(work.network, self.data.image_shape, keep, scope)
        except (ModelError, OptionError) as error:
            raise MethodError(f"prune: {error}") from error
        self._recalibrate(network, kept_anchors(self._anchors(work.network), graph, masks))
        return network

    def structures(self, model: nn.Module) -> list[dict[str, int]]:
        """See ``Task``: filters."""
        return [{"filters": layer.out_channels} for layer in model.modules() if isinstance(layer, nn.Conv2d)]

    def flops(self, model: nn.Module) -> int | None:
        """See ``Task``."""
        return count_flops(model, self.data.image_shape)

    def _anchors(self, model: nn.Module) -> Anchors:
        with pinned(self.threads):
            return take_anchors(
                copy.deepcopy(model).to(self.device), self.splits.calibration, self.data.mean, self.data.std
            )

    def _recalibrate(self, model: nn.Module, anchors: Anchors) -> None:
        with pinned(self.threads):
            recalibrate(model.to(self.device), self.splits.calibration, self.data.mean, self.data.std, anchors=anchors)

    def _normalised(self, images: Tensor) -> Tensor:
        return normalise(images, self.data.mean, self.data.std)


def _batches(images: Tensor | LazyImages) -> Iterator[Tensor]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def build_network(base: Mapping[str, Any], own: nn.Module | None = None) -> nn.Module:
    """The module tree that a saved network's tensors fill: the original, or the student, untrained.

    Args:
        base: what it is made from.
        own: the original, where it was given as an object.

    Raises:
        ModelError: it was, and is not given.
    """
    student = str(base.get("student", ""))
    own_form = not student or is_thin(student) or student.partition(":")[0] == OURS
    if own_form and base.get(OBJECT):
        if own is None:
            raise ModelError(f"{base['model']} was given as an object: give model=network")
        return plain(own).model
    return build(base["model"] if own_form else student, len(base["classes"]), stem=base["stem"])


def untrained(base: Mapping[str, Any], seed: int, own: nn.Module | None = None) -> nn.Module:
    """A student that is no front member, with random weights drawn from ``seed``.

    ``own`` is as ``build_network`` has it.

    Raises:
        ModelError, OptionError: there is none of that name.
    """
    student = str(base["student"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(base, own)
        if is_thin(student):
            channels, height, width = base["image_shape"]
            return thin_student(network, (channels, height, width), student)
        return network


def check_student(name: str, stem: str, member: Callable[[str], object] | None) -> None:
    """Refuse the name of a student that no image task has, without the data.

    Args:
        name: as ``ImageTask.student`` takes it.
        stem: first layers of ``resnet18``.
        member: raises where a front has no member by a rule; None without a run.

    Raises:
        OptionError: there is no such student.
        MethodError: ``ours`` without a run.
    """
    first, _, rest = name.partition(":")
    if first == OURS:
        _front(name, member)(rest)
        return
    try:
        if is_thin(name):
            thin_share(name)
            return
        check_name(name, stem=stem)
    except (ModelError, OptionError) as error:
        raise _unknown_student(name, error) from error


def _front(name: str, member: Callable[[str], Found] | None) -> Callable[[str], Found]:
    if member is None:
        raise MethodError(f"the student {name} is a front member: give --run RUN")
    return member


def _unknown_student(name: str, error: Exception) -> OptionError:
    return OptionError(f"unknown student {name!r} ({error}): choose one of {', '.join(STUDENTS)}")
