"""Where networks run, and on how many threads."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from gaprune.errors import OptionError, choice_error
from gaprune.options import Device, names

DEVICES = names(Device)


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


def card_names() -> list[str]:
    """The names of the GPUs that are visible here."""
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def answers(device: torch.device) -> bool:
    """Whether a device still computes in this process.

    After an assertion or a wrong address in a CUDA kernel every later call of the process fails as that one did.
    """
    if device.type == "cpu":
        return True
    try:
        return float(torch.ones(1, device=device).add_(1)) == 2
    except RuntimeError as error:
        return isinstance(error, torch.OutOfMemoryError)  # which the next may have


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Make torch compute reproducibly: results depend on threads and kernels in the last digits.

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


def give_back_memory() -> None:
    """Hand freed memory back to the system that the C library keeps in pieces between what is in use.

    Candidates' tensors are of ever other sizes, so the pieces suit few of those that follow: without this a search
    grows by some ten kilobytes a candidate.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """The call of glibc; other libraries have none, or need none."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim


_ALONE = threading.RLock()
"""Held by what a command does from start to end."""


@contextmanager
def in_turn() -> Iterator[None]:
    """``neutral``, and nobody else of this process: who comes in another thread waits.

    Threads, kernels and default types are the process's, and candidates depend on them in the last digits.
    """
    with _ALONE, neutral():
        yield


@contextmanager
def neutral() -> Iterator[None]:
    """Meanwhile no context of the caller's is in force: autocast, inference mode, another default type or device."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@dataclass(frozen=True)
class Numerics:
    """Torch's own settings that decide last digits, beside those that ``pinned`` pins: a caller may have changed them.

    Attributes:
        matmul: what oneDNN multiplies float32 matrices in on the CPU, as torch names it.
        conv: the same of convolutions.
        deterministic: whether only deterministic algorithms may be used.
        onednn: whether oneDNN computes on the CPU at all.
    """

    matmul: str
    conv: str
    deterministic: bool
    onednn: bool

    @classmethod
    def now(cls) -> Numerics:
        """The settings of this process."""
        cpu: Any = torch.backends.mkldnn
        return cls(
            matmul=cpu.matmul.fp32_precision,
            conv=cpu.conv.fp32_precision,
            deterministic=torch.are_deterministic_algorithms_enabled(),
            onednn=bool(cpu.enabled),
        )

    def restore(self) -> None:
        """Make them this process's."""
        cpu: Any = torch.backends.mkldnn
        cpu.matmul.fp32_precision = self.matmul
        cpu.conv.fp32_precision = self.conv
        torch.use_deterministic_algorithms(self.deterministic)
        cpu.set_flags(self.onednn)
