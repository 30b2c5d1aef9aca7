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
def pinned(threads: int) -> Iterator[None]:
    """Meanwhile torch computes reproducibly: results depend on threads and kernels in the last digits.

    So many CPU threads; on CUDA deterministic cuDNN kernels, none chosen by timing, and no TF32.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    matmul_tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
        torch.set_num_threads(before)
