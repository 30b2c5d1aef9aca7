from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.cluster.dispatch import Dispatcher, Done, Event, GivenUp, Lost, Raised, Ready, longest_first
from gaprune.errors import BackendError


class Simulated:
    """A crew whose jobs are (name, seconds), on a clock of its own.

    Args:
        size: workers that there is room for.
        deaths: the jobs begun, counted from 0, that kill their worker halfway.
        start_up: seconds until a worker is ready.
    """

    def __init__(self, size: int, deaths: frozenset[int] = frozenset(), start_up: float = 0.0) -> None:
        self.size = size
        self.now = 0.0
        self.alive: set[int] = set()
        self.gone: set[int] = set()
        self.order: list[Any] = []
        self.deaths = deaths
        self._start_up = start_up
        self._numbers = itertools.count()
        self._ties = itertools.count()
        self._coming: list[tuple[float, int, Event]] = []
        self._busy_until: dict[int, float] = {}
        self._doomed: set[int] = set()

    def clock(self) -> float:
        return self.now

    def recruit(self, most: int) -> None:
        for _ in range(min(most, self.size) - len(self.alive)):
            worker = next(self._numbers)
            self.alive.add(worker)
            self._later(self._start_up, Ready(worker))

    def verify(self, worker: int) -> None:
        self._later(0.0, Lost(worker, "left") if worker in self.gone else Ready(worker))

    def hand(self, worker: int, job: tuple[Any, float]) -> None:
        if worker in self._doomed:
            return
        name, seconds = job
        ordinal = len(self.order)
        self.order.append(name)
        begin = max(self.now, self._busy_until.get(worker, 0.0)) - self.now
        if ordinal in self.deaths or worker in self.gone:
            self._doomed.add(worker)
            self._later(0.0 if worker in self.gone else begin + seconds / 2, Lost(worker, "killed"))
        elif name == "raises":
            self._later(begin + seconds, Raised(worker, KeyError(name)))
        else:
            self._later(begin + seconds, Done(worker, f"{name} done", seconds))
        self._busy_until[worker] = self.now + begin + seconds

    def wait(self, seconds: float) -> Event | None:
        if not self._coming or self._coming[0][0] > self.now + seconds:
            self.now += seconds
            return None
        self.now, _, event = heapq.heappop(self._coming)
        if isinstance(event, Lost):
            self.alive.discard(event.worker)
        return event

    def dismiss(self, worker: int, reason: str) -> Lost:
        self.alive.discard(worker)
        self._coming = [one for one in self._coming if one[2].worker != worker]
        heapq.heapify(self._coming)
        self._busy_until.pop(worker, None)
        return Lost(worker, reason)

    def trouble(self) -> str:
        return "there is no room"

    def close(self) -> None:
        self.alive.clear()

    def __len__(self) -> int:
        return len(self.alive)

    def _later(self, seconds: float, event: Event) -> None:
        heapq.heappush(self._coming, (self.now + seconds, next(self._ties), event))


def dispatcher(crew: Simulated, retries: int = 2, **options: Any) -> Dispatcher:
    return Dispatcher(crew, retries, clock=crew.clock, **options)


ALWAYS, NEVER = math.inf, 0.0


def run(made: Dispatcher, seconds: list[float]) -> dict[int, Any]:
    found = list(made.run(list(enumerate(seconds)), seconds))
    assert len(found) == len({index for index, _ in found}), "each job once"
    return dict(found)


costs = st.lists(st.floats(0.1, 10.0), max_size=30)


aheads = st.sampled_from([NEVER, 1.0, ALWAYS])


@given(costs, st.integers(1, 8), aheads)
def test_every_job_is_done_once_and_no_schedule_is_worse_than_the_bound_of_greedy_ones(
    seconds: list[float], size: int, ahead: float
) -> None:
    crew = Simulated(size)
    assert run(dispatcher(crew, ahead=ahead), seconds) == {i: f"{i} done" for i in range(len(seconds))}
    longest = max(seconds, default=0.0)
    assert crew.now <= sum(seconds) / size + longest * (1 - 1 / size) + 1e-6


@given(costs, st.integers(1, 4), st.frozensets(st.integers(0, 40), max_size=20), st.integers(0, 3), aheads)
def test_whoever_dies_every_job_has_a_result_or_has_had_all_its_tries(
    seconds: list[float], size: int, deaths: frozenset[int], retries: int, ahead: float
) -> None:
    crew = Simulated(size, deaths)
    made = dispatcher(crew, retries, ahead=ahead)
    found = run(made, seconds)
    assert set(found) == set(range(len(seconds)))
    for index, result in found.items():
        tries = crew.order.count(index)
        assert tries <= retries + 1
        assert result == f"{index} done" or (result == GivenUp("killed") and tries == retries + 1)
    assert made.use.retried == len(crew.order) - len(seconds)


