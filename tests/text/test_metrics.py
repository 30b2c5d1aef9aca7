from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from gaprune.text.metrics import FIGURES, scores

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@given(pairs)
def test_figures_are_scikit_learns_and_lie_in_their_intervals(rows: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(rows, dtype=np.int64).T
    found = scores(labels, predicted)
    options = {"zero_division": 0.0}
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["f1"] == pytest.approx(f1_score(labels, predicted, average="macro", labels=[0, 1], **options))
    assert found["f1_positive"] == pytest.approx(f1_score(labels, predicted, **options))
    assert found["precision"] == pytest.approx(precision_score(labels, predicted, **options))
    assert found["recall"] == pytest.approx(recall_score(labels, predicted, **options))
    for name in FIGURES:
        assert 0 <= found[f"{name}_low"] <= found[f"{name}_high"] <= 1


def test_intervals_shrink_with_texts_as_the_binomial_law_says() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    predicted = np.repeat([0, 1], [900, 100]).astype(np.int64)
    found = scores(labels, predicted)
    half = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert found["accuracy_low"] == pytest.approx(0.9 - half, abs=0.003)
    assert found["accuracy_high"] == pytest.approx(0.9 + half, abs=0.003)
