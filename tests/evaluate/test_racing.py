from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gaprune.data.images import ImageSet
from gaprune.evaluate import Constraints, Floor, Floors, Outcome, Race, expected_matrix, measure, resolve_objectives
from gaprune.evaluate.evaluator import raced_by
from gaprune.evaluate.racing import KINDS, chance_of_no_worse, read_marks, rungs, write_marks
from gaprune.genome import Floats, Genome

MEAN, STD = (0.0,), (1.0,)
MARKS = st.lists(st.floats(0, 100, width=16), min_size=1, max_size=40)


@given(st.lists(st.booleans(), max_size=40))
def test_right_and_wrong_come_back_from_one_bit_an_image(wrong: list[bool]) -> None:
    each = np.array(wrong, dtype=np.float64)
    np.testing.assert_array_equal(read_marks(write_marks(each, "accuracy"), "accuracy", len(each)), each)


@given(MARKS)
def test_losses_come_back_as_they_are_in_16_bits(losses: list[float]) -> None:
    each = np.array(losses)
    np.testing.assert_array_equal(read_marks(write_marks(each, "loss"), "loss", len(each)), each)


def test_a_loss_beyond_16_bits_stays_finite() -> None:
    assert np.isfinite(read_marks(write_marks(np.array([1e9, 3.0]), "loss"), "loss", 2)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_marks_of_other_images_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="not of 40 images"):
        read_marks(write_marks(np.zeros(20), kind), kind, 40)


@pytest.mark.parametrize(
    ("total", "batch_size", "expected"),
    [(2000, 256, (256, 512, 1024)), (4000, 256, (256, 512, 1024, 2048)), (256, 256, ()), (1000, 100, (300, 600))],
)
def test_rungs_double_and_lie_at_the_ends_of_batches(total: int, batch_size: int, expected: tuple[int, ...]) -> None:
    assert rungs(total, batch_size) == expected


