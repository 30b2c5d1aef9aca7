"""What a limit means, and what going beyond it is worth."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.errors import OptionError
from gaprune.evaluate import Constraints
from gaprune.prune.cut.costs import Costs

ORIGINAL = Costs(flops=1000, params=2_000_000, size=8_000_000)


def test_numbers_up_to_1_are_shares_and_others_counts() -> None:
    counted = Constraints(flops=0.5, params=1e6, size=1, accuracy=0.9).counted(ORIGINAL)
    assert counted == Constraints(flops=500, params=1e6, size=8_000_000, accuracy=0.9)


@pytest.mark.parametrize("name", ["flops", "params", "size"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "0.5"])
def test_a_cost_limit_that_says_nothing_is_told_what_would(name: str, value: Any) -> None:
    with pytest.raises(
        OptionError, match=rf"max-{name} must be a number above 0: .* \(1e6 is a million\), got {value!r}"
    ):
        Constraints(**{name: value})


@pytest.mark.parametrize("value", [0, -0.1, 1.01, 90, math.nan, "0.9"])
def test_an_accuracy_that_cannot_be_asked_for_is_told_what_can(value: Any) -> None:
    with pytest.raises(OptionError, match=rf"min-accuracy must be a number above 0 and at most 1 .*, got {value!r}"):
        Constraints(accuracy=value)


def test_violations_are_shares_of_their_limits_and_add_up() -> None:
    constraints = Constraints(flops=500, params=1e6, accuracy=0.8)
    assert constraints.violation(Costs(500, 1_000_000, 1), 0.8) == 0
    assert constraints.violation(Costs(750, 1, 1), 0.9) == 0.5
    assert constraints.violation(Costs(750, 1_100_000, 1), 0.6) == pytest.approx(0.5 + 0.1 + 0.25)
    assert constraints.violation(Costs(750, 1_100_000, 1)) == pytest.approx(0.5 + 0.1)


def test_shortfalls_name_the_limits_that_are_broken() -> None:
    constraints = Constraints(flops=0.5, size=4e6, accuracy=0.8).counted(ORIGINAL)
    assert constraints.shortfalls(ORIGINAL, 0.75) == [
        "flops 1,000 (at most 500)",
        "size 8,000,000 (at most 4,000,000)",
        "accuracy 0.7500 (at least 0.8000)",
    ]
    assert constraints.shortfalls(Costs(500, 1, 1), 0.8) == []


def test_no_limits_are_false_and_never_violated() -> None:
    assert not Constraints()
    assert Constraints(size=1.0)
    assert Constraints().violation(ORIGINAL, 0.0) == 0


SHARES = st.floats(0.01, 1)


@given(SHARES, SHARES, SHARES, st.floats(0, 1), st.floats(0, 1))
def test_an_upper_bound_of_the_accuracy_gives_a_lower_bound_of_the_violation(
    flops: float, params: float, asked: float, accuracy: float, more: float
) -> None:
    constraints = Constraints(flops, params, accuracy=asked).counted(ORIGINAL)
    exact = constraints.violation(ORIGINAL, accuracy)
    assert constraints.violation(ORIGINAL) <= constraints.violation(ORIGINAL, max(accuracy, more)) <= exact
    assert (Constraints(accuracy=asked).violation(ORIGINAL, accuracy) > 0) == (accuracy < asked)
