"""Where a command meets the system: signals, standard streams, and the status that a process ends with."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from gaprune.errors import OutputError

BAD_INPUT = 2
HUNG = 124
"""Of a command that a candidate has hung, as ``timeout`` has it."""
INTERRUPTED = 130
OUTPUT_CLOSED = 141

SIGNALS = 128
"""What the number of a signal is added to."""

STOPS = ("SIGTERM", "SIGHUP")
"""What batch systems send before they kill, and what terminals send that are closed."""

ONE_PRESS = 1.0
"""Seconds within which a second Ctrl-C is taken for the first: keys bounce, and both a terminal and a shell send it."""


class _CtrlC:
    """Handles SIGINT: the first raises, those at once after it are it, later ones end the process there and then."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.working = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is not None and now - self.first < ONE_PRESS:
            return
        if self.first is not None and self.working:
            end_at_once("ended at once", INTERRUPTED)
        self.first = now
        signal.default_int_handler(number, frame)


@contextmanager
def signals() -> Iterator[list[int]]:
    """Make SIGTERM and SIGHUP do what Ctrl-C does; the list tells which came. Ctrl-C pressed twice is once.

    Where somebody has decided already what one does, and in threads, which get no signals, nothing changes.
    """
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut short what the first has begun
        asked.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    stops = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    ours = [number for number in stops if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    before, pressed = signal.getsignal(signal.SIGINT), _CtrlC()
    usual = before is signal.default_int_handler or isinstance(before, _CtrlC)
    if usual:
        signal.signal(signal.SIGINT, pressed)
    try:
        yield asked
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        pressed.working = False  # what was pressed stays one press until the process has ended
        if usual and pressed.first is None:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def open_streams() -> None:
    """Make sure that there are standard streams, and that anything can be written to them.

    One that is closed writes to nothing, so that no other file gets its number; what an encoding lacks is escaped, and
    the bytes of names that are not UTF-8 stay as they are.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            plain = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if plain else "backslashreplace")


def output_error() -> OSError | None:
    """Why standard output takes nothing any more; ``None`` where it does. What it has not taken is dropped."""
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        return error
    except ValueError:  # it was closed
        return None
    return None


def show(text: str, prog: str, status: int = 0) -> int:
    """Print a text; the status to end with."""
    open_streams()
    try:
        print(text, flush=True)  # noqa: T201 - the command's edge
    except BrokenPipeError:
        discard_output()
        return OUTPUT_CLOSED
    except OSError as error:
        discard_output()
        return say_and_end(f"{prog}: error: {OutputError.of(error)}", BAD_INPUT)
    return status


def say_and_end(line: str, status: int) -> int:
    """Say in one line on standard error why a command ends, as far as anybody hears; its status."""
    output_error()
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the command's edge
    return status


def end_at_once(line: str, status: int) -> NoReturn:
    """Say a line on standard error and end this process, from any thread, whatever the others do."""
    with suppress(OSError, ValueError):
        os.write(2, f"{line}\n".encode(errors="surrogateescape"))
    os._exit(status)


def discard_output() -> None:
    """Point standard output at nothing, or Python complains again when it flushes at exit."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, of Python, of torch or of what is below them."""
    short = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in short)
    )
