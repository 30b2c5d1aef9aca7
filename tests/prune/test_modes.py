"""A caller's network is copied or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_networks import chain
from torch import nn

from gaprune.errors import ModelError
from gaprune.prune.graph.foreign import copied


def test_a_copy_shares_no_memory() -> None:
    model = chain()
    pairs = zip(model.parameters(), copied(model).parameters(), strict=True)
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)


def test_a_network_that_holds_a_computed_tensor_is_refused_in_one_line() -> None:
    model: Any = nn.Sequential(nn.Conv2d(3, 4, 3))
    model[0].scaled = model[0].weight * 2  # as the old weight norm keeps its weight
    with pytest.raises(ModelError, match="Sequential cannot be copied: Only Tensors created explicitly") as caught:
        copied(model)
    assert "\n" not in str(caught.value)
