"""Members of a search by a task of the caller's own, trained by the caller's own function."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from gaprune.device import pinned
from gaprune.errors import TrainingError, first_line
from gaprune.evaluate import Measured
from gaprune.genome import Bits
from gaprune.recovery.members import Keeper, Member, keep, open_member, say_frozen
from gaprune.recovery.network import Recovered
from gaprune.runs import FrontRow
from gaprune.tasks import Task
from gaprune.training import digest_json, digest_tensors, frozen_names, masked_gradients, thawed


@dataclass(frozen=True)
class TaskTuner(Keeper):
    """Trains members one by one with ``task.train``; the task's score says which network is handed out.

    Attributes:
        task: the caller's, with ``train``.
        numbers: JSON values that tell this training from another by the same function; ``seed`` is of the random
            numbers that it draws from ``torch``.
        gentler: another try for a member that scores less for the first; ``None`` is none.
        advice: what to try after a training that did no good.
        calls: how many times the function is called in a training.
    """

    task: Task
    numbers: Mapping[str, Any]
    gentler: TaskTuner | None = None
    advice: str = "let task.train train longer, or more gently"
    calls: int = 1

    def __call__(self, row: FrontRow) -> None:
        """Train a member, unless it was trained by this very function before.

        Raises:
            TrainingError: the function fails, or leaves another network than it was given.
        """
        member = open_member(self.job, self.run, row)
        fingerprint = self.fingerprint(member.network)
        if self.done(row, fingerprint):
            self.reporter.say(f"member {row.index} was trained in this way before")
        else:
            say_frozen(member, self.reporter)
            keep(self, member, self._trained(member), fingerprint)
        record = self.record(row, fingerprint)
        if self.gentler is not None and record["search_accuracy"] < row.untrained().search_accuracy:
            self.reporter.say(f"member {row.index} is worse for it: trained again, more gently")
            self.gentler(row)

    def fingerprint(self, network: nn.Module) -> str:
        """Names a training of these weights by this function, as far as its code tells it from others."""
        frozen = {"frozen": names} if (names := frozen_names(network)) else {}
        start = digest_tensors(network.state_dict())
        return digest_json({"start": start, **frozen, **self.told()})

    def told(self) -> dict[str, Any]:
        """See ``Keeper``."""
        several = {"calls": self.calls} if self.calls > 1 else {}
        return {"train": code_of(self.task.train), "numbers": {**self.numbers, **several}}

    def advice_after(self, made: Recovered) -> str:
        """See ``Keeper``."""
        return self.advice

    def pending(self, rows: Sequence[FrontRow]) -> list[FrontRow]:
        """The members that were not yet trained in this way."""
        opened = ((row, open_member(self.job, self.run, row).network) for row in rows)
        return [row for row, network in opened if not self.done(row, self.fingerprint(network))]

    def timed(self, row: FrontRow) -> float:
        """Seconds of one call of the function, on a member whose training is thrown away.

        Raises:
            TrainingError: the function fails.
        """
        member = open_member(self.job, self.run, row)
        began = time.monotonic()
        with pinned(self.job.threads):
            replace(self, calls=1)._by_caller(thawed(member.network), member.kernels, f"member {row.index}")
        return time.monotonic() - began

    def _trained(self, member: Member) -> Recovered:
        network, name = thawed(member.network), f"member {member.row.index}"
        before = _forms(network)
        began = time.monotonic()
        with pinned(self.job.threads), self.reporter.task(f"training {name}", 1) as task:
            epochs = self._by_caller(network, member.kernels, name)
            task.advance(1)
        seconds = time.monotonic() - began
        network.to(self.job.device).eval()
        _check(network, before, name)
        _mask(network, member.kernels)
        found, tested = self._judged(network, name)
        return Recovered(found, tested, epochs, seconds)

    def _judged(self, network: nn.Module, name: str) -> tuple[Measured, float | None]:
        """What the task says of a trained network."""
        try:
            with pinned(self.job.threads), torch.no_grad():
                found = self.job.evaluator.searched(network)
                tested = self.job.material.tested(self.job.evaluator, network)
        except Exception as error:  # a stranger's function may raise anything
            told = f"{type(error).__name__}: {first_line(error)}"
            raise TrainingError(f"{name}: the task cannot judge it after its training: {told}") from error
        for value in (*found.values().values(), *(() if tested is None else (tested,))):
            if not math.isfinite(value):
                raise TrainingError(f"{name}: after task.train the task gives {value}, expected a finite number")
        return found, tested

    def _by_caller(self, network: nn.Module, kernels: Mapping[str, Bits], name: str) -> int:
        """Let the caller's function train a network in place; passes over its data, 1 a call where it does not say."""
        assert self.task.train is not None, "who trains by a task knows that it can"
        devices = [self.job.device] if self.job.device.type == "cuda" else []
        with masked_gradients(network, kernels), torch.random.fork_rng(devices=devices), torch.enable_grad():
            torch.manual_seed(self.numbers["seed"])
            try:
                told = [self.task.train(network.train()) for _ in range(self.calls)]
            except TrainingError as error:
                raise TrainingError(f"{name}: {error}") from error
            except Exception as error:  # a stranger's function may raise anything
                raise TrainingError(f"{name}: task.train fails: {type(error).__name__}: {first_line(error)}") from error
        return sum(one if isinstance(one, int) and not isinstance(one, bool) and one > 0 else 1 for one in told)


