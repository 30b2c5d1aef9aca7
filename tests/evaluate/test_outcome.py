from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaprune.evaluate import Outcome, objective_matrix, violations

FIGURES = st.dictionaries(st.sampled_from(["accuracy", "flops", "x:y"]), st.floats(allow_nan=False, width=64))
SHARE = st.floats(0, 10)


@given(st.text(min_size=1), FIGURES, FIGURES, st.floats(0, 1e6), st.none() | st.text(), st.booleans(), SHARE)
def test_a_record_comes_back_from_the_log_as_it_went(
    key: str,
    values: dict[str, float],
    minimised: dict[str, float],
    seconds: float,
    failure: str | None,
    bound: bool,
    violation: float,
) -> None:
    outcome = Outcome(key, values, minimised, seconds, failure, bound, violation)
    line = json.dumps({**outcome.record(), "generation": 3})
    assert Outcome.from_record(json.loads(line)) == outcome


def test_a_matrix_has_a_row_a_candidate_and_infinity_where_one_failed() -> None:
    good = Outcome("a", {}, {"flops": 0.5, "accuracy": 0.25, "size": 1.0}, 1.0)
    failed = Outcome("b", {}, {}, 1.0, "RuntimeError: out of memory")
    found = objective_matrix([good, failed, good], ["accuracy", "flops"])
    np.testing.assert_array_equal(found, [[0.25, 0.5], [np.inf, np.inf], [0.25, 0.5]])
    assert found.dtype == np.float64


def test_a_matrix_of_nothing_has_no_rows() -> None:
    assert objective_matrix([], ["accuracy", "flops"]).shape == (0, 2)


def test_a_bound_is_an_ordinary_row() -> None:
    bound = Outcome("a", {"accuracy": 0.75}, {"accuracy": 0.25}, 1.0, bound=True)
    np.testing.assert_array_equal(objective_matrix([bound], ["accuracy"]), [[0.25]])


def test_what_failed_violates_infinitely() -> None:
    outcomes = [
        Outcome("a", {}, {}, 1.0, violation=0.25),
        Outcome("b", {}, {}, 1.0, "it broke"),
        Outcome("c", {}, {}, 1),
    ]
    np.testing.assert_array_equal(violations(outcomes), [0.25, np.inf, 0.0])