def drawn(kind: str, behind: float, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """What two networks get on each of many images, the first one worse by ``behind`` of all images or of a nat."""
    if kind == "accuracy":
        rival = (rng.random(count) < 0.2).astype(float)
        flips = rng.random(count)
        each = np.where(flips < 0.1, 1 - rival, rival)
        each[rng.permutation(np.flatnonzero(each == 0))[: round(behind * count + rival.sum() - each.sum())]] = 1
        surplus = round(each.sum() - rival.sum() - behind * count)
        each[rng.permutation(np.flatnonzero(each == 1))[: max(surplus, 0)]] = 0
        return each, rival
    rival = rng.exponential(0.6, count)
    apart = rng.gamma(0.3, 0.5, count) - rng.gamma(0.3, 0.5, count)
    return rival + apart - apart.mean() + behind, rival


def dropped(kind: str, behind: float, risk: float, races: int = 400) -> float:
    """Share of races over 2,000 images that are given up."""
    rng, found = np.random.default_rng(7), 0
    looks = rungs(2000, 256)
    for _ in range(races):
        each, rival = drawn(kind, behind, rng, 2000)
        order = rng.permutation(2000)
        race = Race(kind, risk, rival[order], 0.8)
        found += any(race.behind(each[order][:seen], len(looks)) is not None for seen in looks)
    return found / races


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_worse_is_dropped_no_more_often_than_the_risk_says(kind: str) -> None:
    assert dropped(kind, 0.0, risk=0.1) <= 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_far_worse_is_dropped(kind: str) -> None:
    assert dropped(kind, 0.1, risk=0.01, races=50) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_equal_networks_say_nothing(kind: str) -> None:
    assert chance_of_no_worse(np.zeros(300), kind) == 1.0


def known(wrong: int, count: int = 1024) -> tuple[nn.Module, ImageSet]:
    """A network that is wrong on every image whose number is below ``wrong``, in an order that hides them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    pixels = torch.stack([order % 256, order // 256], 1).to(torch.uint8).view(-1, 1, 1, 2)

    class Known(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            number = x[:, 0, 0, 0] + 256 * x[:, 0, 0, 1]
            return torch.stack([number - wrong + 0.5, torch.zeros_like(number)], 1) / 100

    return Known(), ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_race_is_a_bound_that_the_rival_dominates(kind: str) -> None:
    better, images = known(100)
    whole = measure(better, images, MEAN, STD, race=Race(kind, 0.01))
    assert whole.each is not None
    assert not whole.bound
    value = whole.accuracy if kind == "accuracy" else whole.loss
    race = Race(kind, 0.01, whole.each, value)
    assert not measure(better, images, MEAN, STD, race=race).bound  # it is its own equal
    worse, _ = known(400)
    alone = measure(worse, images, MEAN, STD)
    found = measure(worse, images, MEAN, STD, race=race)
    assert (found.bound, found.seen) == (True, 256)
    assert found.each is None
    if kind == "accuracy":
        assert found.accuracy < whole.accuracy
        assert found.likely == pytest.approx(alone.accuracy, abs=0.05)
    else:
        assert found.loss > whole.loss
        assert found.loss == pytest.approx(alone.loss, rel=0.2)


def test_what_a_race_measures_to_the_end_is_what_is_measured_without_one() -> None:
    network, images = known(300, 700)
    rival = np.ones(700)
    assert measure(network, images, MEAN, STD, race=Race("accuracy", 0.01, rival, 0.0)) == measure(
        network, images, MEAN, STD
    )


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (("accuracy", "flops"), "accuracy"),
        (("params", "loss", "flops"), "loss"),
        (("accuracy", "loss", "flops"), None),
        (("flops", "size"), None),
    ],
)
def test_candidates_race_by_the_one_objective_that_is_measured(objectives: tuple[str, ...], expected: str) -> None:
    assert raced_by(resolve_objectives(objectives)) == expected


class Priced:
    """Of an evaluator what floors need; a genome is its FLOPs, in tenths."""

    def __init__(self, objective: str) -> None:
        self.objectives = resolve_objectives((objective, "flops"))
        self.constraints = Constraints()
        self.raced = raced_by(self.objectives)

    def prices(self, genome: Genome) -> dict[str, float]:
        return {"flops": genome.packed[0] / 10}


def outcome(objective: str, value: float, minimised: float, flops: float, **marks: Any) -> Outcome:
    found = {objective: minimised, "flops": flops}
    return Outcome(f"{value} {flops}", {objective: value}, found, 0.0, **marks)


def test_the_rival_is_the_best_of_those_that_cost_no_more_and_have_marks() -> None:
    evaluator: Any = Priced("loss")
    found = Floors(evaluator)
    assert found([Genome(b"\x05")]) == [Floor()]
    found.learn([outcome("loss", 0.9, 0.4, 0.2, marks="a"), outcome("loss", 0.5, 0.2, 0.4, marks="b")])
    found.learn([outcome("loss", 0.1, 0.05, 0.1), outcome("loss", 0.2, 0.1, 0.1, marks="c", bound=True)])
    assert found([Genome(b"\x01"), Genome(b"\x03"), Genome(b"\x09")]) == [
        Floor(),
        Floor(0.0, "a", 0.9),
        Floor(0.0, "b", 0.5),
    ]


def test_which_of_equal_rivals_is_taken_does_not_depend_on_the_order_of_the_log() -> None:
    """With workers the log has outcomes as they came, and what goes on reads it in that order."""
    first, second = (outcome("accuracy", 0.9, 0.1, flops, marks=str(flops)) for flops in (0.2, 0.3))
    found = []
    for order in ([first, second], [second, first]):
        evaluator: Any = Priced("accuracy")
        floors = Floors(evaluator)
        floors.learn(order)
        found.append(floors([Genome(b"\x05")]))
    assert found[0] == found[1] == [Floor(0.9, "0.2", 0.9)]


def test_a_loss_of_which_nothing_was_seen_teaches_nothing() -> None:
    unseen = outcome("loss", 0.0, 0.0, 0.9, bound=True)
    lost = outcome("loss", 0.8, 0.4, 0.9, bound=True, likely=0.5)
    told = expected_matrix([unseen, lost], ("loss", "flops"))
    assert np.isnan(told[0, 0])
    assert told[1].tolist() == [0.4, 0.9]


def test_with_accuracy_there_is_a_certain_floor_beside_the_rival() -> None:
    evaluator: Any = Priced("accuracy")
    found = Floors(evaluator)
    found.learn([outcome("accuracy", 0.9, 0.1, 0.2, marks="a")])
    assert found([Genome(b"\x03")]) == [Floor(0.9, "a", 0.9)]
