"""What candidates are measured on: images of classes, or whatever a caller's own task is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from gaprune.data import ImageSet, interleaved
from gaprune.evaluate.attack import ATTACKED, Robustness, robustness
from gaprune.evaluate.measurement import Answers, Measurement, measure
from gaprune.evaluate.racing import Floor, Race, read_marks
from gaprune.evaluate.scored import Scored
from gaprune.prune import Anchors, Graph, Masks, Recalibrator

Measured = Measurement | Scored
"""What measuring a network gives: of images, or of a caller's own task."""


@dataclass(frozen=True)
class FitnessTask:
    """What candidates are measured on.

    Attributes:
        search: the images that fitness is measured on.
        calibration: the images that batch norm is recalibrated on; labels unused.
        mean: per channel mean of the pixels, for normalisation.
        std: per channel standard deviation of the same.
        classes: number of classes.
        batch_size: images a forward pass; pinned, because results depend on it in the last digits.
        half: whether fitness is measured in bfloat16. Networks that are handed out stay in float32.
        racing: confidence with which a candidate must be worse than a known network that costs no more, for
            measuring to stop; 1 waits for certainty. Below 1 the search images must stand in an order that is fair
            to all classes.
        answers: what the original says of the search images, where the divergence from it is asked for.
    """

    search: ImageSet
    calibration: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    batch_size: int = 256
    half: bool = False
    racing: float = 1.0
    answers: Answers | None = None

    @property
    def device_type(self) -> str:
        """Where networks run."""
        return self.search.images.device.type

    def recalibrator(self, graph: Graph, anchors: Anchors | None) -> Recalibrator:
        """What measures batch norm anew on the calibration images."""
        return Recalibrator(self.calibration, self.mean, self.std, self.batch_size, graph, anchors)

    def unmeasured(self) -> Measurement:
        """Of a candidate that nobody need measure: all that is known is a bound."""
        return Measurement(len(self.search), len(self.search), 0.0, bound=True)

    def measured(self, network: nn.Module, floor: Floor | None = None, raced: str | None = None) -> Measurement:
        """A network on the search images.

        Args:
            network: in eval mode, on their device.
            floor: where measuring stops at a bound; ``None`` where it does not.
            raced: the objective by which it races.
        """
        race = None
        if raced is not None and floor is not None:
            rival = None if floor.rival is None else read_marks(floor.rival, raced, len(self.search))
            race = Race(raced, 1 - self.racing, rival, floor.value)
        return measure(
            network,
            self.search,
            self.mean,
            self.std,
            batch_size=self.batch_size,
            at_least=0.0 if floor is None else floor.accuracy,
            race=race,
            answers=self.answers,
        )

    def attack(self, network: nn.Module) -> Robustness:
        """Accuracy of a network under attack, on some of the search images, all classes among them, in float32."""
        images = self.search
        if len(images) > ATTACKED:
            images = images.select(_few(images.labels, ATTACKED))
        return robustness(network, images, self.mean, self.std, batch_size=self.batch_size)


class Fitness(Protocol):
    """What candidates are measured on and by: ``FitnessTask`` of images, ``ScoredBy`` of a caller's own task."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def device_type(self) -> str:
        """Where networks run."""
        ...

    @property
    def half(self) -> bool:
        """Whether fitness is measured in bfloat16."""
        ...

    @property
    def racing(self) -> float:
        """Confidence with which measuring stops; 1 waits for certainty."""
        ...

    def recalibrator(self, graph: Graph, anchors: Anchors | None) -> Callable[[nn.Module, Masks], None]:
        """What measures batch norm anew."""
        ...

    def unmeasured(self) -> Measured:
        """Of a candidate that nobody need measure."""
        ...

    def measured(self, network: nn.Module, floor: Floor | None = None, raced: str | None = None) -> Measured:
        """A network in eval mode."""
        ...

    def attack(self, network: nn.Module) -> Robustness:
        """A network under attack."""
        ...


def _few(labels: Tensor, count: int) -> Tensor:
    """(count,) places of images that hold the classes in proportion, ascending: folders stand class by class."""
    return interleaved(labels, seed=0)[:count].sort().values.to(labels.device)
