from __future__ import annotations

import math

import pytest

from gaprune.errors import OptionError
from gaprune.evaluate import Outcome, TimeLimit
from gaprune.options import SearchOptions
from gaprune.options.cli import parse


def outcome(seconds: float, failure: str | None = None, bound: bool = False) -> Outcome:
    return Outcome("00", {}, {}, seconds, failure, bound=bound)


def test_what_is_asked_for_holds_whatever_candidates_take() -> None:
    for asked, seconds in ((5.0, 5.0), (0.0, math.inf)):
        limit = TimeLimit(asked)
        limit.expect(100.0)
        limit.note(outcome(1000.0))
        assert limit.seconds == seconds


def test_it_is_ten_times_the_slowest_and_at_least_a_minute() -> None:
    limit = TimeLimit()
    for seconds in (1.0, 2.0, 3.0, 5.0):
        limit.note(outcome(seconds))
    assert limit.seconds == 60.0
    limit.note(outcome(30.0))
    limit.note(outcome(1.0))
    assert limit.seconds == 300.0


def test_those_that_failed_or_were_not_measured_to_their_end_tell_nothing() -> None:
    limit = TimeLimit()
    for _ in range(9):
        limit.note(outcome(500.0, failure="MemoryError"))
        limit.note(outcome(0.01, bound=True))
    assert limit.seconds == 600.0, "small candidates say nothing of large ones"


def test_before_some_are_done_it_goes_by_the_preparation() -> None:
    limit = TimeLimit()
    limit.expect(90.0)
    assert limit.seconds == 900.0
    for _ in range(4):
        limit.note(outcome(1.0))
    assert limit.seconds == 60.0


@pytest.mark.parametrize(("typed", "seconds"), [("90", 90.0), ("90s", 90.0), ("5m", 300.0), ("0", 0.0), ("auto", None)])
def test_it_is_typed_as_a_time(typed: str, seconds: float | None) -> None:
    options = parse(SearchOptions, ["--candidate-timeout", typed], "prog")
    options.check()
    assert options.cluster.candidate_timeout == seconds


@pytest.mark.parametrize("typed", ["-1", "soon", "nan"])
def test_what_is_no_time_is_refused(typed: str) -> None:
    with pytest.raises(OptionError, match=r"^(--)?candidate-timeout must be "):
        parse(SearchOptions, [f"--candidate-timeout={typed}"], "prog").check()