def train_members(tuner: TaskTuner, rows: Sequence[FrontRow]) -> None:
    """Train members one after the other; what is done stays done when it is stopped."""
    with tuner.reporter.task("members", len(rows)) as task:
        for row in rows:
            tuner(row)
            task.advance(1)


def code_of(function: Any) -> str:
    """A function's name and a digest of its code: another one, or a changed one, is another training.

    What it reads besides (a global, the values that a closure holds) is not looked at.

    >>> code_of(len)
    'builtins.len'
    """
    inner, given = function, []
    while hasattr(inner, "func"):  # functools.partial
        given.append(repr((inner.args, sorted(inner.keywords))))
        inner = inner.func
    inner = getattr(inner, "__func__", inner)
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    return " ".join([name, *([] if code is None else [_digest(code)]), *given])


def _digest(code: Any) -> str:
    """Of a code object and those in it, without the places of their lines."""
    constants = [_constant(one) for one in code.co_consts]
    told = repr((code.co_code, constants, code.co_names, code.co_freevars))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _constant(one: Any) -> str:
    """A constant in code, the same in every process."""
    if hasattr(one, "co_code"):
        return _digest(one)
    return repr(sorted(map(repr, one))) if isinstance(one, frozenset) else repr(one)


def _forms(network: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}


def _check(network: nn.Module, before: Mapping[str, tuple[torch.Size, torch.dtype]], name: str) -> None:
    """The network is still the one that was given.

    Raises:
        TrainingError: a tensor has come, gone, changed its shape or type, or is not finite.
    """
    forms = _forms(network)
    apart = sorted(key for key in {*before, *forms} if before.get(key) != forms.get(key))
    if apart:
        raise TrainingError(f"{name}: task.train changes the network itself ({apart[0]}): train its weights in place")
    state = network.state_dict()
    wild = [key for key, tensor in state.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if wild:
        raise TrainingError(f"{name}: after task.train {wild[0]} is not finite: choose a lower learning rate")


def _mask(network: nn.Module, kernels: Mapping[str, Bits]) -> None:
    """Kernels that are gone stay gone, whatever the optimizer did."""
    with torch.no_grad():
        for name, present in kernels.items():
            weight = network.get_parameter(name)
            mask = torch.from_numpy(present).to(weight.device, weight.dtype)
            weight.mul_(mask[(..., *[None] * (weight.ndim - 2))])
