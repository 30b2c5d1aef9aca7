"""Where networks run, and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gaprune.errors import OptionError, choice_error

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a ``--device`` option; ``auto`` is CUDA where there is any.

    Raises:
        OptionError: the name is unknown, or CUDA is asked for and missing.
    """
    if name not in DEVICES:
        raise choice_error("device", name, DEVICES)
    if name == "cpu" or not torch.cuda.is_available():
        if name == "cuda":
            raise OptionError("device 'cuda' is not available here: choose cpu or auto")
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Meanwhile torch computes on so many CPU threads: results depend on it in the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
