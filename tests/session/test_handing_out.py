"""What a search hands out: finds only where fresh images bear them out, else rungs of the ladder."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gaprune.data import ImageSet
from gaprune.evaluate import Outcome
from gaprune.genome import Genome
from gaprune.options import SearchOptions
from gaprune.session import handing_out
from gaprune.session.handing_out import Candidate, Judge, Place, _FreshImages, finalists, of_place, surest


def candidate(name: int, cost: float, fitness: float) -> Candidate:
    genome = Genome(bytes([name]))
    return Candidate(genome, Outcome(genome.key, {}, {}, 0.0), fitness, cost)


FIRST = [candidate(0, 0.5, 0.2), candidate(1, 0.25, 0.4), candidate(2, 0.1, 0.6)]
TUNED = [candidate(10, 0.501, 0.19), candidate(11, 0.249, 0.39), candidate(12, 0.1, 0.61)]


def named(places: list[Place]) -> list[list[int]]:
    return [[one.genome.packed[0] for one in place.candidates] for place in places]


@pytest.mark.parametrize(
    ("front", "rungs", "found"),
    [
        ([], FIRST, [[2], [1], [0]]),
        ([], [*FIRST, *TUNED], [[2, 12], [1, 11], [0, 10]]),
        (FIRST, [*FIRST, *FIRST], [[2], [1], [0]]),
        ([candidate(20, 0.2, 0.3)], FIRST, [[2], [1, 20], [0]]),
        ([candidate(20, 0.2, 0.45)], FIRST, [[2], [1], [0]]),  # no better than the rung that costs more
        ([candidate(20, 0.2, 0.3), candidate(21, 0.24, 0.25)], [*FIRST, *TUNED], [[2, 12], [1, 11, 21], [0, 10]]),
        ([candidate(20, 0.8, 0.1)], FIRST, [[2], [1], [0], [20]]),
        ([candidate(20, 0.05, 0.7)], FIRST, [[2], [1], [0]]),  # worse than the rung at its place
        ([candidate(20, 0.3, 0.1)], [], [[20]]),
    ],
)
def test_each_place_has_its_rungs_and_the_best_find_that_seems_better(
    front: list[Candidate], rungs: list[Candidate], found: list[list[int]]
) -> None:
    assert named(finalists(front, rungs)) == found


def told(table: dict[int, list[float] | None]) -> Judge:
    def judge(one: Candidate) -> Tensor | None:
        found = table[one.genome.packed[0]]
        return None if found is None else torch.tensor(found)

    return judge


LADDER, OTHER, FIND = FIRST[0], TUNED[0], candidate(20, 0.45, 0.1)


@pytest.mark.parametrize(
    ("place", "table", "winner"),
    [
        (Place((LADDER,), FIND), {0: [1, 1, 1, 1], 20: [0.5, 0.6, 0.5, 0.4]}, FIND),
        (Place((LADDER,), FIND), {0: [1, 1, 1, 1], 20: [0.0, 2.0, 0.1, 1.8]}, LADDER),  # ahead by chance alone
        (Place((LADDER,), FIND), {0: [1, 1, 1, 1], 20: [2, 2, 2, 2]}, LADDER),
        (Place((LADDER, OTHER), None), {0: [1, 1, 1, 1], 10: [0.0, 2.0, 0.1, 1.8]}, OTHER),  # nobody chose it
        (Place((LADDER, OTHER), None), {0: [1, 1, 1, 1], 10: [1, 1, 1, 1]}, LADDER),
        (Place((LADDER, OTHER), FIND), {0: [4, 4], 10: [1, 1], 20: [2, 2]}, OTHER),
        (Place((LADDER,), FIND), {0: [1], 20: [0.5]}, FIND),
        (Place((LADDER,), FIND), {0: None, 20: [2, 2]}, FIND),  # what fails is passed over
        (Place((LADDER, OTHER), FIND), {0: [1, 1], 10: None, 20: [0, 0]}, FIND),
        (Place((LADDER,), FIND), {0: [1, 1], 20: None}, LADDER),
        (Place((LADDER, OTHER), FIND), {0: None, 10: None, 20: None}, LADDER),
    ],
)
def test_a_find_must_be_surely_better_and_a_rung_better(
    place: Place, table: dict[int, list[float] | None], winner: Candidate
) -> None:
    assert surest(place, told(table)) is winner


def test_a_round_budget_is_filled_by_what_is_ahead_of_its_last_place() -> None:
    """A rung at 9.8% of the FLOPs is not all that may be had for 10%."""
    rungs = [candidate(0, 0.5, 0.2), candidate(1, 0.24, 0.4), candidate(2, 0.098, 0.6)]
    front = [
        candidate(20, 0.0985, 0.59),
        candidate(21, 0.0999, 0.55),  # the best for 10%
        candidate(22, 0.1001, 0.54),
        candidate(23, 0.19, 0.45),  # the best for 20%
        candidate(24, 0.26, 0.39),  # the best for 30%, and for 40%
        candidate(25, 0.245, 0.41),  # no better than its place
    ]
    found = finalists([*front, candidate(26, 0.6, 0.1), candidate(27, 0.69, 0.05)], rungs)
    assert named(found) == [[2], [1], [0], [26], [27]]  # beyond the last rung all have places of their own
    assert [[one.genome.packed[0] for one in place.beyond] for place in found] == [[21, 22, 23], [24], [], [], []]


def test_what_is_beyond_a_place_need_not_be_ahead_of_its_find() -> None:
    """Fresh images may turn the find down."""
    place, _ = finalists([candidate(20, 0.097, 0.5), candidate(21, 0.0999, 0.55)], [FIRST[1], candidate(2, 0.098, 0.6)])
    assert (place.find, place.beyond) == (candidate(20, 0.097, 0.5), (candidate(21, 0.0999, 0.55),))


@pytest.mark.parametrize(
    ("table", "chosen"),
    [
        ({0: [1, 1], 20: [1, 1], 21: [0.5, 0.4], 22: [0.3, 0.2]}, [0, 21, 22]),
        ({0: [1, 1], 20: [0.3, 0.2], 21: [0.5, 0.4], 22: [0.3, 0.2]}, [20]),  # beaten by what costs less
        ({0: [1, 1], 20: [1, 1], 21: [0.0, 2.2], 22: [0.3, 0.2]}, [0, 22]),  # ahead by chance alone
        ({0: [1, 1], 20: [1, 1], 21: None, 22: None}, [0]),
    ],
)
def test_what_costs_more_must_be_surely_better_than_all_before(
    table: dict[int, list[float] | None], chosen: list[int]
) -> None:
    place = Place((LADDER,), FIND, (candidate(21, 0.47, 0.09), candidate(22, 0.49, 0.08)))
    assert [one.genome.packed[0] for one in of_place(place, told(table))] == chosen


@pytest.mark.parametrize("later", [False, True])
def test_all_searches_of_a_run_compare_with_the_answers_of_the_true_original(later: bool) -> None:
    """A later search begins with another network, whose answers are not what is asked for."""
    torch.manual_seed(0)
    first, second = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval() for _ in range(2))
    images = ImageSet(torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8), torch.arange(20) % 3)
    job: Any = SimpleNamespace(
        options=SearchOptions(),
        data=SimpleNamespace(image_shape=(3, 8, 8), flip=True),
        splits=SimpleNamespace(calibration=images),
        threads=1,
        baseline=SimpleNamespace(model=second if later else first),
        true_original=first if later else None,
        original=SimpleNamespace(flops=100),
        evaluator=SimpleNamespace(
            images=SimpleNamespace(mean=(120.0,) * 3, std=(60.0,) * 3, batch_size=8),
            costs=lambda genome: SimpleNamespace(flops=90),
            network=lambda genome: first,
        ),
    )
    assert float(_FreshImages(job)(FIRST[0]).abs().max()) < 1e-6


def test_rungs_at_one_place_may_be_compared_on_unlike_many_images() -> None:
    """What costs more than a small network may is looked at on the first images alone."""
    table = {0: [0.5, 0.5, 0.5], 10: [0.4, 0.4, 0.4, 9.0, 9.0]}
    assert surest(Place((FIRST[0], TUNED[0]), None), told(table)) == TUNED[0]


@pytest.mark.parametrize(("flops", "count"), [(10, 4), (90, 2)])
def test_small_networks_are_compared_on_more_images(monkeypatch: pytest.MonkeyPatch, flops: int, count: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval()
    images = ImageSet(torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8), torch.arange(20) % 3)
    job: Any = SimpleNamespace(
        options=SearchOptions().but(calibration_size=10),
        data=SimpleNamespace(image_shape=(3, 8, 8), flip=True),
        splits=SimpleNamespace(calibration=images),
        threads=1,
        baseline=SimpleNamespace(model=network),
        true_original=None,
        original=SimpleNamespace(flops=100),
        evaluator=SimpleNamespace(
            images=SimpleNamespace(mean=(120.0,) * 3, std=(60.0,) * 3, batch_size=8),
            costs=lambda genome: SimpleNamespace(flops=flops),
            network=lambda genome: network,
        ),
    )
    monkeypatch.setattr(handing_out, "FRESH", 4)
    monkeypatch.setattr(handing_out, "OF_LARGE", 2)
    assert len(_FreshImages(job)(FIRST[0])) == count
    monkeypatch.setattr(handing_out, "FRESH_PIXELS", 3 * 8 * 8)  # large images: fewer, but no fewer than of large ones
    assert len(_FreshImages(job)(FIRST[0])) == min(count, 3)
    monkeypatch.setattr(handing_out, "FRESH_PIXELS", 3 * 8 * 8 * 100)
    job.options = SearchOptions().but(calibration_size=17)  # batch norm's are left out, while there are others
    assert len(_FreshImages(job)(FIRST[0])) == min(count, 3)


@pytest.mark.parametrize(("flops", "polish", "exact"), [(10, True, True), (10, False, False), (90, True, False)])
def test_small_networks_that_will_be_polished_are_compared_polished(
    monkeypatch: pytest.MonkeyPatch, flops: int, polish: bool, exact: bool
) -> None:
    """Polish makes the original of a network here; without it, it has another one's answers."""
    torch.manual_seed(0)
    original, other = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval() for _ in range(2))
    images = ImageSet(torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8), torch.arange(20) % 3)
    job: Any = SimpleNamespace(
        options=SearchOptions().but(polish=polish),
        data=SimpleNamespace(image_shape=(3, 8, 8), flip=True),
        splits=SimpleNamespace(calibration=images),
        threads=1,
        baseline=SimpleNamespace(model=original),
        true_original=None,
        original=SimpleNamespace(flops=100),
        evaluator=SimpleNamespace(
            images=SimpleNamespace(mean=(120.0,) * 3, std=(60.0,) * 3, batch_size=8),
            space=SimpleNamespace(masks=lambda genome: None),
            costs=lambda genome: SimpleNamespace(flops=flops),
            network=lambda genome: copy.deepcopy(other),
            compacted=lambda masks: copy.deepcopy(other),
        ),
    )
    polished: Any = lambda network, masks: network.load_state_dict(original.state_dict())  # noqa: E731
    monkeypatch.setattr(handing_out, "make_polisher", lambda job, say: polished)
    assert (float(_FreshImages(job)(FIRST[0]).abs().max()) < 1e-6) == exact