def test_the_longest_goes_first_and_equal_ones_in_their_order() -> None:
    assert longest_first([1.0, 3.0, 2.0, 3.0]) == [1, 3, 2, 0]
    crew = Simulated(1)
    run(dispatcher(crew), [1.0, 3.0, 2.0])
    assert crew.order == [1, 2, 0]


def test_the_worst_case_of_the_longest_first_rule_is_met() -> None:
    """Graham's example: 5, 5, 4, 4, 3, 3, 3 on three workers end at 11, where 9 is possible."""
    crew = Simulated(3)
    run(dispatcher(crew), [5.0, 5.0, 4.0, 4.0, 3.0, 3.0, 3.0])
    assert crew.now == 11.0


def test_a_job_that_kills_its_workers_is_given_up_after_its_retries_and_the_others_go_on() -> None:
    crew = Simulated(1, deaths=frozenset({0, 1, 2}))
    found = run(dispatcher(crew, retries=2), [9.0, 1.0])
    assert found == {0: GivenUp("killed"), 1: "1 done"}
    assert crew.order == [0, 0, 0, 1]


def hangs(crew: Simulated, limit: float, retries: int, **options: Any) -> Dispatcher:
    return dispatcher(crew, retries, limit=lambda: (limit, "too long"), **options)


def test_a_job_that_takes_too_long_is_given_up_after_its_retries_and_the_others_go_on() -> None:
    crew = Simulated(2)
    found = run(hangs(crew, 60.0, retries=1), [1e9, 2.0, 50.0])
    assert found == {0: GivenUp("too long"), 1: "1 done", 2: "2 done"}
    assert crew.order.count(0) == 2
    assert 120 <= crew.now <= 125, "the limit is that of each try"


def test_the_limit_begins_when_a_worker_begins_a_job_and_not_when_it_waits_there() -> None:
    crew = Simulated(1)
    made = hangs(crew, 60.0, retries=0, ahead=ALWAYS)
    run(made, [1.0])
    assert run(made, [50.0, 50.0]) == {0: "0 done", 1: "1 done"}
    assert made.use.lost == 0


def test_a_job_that_waits_at_a_worker_that_is_dismissed_has_lost_no_try() -> None:
    crew = Simulated(1)
    made = hangs(crew, 60.0, retries=0, ahead=ALWAYS)
    run(made, [1.0])
    assert run(made, [1e9, 50.0]) == {0: GivenUp("too long"), 1: "1 done"}


def test_workers_that_left_between_two_runs_cost_a_job_one_try_at_most() -> None:
    crew = Simulated(4)
    made = dispatcher(crew, retries=1)
    run(made, [1.0] * 4)
    crew.gone = set(crew.alive)
    assert run(made, [1.0] * 4) == {i: f"{i} done" for i in range(4)}


def test_a_node_that_takes_busy_and_idle_workers_costs_a_job_one_try() -> None:
    crew = Simulated(4)
    made = dispatcher(crew, retries=1)
    run(made, [1.0] * 4)
    hand = crew.hand

    def hand_and_leave(worker: int, job: tuple[Any, float]) -> None:
        crew.gone |= crew.alive - {worker}
        crew.hand = hand  # type: ignore[method-assign]
        hand(worker, job)

    crew.hand = hand_and_leave  # type: ignore[method-assign]
    crew.deaths = frozenset({4})
    assert run(made, [5.0]) == {0: "0 done"}
    assert crew.order[4:] == [0, 0]
    assert made.use.lost == 4


def test_results_that_should_not_stand_are_tried_again_and_stand_in_the_end() -> None:
    crew = Simulated(1)
    made = dispatcher(crew, retries=2, again=lambda result: "no memory" if result == "0 done" else None)
    assert run(made, [1.0, 0.5]) == {0: "0 done", 1: "1 done"}
    assert crew.order == [0, 0, 0, 1]


def test_workers_that_join_are_used() -> None:
    crew = Simulated(1)
    made = dispatcher(crew)
    steps = made.run([(i, 10.0) for i in range(5)], [10.0] * 5)
    next(steps)
    crew.size = 4
    assert len(list(steps)) == 4
    assert crew.now <= 21.0


