"""The seam: what a compression method takes and gives, and what differs between images and texts.

A chain starts with the ``Work`` of the trained original. Each ``Method`` takes the work of the one before and gives
a new one, which runs and saves. What the data are, how a network is trained on them and how it is judged is the
``Task``'s business; the methods know none of it.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from gaprune.compress.runners import Inputs, Predict, Runner, TorchRunner
from gaprune.errors import MethodError
from gaprune.progress import SILENT, Reporter

__all__ = ["Inputs", "Method", "Outline", "Predict", "Session", "Step", "Student", "Task", "Work", "layer_kinds"]

CONVOLUTIONS, LINEAR, EMBEDDINGS = "convolutions", "linear layers", "embeddings"
"""What a method may apply to."""

_KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    CONVOLUTIONS: (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    LINEAR: (nn.Linear, nn.RNNBase),
    EMBEDDINGS: (nn.Embedding, nn.EmbeddingBag),
}


class Task(Protocol):
    """Data, training and judgement of one network's job. Networks take inputs by position and give (N, classes) logits.

    Attributes:
        name: for tables, such as ``vgg16 on cifar10``.
        device: where networks are trained and judged, where they can.
        input_names: names of the inputs, for exported files.
        varying: by input name, its axes beside the first (samples) whose length varies, each with a name.
        criterion: what ``pruned`` ranks structures by: ``l1`` or ``taylor``.
        own: the original, where it was given as an object, for its form.
    """

    name: str
    device: torch.device
    criterion: str
    input_names: tuple[str, ...]
    varying: Mapping[str, Mapping[int, str]]
    own: nn.Module | None

    @property
    def named(self) -> tuple[str, ...]:
        """Networks that the user has named, whose modules may be imported."""
        ...

    def inputs(self, count: int) -> Inputs:
        """Real inputs of ``count`` samples on the CPU: for timing, tracing and export."""
        ...

    def calibration(self) -> Iterator[Inputs]:
        """Batches of training inputs on the CPU, without labels: for ranges of activations."""
        ...

    def evaluate(self, predict: Predict, device: torch.device) -> dict[str, float]:
        """Metrics on the test set, at least ``accuracy`` and ``f1`` (macro), 0 to 1; inputs are fed on ``device``."""
        ...

    def fit(
        self, model: nn.Module, *, fresh: bool, share: float, directory: Path | None, reporter: Reporter
    ) -> dict[str, Any]:
        """Train in place on ``device``: labels, and the original's answers where the task distils. Ends in eval mode.

        Args:
            model: float32, on the CPU or ``device``; left on ``device``. Weights pruned to zero get zero gradients (the
                caller hooks them), so optimizers must leave a zero with zero gradient at zero.
            fresh: whether it starts from random weights (a student) rather than from trained ones.
            share: of the passes over the training data that a row may spend on training.
            directory: where an interrupted training goes on from; None saves nothing.
            reporter: told how it goes.

        Returns:
            JSON values: at least ``passes``, over the training data.
        """
        ...

    def settle(self, model: nn.Module, before: nn.Module) -> None:
        """Measure batch-norm statistics anew on the calibration inputs, in place; nothing for networks without.

        Args:
            model: on ``device``, its batch norms as wide as those of ``before``.
            before: the network that it was made from, whose norms say what those of ``model`` should give.
        """
        ...

    def students(self) -> tuple[str, ...]:
        """Names of the student networks, the default first."""
        ...

    def student(self, name: str) -> Student:
        """An untrained student, and the task as it sees it."""
        ...

    def pruned(self, work: Work, keep: float, scope: str) -> nn.Module:
        """A copy of the network with the structures really removed that are least by the task's criterion, settled.

        Args:
            work: a network of torch modules.
            keep: share of the structures (filters; heads and feed-forward neurons) that stay.
            scope: ``uniform`` (the same share everywhere) or ``global`` (one ranking).

        Raises:
            MethodError: the network has nothing that may be removed.
        """
        ...

    def structures(self, model: nn.Module) -> list[dict[str, int]]:
        """By layer, first to last, how many structures of each kind there are that ``pruned`` removes."""
        ...

    def flops(self, model: nn.Module) -> int | None:
        """FLOPs of one sample as fvcore counts them; None where that is not known."""
        ...


@dataclass(frozen=True)
class Student:
    """A small network to distil into.

    Attributes:
        model: on the CPU.
        task: how it sees the data: its inputs may be others than the teacher's.
        base: JSON values that ``storage`` builds its untrained twin from; ``builder`` names who can, and ``student``
            is its name.
        trained: whether it brings weights that are worth keeping.
    """

    model: nn.Module
    task: Task
    base: dict[str, Any]
    trained: bool = False


@dataclass(frozen=True)
class Step:
    """What one method of a chain did: its text, and a report of JSON values."""

    method: str
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outline:
    """What is known of a work before it is made: enough to refuse a chain early.

    Attributes:
        kind: of the runner: ``torch`` modules, or ``onnx`` files.
        methods: names of the methods so far; empty for the original.
        layers: the kinds of layers in the network; None where they are not known yet.
        zeros: whether single weights were set to zero.
        criterion: what the task ranks structures by; None where that is not known yet.
        check_student: raises ``OptionError`` or ``MethodError`` for a name that the task has no student of; None where
            that is not known.
    """

    kind: str = "torch"
    methods: tuple[str, ...] = ()
    layers: frozenset[str] | None = None
    zeros: bool = False
    criterion: str | None = None
    check_student: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Work:
    """What goes through a chain.

    Attributes:
        runner: the model as it runs and saves.
        task: how its network sees the data.
        base: JSON values that the untrained network is built from, ``builder`` naming who can (see ``storage``).
        params: number of parameters (of a quantized network: of the one that was quantized).
        flops: of one sample, likewise; None where not known.
        steps: what was done, in order.
    """

    runner: Runner
    task: Task
    base: dict[str, Any]
    params: int
    flops: int | None
    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, model: nn.Module, task: Task, base: dict[str, Any], steps: Sequence[Step] = ()) -> Work:
        """The work that is a network of torch modules, in eval mode."""
        model.eval()
        params = sum(parameter.numel() for parameter in model.parameters())
        return cls(TorchRunner(model), task, base, params, task.flops(model), tuple(steps))

    @property
    def network(self) -> nn.Module:
        """The torch modules.

        Raises:
            MethodError: there are none any more.
        """
        if not isinstance(self.runner, TorchRunner):
            raise MethodError(f"{self.text or 'the network'} is no network of torch modules any more")
        return self.runner.model

    @property
    def text(self) -> str:
        """The chain so far, such as ``distill+tucker``; empty for the original."""
        return "+".join(step.method for step in self.steps)

    @property
    def outline(self) -> Outline:
        """What methods are checked against."""
        names = tuple(step.method.split(":")[0] for step in self.steps)
        layers = layer_kinds(self.runner.model) if isinstance(self.runner, TorchRunner) else None
        zeros = any("magnitude" in step.method for step in self.steps)
        return Outline(self.runner.kind, names, layers, zeros, self.task.criterion)

    def then(self, model: nn.Module, method: str, report: dict[str, Any]) -> Work:
        """The work after one more step that gave a network of torch modules."""
        return Work.of(model, self.task, self.base, (*self.steps, Step(method, report)))

    def run_by(self, runner: Runner, method: str, report: dict[str, Any]) -> Work:
        """The work after one more step that gave another way to run the same network."""
        return dataclasses.replace(self, runner=runner, steps=(*self.steps, Step(method, report)))


@dataclass(frozen=True)
class Session:
    """Where and how a method works.

    Attributes:
        share: of a row's training passes that this step may spend; the training steps of a chain share them evenly.
        directory: for states of a training, this step's own; None saves nothing.
        reporter: told how it goes.
    """

    share: float = 1.0
    directory: Path | None = None
    reporter: Reporter = SILENT


class Method(ABC):
    """One way to compress, with its settings. Made from its text, such as ``tucker:size=0.5:raw``, by ``chain``.

    Attributes:
        name: as written in chains.
        text: with the settings, as it was written.
        trains: whether ``apply`` spends training passes.
        applies_to: kinds of layers; a network must have one of them. Empty where any network will do.
        devices: where its result runs.
    """

    name: ClassVar[str]
    text: str
    trains: bool = False
    applies_to: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")

    @abstractmethod
    def apply(self, work: Work, session: Session) -> Work:
        """Do it. ``work`` stays as it is.

        Raises:
            MethodError: it does not apply.
        """

    def check(self, outline: Outline) -> None:
        """Refuse what cannot work before anything runs; methods add their own reasons.

        Raises:
            MethodError: with the reason.
        """
        if outline.kind != "torch":
            before = outline.methods[-1]
            state = "the weights are 8-bit integers in a file" if before == "quantize" else "the network is a file"
            raise MethodError(
                f"{self.name} cannot follow {before}: after {before} {state}, which nothing factors, prunes, trains or "
                f"quantizes; write {self.name} before {before}"
            )
        if "sparse" in outline.methods:
            raise MethodError(f"{self.name} cannot follow sparse, which is how the file is stored: write sparse last")
        if self.applies_to and outline.layers is not None and not outline.layers & set(self.applies_to):
            wanted = " or ".join(self.applies_to)
            raise MethodError(f"{self.text} applies to {wanted}, and the network has none")

    def after(self, outline: Outline) -> Outline:
        """What is known of the result."""
        return dataclasses.replace(outline, methods=(*outline.methods, self.name))


def layer_kinds(model: nn.Module) -> frozenset[str]:
    """The kinds of layers that a network has."""
    modules = tuple(model.modules())
    return frozenset(kind for kind, types in _KINDS.items() if any(isinstance(m, types) for m in modules))
