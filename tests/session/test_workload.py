"""Time left goes by what candidates cost, which is known before."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.progress import Pace, make_reporter
from gaprune.session.workload import Pieces, Workload

COSTS = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
"""Shares of FLOPs, smallest first, as a front is built."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def seconds(cost: float) -> float:
    return 2.0 + 60.0 * cost


def test_time_left_of_a_front_that_ends_with_its_largest_members_is_right_after_half_of_them() -> None:
    clock, work = Clock(), Workload()
    by_cost, by_count = Pace(len(COSTS), clock), Pace(len(COSTS), clock)
    for place, cost in enumerate(COSTS):
        clock.now += seconds(cost)
        work.note(cost, seconds(cost))
        by_cost.advance(1, work.share(Pieces.of(COSTS[place + 1 :])))
        by_count.advance(1)
        left = sum(map(seconds, COSTS[place + 1 :]))
        if 4 <= place < len(COSTS) - 1:
            assert by_cost.left() == pytest.approx(left, rel=0.01)
        if place == 4:
            by_count_left = by_count.left()
            assert by_count_left is not None
            assert by_count_left < left / 3, "counting members is far off"
    assert by_cost.worth == len(COSTS)


def test_a_line_says_time_left_by_share_and_counts_steps() -> None:
    clock, stream = Clock(), io.StringIO()
    with make_reporter(stream, clock=clock).task("front", 10) as task:
        clock.now += 30.0
        task.advance(1, share=0.25)
    assert stream.getvalue().splitlines()[1] == "front: 1 of 10, 1 min 30 s left"


def test_where_seconds_do_not_hang_on_cost_a_candidate_is_a_candidate() -> None:
    work = Workload()
    for cost in (0.1, 0.9, 0.5, 0.3):
        work.note(cost, 5.0)
    assert work.share(Pieces.of([0.01] * 4)) == 0.5


def test_what_an_earlier_process_did_counts() -> None:
    clock, work = Clock(), Workload(0.5)
    pace = Pace(8, clock)
    assert work.share(Pieces()) == 0.5
    pace.advance(4, work.share(Pieces()))
    clock.now += 10.0
    work.note(0.5, 10.0)
    pace.advance(1, work.share(Pieces.of([0.5, 0.5, 0.5])))
    assert pace.worth == pytest.approx(5.0)
    assert pace.left() == pytest.approx(30.0)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e4)), max_size=20),
    st.lists(st.floats(0, 1), max_size=20),
)
def test_a_share_is_a_share(done: list[tuple[float, float]], left: list[float]) -> None:
    work = Workload()
    for cost, time in done:
        work.note(cost, time)
    assert 0.0 <= work.share(Pieces.of(left)) <= 1.0
    if done and not left:
        assert work.share(Pieces()) in (0.0, 1.0)
