"""A task of the caller's own: what networks are fed with, and what they are judged by, whatever they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from gaprune.errors import DataError, OptionError, first_line
from gaprune.kinds import FUNCTION, TEXT, check
from gaprune.options import SCORE
from gaprune.prune import Inputs

FEWEST = 2
"""Samples of a calibration batch at least: one alone has no variance."""


@dataclass(frozen=True, eq=False)
class Task:
    """What ``gaprune.search(model, task=...)`` needs to know of a task that is no classification of images.

    Networks are in eval mode, on the device of the search, when they come to these functions, which must not change
    them (``train`` alone does); ``torch`` draws the same random numbers for each.

    Attributes:
        inputs: example of what the network is called with: a tensor, a tuple of arguments or a dict of keyword
            arguments, nested as they like. The first axis of every tensor counts samples. FLOPs are those of one.
        calibration: batches in the same form, without targets, the same ones in every process: batch norm and what
            stands in for removed channels are fitted to them.
        score: what a network is worth on data held out from its training; higher is better.
        name: what the score is called in tables: ``mean IoU``.
        test: the same on data that no choice rests on; only reported.
        divergence: how far a network's outputs are from the original's, 0 or more; for ``fitness="divergence"``.
        train: trains a network in place, on training data alone, for ``gaprune.finetune(run, task=...)`` and for
            ``recover``. The network comes in training mode, and the function may say over how many epochs it went.

    Examples:
        >>> x = torch.randn(8, 4)
        >>> task = Task(x, [x], score=lambda network: -float((network(x) - x.sum(1, keepdim=True)).square().mean()))
        >>> task.name, len(task.example)
        ('score', 8)
    """

    inputs: Any
    calibration: Iterable[Any]
    score: Callable[[nn.Module], Any]
    name: str = SCORE
    test: Callable[[nn.Module], Any] | None = None
    divergence: Callable[[nn.Module], Any] | None = None
    train: Callable[[nn.Module], Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no task.

        Raises:
            OptionError: one line that names the argument.
        """
        check({"task.score": (self.score, FUNCTION), "task.name": (self.name, TEXT)})
        check({f"task.{name}": (getattr(self, name), FUNCTION.or_none()) for name in ("test", "divergence", "train")})
        if isinstance(self.calibration, torch.Tensor | str) or not isinstance(self.calibration, Iterable):
            raise OptionError(f"task.calibration must be a list of batches, got {type(self.calibration).__name__}")
        Inputs.of(self.inputs, "task.inputs")

    @cached_property
    def example(self) -> Inputs:
        """What the network is called with."""
        return Inputs.of(self.inputs, "task.inputs")

    @cached_property
    def batches(self) -> tuple[Inputs, ...]:
        """The calibration batches, read once.

        Raises:
            OptionError: one of them is none, or too small.
            DataError: they cannot be read, or there is none.
        """
        found = []
        for number, batch in enumerate(self._read()):
            what = f"task.calibration[{number}]"
            found.append(Inputs.of(batch, what))
            if len(found[-1]) < FEWEST:
                raise OptionError(f"{what} must hold {FEWEST} samples or more, got {len(found[-1])}")
        if not found:
            raise DataError("task.calibration holds no batch: give a list, or a data loader that can be read again")
        return tuple(found)

    def _read(self) -> list[Any]:
        try:
            return list(self.calibration)
        except Exception as error:  # a stranger's loader may raise anything
            raise DataError(f"task.calibration cannot be read: {type(error).__name__}: {first_line(error)}") from error


def judge(network: nn.Module, by: Callable[[nn.Module], Any]) -> float:
    """What a function of a task says of a network, which is in eval mode and sees the same random numbers each time.

    Args:
        network: on its device.
        by: ``score``, ``test`` or ``divergence`` of a task.

    Raises:
        TypeError: it says no number; whatever the function raises.
    """
    devices = [] if (device := _device(network)).type != "cuda" else [device]
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        found = by(network.eval())
    try:
        return float(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"expected a number, got {type(found).__name__}") from error


def _device(network: nn.Module) -> torch.device:
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
