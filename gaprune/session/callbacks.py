"""Functions of the caller's that are told of every generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gaprune.errors import OptionError

IN_A_CALLBACK = "raised by a callback after generation"
"""Begins the note on an exception that was not ours."""


@dataclass(frozen=True)
class Generation:
    """What is known when a generation is done, and saved.

    Attributes:
        path: the directory that it is saved in: the run's, or that of a round or an iteration in it.
        number: generations done.
        total: generations in all.
        candidates: evaluated so far.
        failed: of these, how many failed.
        front: of each network on the front, most accurate (first objective) first, what was measured and counted:
            ``accuracy`` and ``loss`` on the search set, ``flops``, ``params``, ``size`` and the objectives' values.
        hypervolume: of the front, to the objectives' reference values; 0 while no network keeps to the constraints.
        seconds: since this process began the search.
        original_flops: FLOPs of the whole network, which budgets are shares of.
    """

    path: Path
    number: int
    total: int
    candidates: int
    failed: int
    front: tuple[dict[str, float], ...]
    hypervolume: float
    seconds: float
    original_flops: int


Callback = Callable[[Generation], object]


def check_callbacks(callbacks: object) -> tuple[Callback, ...]:
    """The callbacks as a tuple.

    Raises:
        OptionError: it is no list of functions.
    """
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise OptionError(f"callbacks must be a list of functions of one generation, got {callbacks!r}")
    return tuple(callbacks)


def tell(callbacks: Sequence[Callback], generation: Generation, run: Path) -> None:
    """Tell every callback; what one raises ends the search, of which nothing is lost, and goes to the caller.

    Args:
        callbacks: the caller's.
        generation: that is saved.
        run: the directory to go on with: of the whole run, where the generation is of a part of it.
    """
    try:
        for callback in callbacks:
            callback(generation)
    except Exception as error:
        place = f'nothing is lost, go on with gaprune.search(..., resume="{run}")'
        error.add_note(f"{IN_A_CALLBACK} {generation.number}: {place}")
        raise


def of_a_callback(error: BaseException) -> bool:
    """Whether a callback has raised it."""
    return any(note.startswith(IN_A_CALLBACK) for note in getattr(error, "__notes__", ()))
