"""Two networks on the same images, compared image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.paired import difference, packed, right, share, unpacked
from gaprune.data import ImageSet
from gaprune.errors import MethodError
from gaprune.evaluate import measure

bits = st.lists(st.booleans(), min_size=1, max_size=40)


@given(bits)
def test_answers_come_back_from_their_digits(answers: list[bool]) -> None:
    assert unpacked(packed(torch.tensor(answers)), len(answers)).tolist() == answers


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_difference_lies_in_its_interval_and_turns_round_with_its_sides(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs).T
    found, back = difference(a, b), difference(b, a)
    low, high = found["95%"]
    assert low <= found["points"] <= high
    assert found["points"] == pytest.approx(100 * (a.mean() - b.mean()), abs=1e-3)
    assert back["points"] == -found["points"]


def test_where_no_image_differs_there_is_no_doubt_and_more_images_leave_less() -> None:
    same = np.arange(50) % 2 == 0
    assert difference(same, same) == {"points": 0.0, "95%": [0.0, 0.0]}
    few, many = np.arange(100) % 10 == 0, np.arange(10_000) % 10 == 0
    widths = [np.diff(difference(one, np.zeros_like(one))["95%"])[0] for one in (few, many)]
    assert widths[1] < widths[0] / 5
    assert widths[0] == pytest.approx(100 * 2 * 1.96 * (0.1 * 0.9 / 100) ** 0.5, rel=0.2)


def test_the_exported_network_answers_as_torch_does() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU6(), nn.Flatten(), nn.Linear(216, 3)).eval()
    sets = [
        ImageSet(torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8), torch.arange(count) % 3)
        for count in (20, 7)
    ]
    answers = right(network, sets, (127.0,), (128.0,))
    assert [len(one) for one in answers] == [20, 7]
    for found, images in zip(answers, sets, strict=True):
        assert share(found) == pytest.approx(measure(network, images, (127.0,), (128.0,)).accuracy)


def test_what_cannot_be_exported_is_one_line() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x[:, 0]).real

    images = ImageSet(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(MethodError, match="the network cannot be run by ONNX Runtime"):
        right(Odd(), [images], (0.0,), (1.0,))
