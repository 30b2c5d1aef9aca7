"""What a candidate is judged by: an objective is a value of a ``Candidate``."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gaprune.errors import OptionError, choice_error, first_line
from gaprune.evaluate.attack import ATTACKED, Robustness
from gaprune.evaluate.measurement import Measurement
from gaprune.kinds import FUNCTION, NUMBER, SWITCH, TEXT, check
from gaprune.options import LATENCY, ROBUSTNESS
from gaprune.prune import Costs
from gaprune.runtimes import Latency


class Candidate(Protocol):
    """What an objective may ask of a candidate network; measuring happens on first use only."""

    @property
    def costs(self) -> Costs:
        """Its FLOPs, parameters and size, by formula."""
        ...

    @property
    def original(self) -> Costs:
        """The same of the original network."""
        ...

    @property
    def measured(self) -> Measurement:
        """Accuracy and loss of the compact network on the search set."""
        ...

    @property
    def score(self) -> float:
        """What networks are told apart by on the search set: accuracy, or the score of a task of one's own."""
        ...

    @property
    def divergence(self) -> float | None:
        """How far its outputs are from the original's; ``None`` where nobody asked."""
        ...

    @property
    def latency(self) -> Latency:
        """How long the compact network takes for a batch."""
        ...

    @property
    def robustness(self) -> Robustness:
        """Accuracy of the compact network under attack, on some of the search images."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...


@dataclass(frozen=True)
class Objective:
    """One objective of a search.

    Attributes:
        name: as typed in ``--objectives`` and written in ``evaluations.jsonl``.
        description: one line, with the unit.
        value: the plain value of a candidate, as reported.
        minimised: what the search minimises, scaled so that the original network lies between 0 and 1 and
            ``reference`` bounds the hypervolume.
        reference: the worst value that still counts for the hypervolume.
        costs_only: whether it asks for costs alone and never measures. Searched beside accuracy, such objectives
            let measuring stop early where a candidate can no longer reach the front.
    """

    name: str
    description: str
    value: Callable[[Candidate], float]
    minimised: Callable[[Candidate], float]
    reference: float = 1.0
    costs_only: bool = False

    def __post_init__(self) -> None:
        """Refuse what can be no objective.

        Raises:
            OptionError: one line that names the argument.
        """
        check({"name": (self.name, TEXT), "description": (self.description, TEXT)})
        check({"value": (self.value, FUNCTION), "minimised": (self.minimised, FUNCTION)})
        check({"reference": (self.reference, NUMBER), "costs_only": (self.costs_only, SWITCH)})


def _chance_loss(candidate: Candidate) -> float:
    return candidate.measured.loss / math.log(max(candidate.classes, 2))


def _divergence(candidate: Candidate) -> float:
    found = candidate.divergence
    if found is None:
        raise RuntimeError("divergence needs the original's answers, and the task has none")
    return found


ACCURACY = Objective(
    "accuracy",
    "top-1 on the search set, 0 to 1, maximised",
    lambda c: c.measured.accuracy,
    lambda c: 1.0 - c.measured.accuracy,
)

DIVERGENCE = Objective(
    "divergence",
    "mean divergence from the original's answers on the search set, nats; needs no labels",
    _divergence,
    lambda c: _divergence(c) / math.log(max(c.classes, 2)),
)

TIMED = Objective(
    LATENCY,
    "seconds a batch, as --latency-runtime and its sisters say",
    lambda c: c.latency.seconds,
    lambda c: c.latency.share,
)

BUILT_IN: tuple[Objective, ...] = (
    ACCURACY,
    Objective("loss", "mean cross-entropy on the search set, nats", lambda c: c.measured.loss, _chance_loss),
    DIVERGENCE,
    Objective(
        "flops",
        "FLOPs of one image, as fvcore counts them",
        lambda c: float(c.costs.flops),
        lambda c: c.costs.flops / c.original.flops,
        costs_only=True,
    ),
    Objective(
        "params",
        "parameters, masked kernels not counted",
        lambda c: float(c.costs.params),
        lambda c: c.costs.params / c.original.params,
        costs_only=True,
    ),
    Objective(
        "size",
        "bytes of all tensors on disk",
        lambda c: float(c.costs.size),
        lambda c: c.costs.size / c.original.size,
        costs_only=True,
    ),
    TIMED,
    Objective(
        ROBUSTNESS,
        f"mean top-1 under FGSM and PGD-10 at 2/255 and 8/255, of {ATTACKED} search images, 0 to 1, maximised",
        lambda c: c.robustness.mean,
        lambda c: 1.0 - c.robustness.mean,
    ),
)


def objective_names() -> tuple[str, ...]:
    """The built-in objectives."""
    return tuple(objective.name for objective in BUILT_IN)


def is_timed(objective: Objective) -> bool:
    """Whether it is the latency that gaprune tells, and not a caller's own of that name."""
    return objective.minimised is TIMED.minimised