def test_a_worker_has_its_next_job_before_the_caller_has_done_with_the_last_result() -> None:
    crew = Simulated(1)
    steps = dispatcher(crew).run([("a", 1.0), ("b", 1.0)], [2.0, 1.0])
    assert next(steps) == (0, "a done")
    assert crew.order == ["a", "b"]


def at_work(crew: Simulated, made: Dispatcher, seconds: list[float]) -> dict[int, list[int]]:
    """Jobs by worker, of a second generation, when the pace is known."""
    run(made, [1.0] * crew.size)
    handed: dict[int, list[int]] = {}
    hand = crew.hand

    def note(worker: int, job: tuple[Any, float]) -> None:
        handed.setdefault(worker, []).append(job[0])
        hand(worker, job)

    crew.hand = note  # type: ignore[method-assign]
    next(made.run(list(enumerate(seconds)), seconds))
    return handed


def test_short_jobs_wait_at_the_worker_that_will_be_done_first() -> None:
    handed = at_work(crew := Simulated(2), dispatcher(crew, ahead=0.5), [3.0, 1.0, 0.5, 0.4, 0.3])
    assert sorted(handed.values()) == [[0], [1, 2, 3]], "the last one goes when it is known who is done first"


def test_long_jobs_wait_here() -> None:
    handed = at_work(crew := Simulated(2), dispatcher(crew, ahead=0.45), [3.0, 1.0, 0.5, 0.4])
    assert sorted(handed.values()) == [[0], [1, 2, 3]], "once the second is done, the third goes, and the fourth waits"
    handed = at_work(crew := Simulated(2), dispatcher(crew, ahead=NEVER), [3.0, 1.0, 0.5, 0.4])
    assert sorted(handed.values()) == [[0], [1, 2]]


def test_a_job_that_waited_at_a_worker_which_died_has_lost_no_try() -> None:
    crew = Simulated(1)
    made = dispatcher(crew, retries=0, ahead=ALWAYS)
    run(made, [1.0])
    crew.deaths = frozenset({1})
    assert run(made, [2.0, 1.0]) == {0: GivenUp("killed"), 1: "1 done"}
    assert made.use.retried == 0


def test_without_costs_nothing_waits_at_workers() -> None:
    crew = Simulated(1)
    made = dispatcher(crew, ahead=ALWAYS)
    list(made.run([("a", 1.0), ("b", 1.0)], [0.0, 0.0]))
    next(made.run([("c", 1.0), ("d", 1.0), ("e", 1.0)], [0.0, 0.0, 0.0]))
    assert crew.order == ["a", "b", "c", "d"]


def test_an_abandoned_run_leaves_nothing_to_the_next() -> None:
    crew = Simulated(3)
    made = dispatcher(crew)
    steps = made.run([("old", float(i)) for i in range(1, 9)], [1.0] * 8)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert run(made, [2.0] * 4) == {i: f"{i} done" for i in range(4)}


def test_what_a_job_raises_comes_through_and_the_crew_works_on() -> None:
    crew = Simulated(2)
    made = dispatcher(crew)
    with pytest.raises(KeyError, match="raises"):
        list(made.run([("fine", 1.0), ("raises", 2.0)], [1.0, 2.0]))
    assert run(made, [1.0, 1.0]) == {0: "0 done", 1: "1 done"}


def test_without_any_worker_patience_ends_in_one_line() -> None:
    crew = Simulated(0)
    with pytest.raises(BackendError, match=r"no worker for \d+ s: there is no room"):
        list(dispatcher(crew, patience=30.0).run([("a", 1.0)], [1.0]))
    with pytest.raises(BackendError, match="no worker for"):
        dispatcher(Simulated(0), patience=30.0).muster(4)


def test_mustering_waits_for_the_first_worker_only() -> None:
    crew = Simulated(3, start_up=2.0)
    dispatcher(crew).muster(3)
    assert crew.now == 2.0
    assert len(crew.alive) == 3


@pytest.mark.parametrize(
    ("seconds", "size", "idle"),
    [([1.0, 1.0], 2, 0.0), ([3.0, 1.0], 2, 1 / 3), ([2.0], 1, 0.0), ([], 2, 0.0)],
)
def test_the_idle_share_is_what_no_job_took_of_the_workers_time(seconds: list[float], size: int, idle: float) -> None:
    made = dispatcher(Simulated(size))
    run(made, seconds)
    assert made.use.idle_share == pytest.approx(idle)


def test_time_between_runs_counts_as_nobodys() -> None:
    crew = Simulated(1)
    made = dispatcher(crew)
    for _ in range(3):
        run(made, [2.0])
        crew.now += 100.0
    assert (made.use.present, made.use.busy) == (6.0, 6.0)
