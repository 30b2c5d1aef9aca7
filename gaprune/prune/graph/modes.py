"""Looking at a caller's network in eval mode, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from gaprune.prune.graph.foreign import plain


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
    """A copy of a caller's network that the engine can work on, see ``foreign.plain``.

    Raises:
        ModelError: it cannot be copied or cut.
    """
    return plain(model).model
