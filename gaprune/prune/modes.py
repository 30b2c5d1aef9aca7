"""Looking at a caller's network in eval mode, and leaving it as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from gaprune.errors import ModelError, first_line


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module is in the mode that it was in, whether all agreed or not."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def copied(model: nn.Module) -> nn.Module:
    """A copy that shares no memory with a caller's network.

    Raises:
        ModelError: it cannot be copied, as with tensors that are computed once and held (old ``nn.utils.weight_norm``).
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a stranger's network may raise anything
        raise ModelError(f"{type(model).__name__} cannot be copied: {first_line(error)}") from error
