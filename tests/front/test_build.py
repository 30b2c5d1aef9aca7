"""Which of a member's ways is handed out."""

from __future__ import annotations

from torch import nn

from gaprune.evaluate import Measurement
from gaprune.front.build import Built, best


def built(way: str, correct: int, loss: float, violation: float = 0.0, apart: float | None = None) -> Built:
    measured = Measurement(correct, 10, loss, divergence=apart)
    return Built(nn.Identity(), measured, {}, {"loss": loss, "flops": 0.5}, violation, way, None)


def test_the_best_way_is_so_by_the_first_measured_objective_or_by_accuracy() -> None:
    ways = [built("a", 8, 0.5), built("b", 8, 0.4), built("c", 9, 0.6), built("d", 9, 0.4)]
    assert best(ways, ["loss", "accuracy"]).way == "b"
    assert best(ways, []).way == "c"


def test_the_way_that_keeps_to_the_constraints_goes_before() -> None:
    ways = [built("a", 8, 0.3, violation=0.1), built("b", 9, 0.4), built("c", 10, 0.2, violation=0.05)]
    assert best(ways, ["loss"]).way == "b"
    assert best(ways, []).way == "b"
    assert best([ways[0], ways[2]], []).way == "c"


def test_nearness_to_the_original_stands_in_for_accuracy_where_it_is_known_of_all() -> None:
    ways = [built("a", 9, 0.5, apart=0.3), built("b", 8, 0.4, apart=0.2), built("c", 10, 0.3, apart=0.25)]
    assert best(ways, ["accuracy", "flops"]).way == "b"
    assert best(ways, []).way == "b"
    assert best(ways, ["loss"]).way == "c"
    assert best([*ways[:2], built("c", 10, 0.3)], ["accuracy"]).way == "c"
