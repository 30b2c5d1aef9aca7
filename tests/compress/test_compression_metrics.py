from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from gaprune.compress.metrics import classification


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_accuracy_and_macro_f1_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    said, labels = (np.array(values) for values in zip(*pairs, strict=True))
    found = classification(torch.eye(5)[said], torch.from_numpy(labels))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, said))
    assert found["f1"] == pytest.approx(f1_score(labels, said, average="macro"))