def judged_by(wanted: Sequence[str | Objective], fitness: str) -> tuple[str | Objective, ...]:
    """Objectives with what stands for accuracy while searching in its place, once.

    Args:
        wanted: names and objectives.
        fitness: name of an objective that is measured; ``auto`` is accuracy itself.

    Example:
        >>> judged_by(("accuracy", "flops"), "divergence")
        ('divergence', 'flops')
    """
    found: list[str | Objective] = []
    for item in wanted:
        named = fitness if item == ACCURACY.name and fitness != "auto" else item
        if item != ACCURACY.name or named not in (*wanted, *found) or named == item:
            found.append(named)
    return tuple(found)


def resolve_selector(wanted: Sequence[str | Objective]) -> Objective:
    """The one objective by which the paper's rounds select: of what is measured, not of costs.

    Args:
        wanted: one name or objective, as for ``resolve_objectives``.

    Raises:
        OptionError: an unknown name, more or less than one, or one of costs alone.
    """
    found = [_resolve(item) for item in wanted]
    slow = [one for one in found if one in BUILT_IN and one.name in (LATENCY, ROBUSTNESS)]
    if len(found) != 1 or found[0].costs_only or slow:
        got = ", ".join(objective.name for objective in found) or "none"
        raise OptionError(
            f"objectives with --algorithm rounds must be one that is measured: loss, accuracy or divergence, got {got}"
        )
    return found[0]


def resolve_objectives(wanted: Sequence[str | Objective]) -> tuple[Objective, ...]:
    """The objectives of some names; an ``Objective`` stands for itself.

    Args:
        wanted: built-in names, ``package.module:NAME`` of an ``Objective``, or objectives; at least two.

    Raises:
        OptionError: an unknown name (the message lists the valid ones), fewer than two, or one given twice.
    """
    found = tuple(_resolve(item) for item in wanted)
    names = [objective.name for objective in found]
    if len(found) < 2:
        valid = ", ".join(objective_names())
        raise OptionError(f"objectives must be at least two of {valid}, got {', '.join(names) or 'none'}")
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"objective {name!r} is given twice")
    return found


def _resolve(item: object) -> Objective:
    if isinstance(item, Objective):
        return item
    if not isinstance(item, str):
        advice = "give its name, or gaprune.Objective(name, unit, value=function, minimised=function)"
        raise OptionError(f"an objective must be a name or a gaprune.Objective, got {type(item).__name__}: {advice}")
    for objective in BUILT_IN:
        if objective.name == item:
            return objective
    if ":" not in item:
        raise choice_error("objective", item, (*objective_names(), "package.module:NAME"))
    module, _, name = item.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing runs a stranger's code
        reason = first_line(error)
        raise OptionError(f"objective {item!r} cannot be imported: {reason}") from error
    if not isinstance(found, Objective):
        raise OptionError(f"objective {item!r} is a {type(found).__name__}, not a gaprune Objective")
    return found
