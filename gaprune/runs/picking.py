"""Picking one network of a front by a rule. Only the search set has a say, never the test set."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence

from gaprune.errors import OptionError
from gaprune.kinds import Kind, check
from gaprune.options import latency_limit
from gaprune.runs.front import SHORT, FrontRow

ALL = "all"
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FORMS = ("knee", "flops<=SHARE", "params<=SHARE", "accuracy>=SHARE", "latency<=5ms")
_NAME = re.compile(rf"[0-9a-f]{{{SHORT},}}(-[a-z]+[0-9]*)?")
_BOUND = re.compile(r"(?:(flops|params)\s*(<=?)|(accuracy)\s*(>=?))\s*([0-9.]+)\s*(%?)")
_LATENCY = re.compile(r"latency\s*(<=?)\s*([^<=].*)")
_SHARE = re.compile(r"[0-9.]+\s*%?")

STAND_INS = ("divergence", "loss")
"""First objectives that tell members apart by less noise than how many of the same images they get right."""


def check_rule(rule: str) -> None:
    """Whether ``pick`` will understand a rule, before there is a front.

    Raises:
        OptionError: it does not; the valid forms are listed.
    """
    if not isinstance(rule, str):
        raise OptionError(f"pick must be a word such as knee or 'flops<=0.3', got {rule!r}")
    if rule != "knee" and _latency_bound(rule) is None:
        _bound(rule)


def choose(rows: Sequence[FrontRow], choice: str) -> list[FrontRow]:
    """The members that a list names: ``all``, indices, names and rules in any mixture: ``3,3fa9c2e1,flops<=0.3``.

    Rules look at what was measured before any fine-tuning, so that a choice stays what it was.

    Returns:
        The rows as they are, fewest FLOPs first, each once.

    Raises:
        OptionError: a malformed part, no such member, or nothing within a bound.
    """
    check_choice(choice)
    untrained = [row.untrained() for row in rows]
    chosen: set[int] = set()
    for part in _parts(choice):
        if part == ALL:
            chosen |= {row.index for row in rows}
        elif is_member(part):
            chosen.add(member(rows, part).index)
        else:
            chosen.add(pick(untrained, part).index)
    return sorted((row for row in rows if row.index in chosen), key=lambda row: (row.flops, row.index))


def check_choice(choice: str) -> None:
    """Whether ``choose`` will understand a list, before there is a front.

    Raises:
        OptionError: it does not; the valid forms are listed.
    """
    if not isinstance(choice, str):
        raise OptionError(f"pick must be a word such as knee, all or '3,7', got {choice!r}")
    for part in _parts(choice):
        if part != ALL and not is_member(part):
            _check_part(part)


def check_one(choice: str) -> None:
    """Whether ``choose_one`` will understand a member's name, index or rule, before there is a front.

    Raises:
        OptionError: it does not; the valid forms are listed.
    """
    check_choice(choice)
    if choice.strip() == ALL or len(_parts(choice)) > 1:
        raise OptionError(f"pick must be one member here, such as knee or 3, got {choice!r}")


def choose_one(rows: Sequence[FrontRow], choice: str) -> FrontRow:
    """The member that an index, a name or a rule stands for, as ``choose`` has them.

    Raises:
        OptionError: a malformed choice, no such member, or nothing within a bound.
    """
    check_one(choice)
    return choose(rows, choice)[0]


def _check_part(part: str) -> None:
    try:
        check_rule(part)
    except OptionError:
        if _SHARE.fullmatch(part):
            raise
        forms = ", ".join((ALL, "an index such as 3", *FORMS, "a name such as 3fa9c2e1"))
        raise OptionError(f"unknown choice {part!r}: choose {forms}, or several separated by commas") from None


def _parts(choice: str) -> list[str]:
    return [part.strip() for part in choice.split(",")]


def is_member(text: str) -> bool:
    """Whether a text names one member: an index such as ``8``, or a name such as ``3fa9c2e1``."""
    return text.isdecimal() or _NAME.fullmatch(text) is not None


def members(rows: Sequence[FrontRow], text: str) -> list[FrontRow]:
    """The members that an index, a name or the beginning of a genome's key may stand for: one, unless it is wrong."""
    found = [row for row in rows if row.name == text]
    if not found and text.isdecimal() and len(text) < SHORT:
        found = [row for row in rows if row.index == int(text)]
    if not found and len(text) >= SHORT:
        found = [row for row in rows if row.key.startswith(text)]
    return found


def member(rows: Sequence[FrontRow], text: str) -> FrontRow:
    """The member that an index, a name or a genome's key stands for.

    Raises:
        OptionError: there is none; the message says which there are.
    """
    found = members(rows, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise OptionError(f"{text} may be any of {', '.join(row.name for row in found)}: name one of them")
    indices = sorted(row.index for row in rows)
    there = f"its members are {indices[0]} to {indices[-1]}" if indices else "it is empty"
    raise OptionError(f"the front has no member {int(text) if text.isdecimal() else text}: {there}")


def pick(rows: Sequence[FrontRow], rule: str) -> FrontRow:
    """The network that a rule chooses.

    Args:
        rows: the front, in any order.
        rule: ``knee``: farthest above the chord between the front's ends, in accuracy and FLOPs normalised
            to their ranges. ``flops<=0.3``, ``params<=0.5`` (share of the original, or ``30%``): the best
            within, see ``best_of``. ``accuracy>=0.9``: the fewest FLOPs within. ``latency<=5ms`` (or ``300us``, or a
            share of the original's time such as ``50%``): the best within, where the run was timed.
            ``<`` and ``>`` leave the bound itself out.

    Raises:
        OptionError: a malformed rule (the valid forms are listed), an empty front, nothing within the bound (the
            nearest value is named), or a bound of latency where nothing was timed.
    """
    check({"rows": (rows, Kind("the rows of a front", _is_front))})
    check_rule(rule)
    if not rows:
        raise OptionError(f"cannot pick by {rule!r}: the front is empty")
    if rule == "knee":
        return _knee(rows)
    latency = _latency_bound(rule)
    if latency is not None:
        return _within_latency(rows, rule, *latency)
    name, holds, limit = _bound(rule)
    values = [_value(row, name) for row in rows]
    within = [row for row, value in zip(rows, values, strict=True) if holds(value, limit)]
    nearest = max(values) if name == "accuracy" else min(values)
    if not within:
        raise OptionError(f"no network of the front has {rule}: the nearest has {name} {nearest:.4g}")
    return min(within, key=_fewest_flops) if name == "accuracy" else best_of(within, rows)


def best_of(rows: Sequence[FrontRow], front: Sequence[FrontRow] | None = None) -> FrontRow:
    """The best of some members, such as those within a budget; of equals the cheapest.

    The most accurate on the search images; or, where the search minimised divergence or loss instead, the one with the
    least of it, unless training has changed some since.

    Args:
        rows: one at least.
        front: all of them, which say what goes for each budget; ``rows`` by default.
    """
    front = rows if front is None else front
    kinds = {next(iter(row.objectives), None) for row in front}
    if any(row.trained_epochs for row in front) or not any(kinds == {kind} for kind in STAND_INS):
        return min(rows, key=_most_accurate)
    (kind,) = kinds
    return min(rows, key=lambda row: (row.objectives[str(kind)], *_most_accurate(row)))


def _latency_bound(rule: str) -> tuple[Callable[[float, float], bool], float, bool] | None:
    """Comparison and limit of a rule about latency, and whether it is a share; ``None`` for other rules."""
    match = _LATENCY.fullmatch(rule.strip())
    if match is None:
        return None
    try:
        return _HOLDS[match[1]], *latency_limit(match[2])
    except ValueError as error:
        raise OptionError(f"unknown rule {rule!r} to pick by: latency is bounded by {error}") from None


def _within_latency(
    rows: Sequence[FrontRow], rule: str, holds: Callable[[float, float], bool], limit: float, share: bool
) -> FrontRow:
    timed = [(row.latency_share if share else row.latency, row) for row in rows]
    known = [(value, row) for value, row in timed if value is not None]
    if not known:
        raise OptionError(f"cannot pick by {rule!r}: the run was not timed, search with --latency-runtime torch, say")
    within = [row for value, row in known if holds(value, limit)]
    if not within:
        least = min(value for value, _ in known)
        told = f"{least:.1%} of the original's" if share else f"{1e3 * least:.3g} ms"
        raise OptionError(f"no network of the front has {rule}: the nearest has latency {told}")
    return best_of(within, rows)


def _is_front(rows: object) -> bool:
    return isinstance(rows, (list, tuple)) and all(isinstance(row, FrontRow) for row in rows)


def _bound(rule: str) -> tuple[str, Callable[[float, float], bool], float]:
    match = _BOUND.fullmatch(rule.strip())
    try:
        limit = float(match[5]) / (100 if match[6] else 1) if match else math.nan
    except ValueError:
        limit = math.nan
    if match is None or not 0 <= limit <= 1:
        advice = f"choose one of {', '.join(FORMS)} (a share is 0 to 1, or such as 30%)"
        if _SHARE.fullmatch(rule.strip()):
            advice = f"of what? flops<={rule.strip()}, params<={rule.strip()} or accuracy>={rule.strip()}"
        raise OptionError(f"unknown rule {rule!r} to pick by: {advice}")
    return match[1] or match[3], _HOLDS[match[2] or match[4]], limit


def _value(row: FrontRow, name: str) -> float:
    return {"flops": row.flops_share, "params": row.params_share, "accuracy": row.search_accuracy}[name]


def _most_accurate(row: FrontRow) -> tuple[float, float, int]:
    return -row.search_accuracy, row.flops_share, row.index


def _fewest_flops(row: FrontRow) -> tuple[float, float, int]:
    return row.flops_share, -row.search_accuracy, row.index


def _knee(rows: Sequence[FrontRow]) -> FrontRow:
    least, most = min(rows, key=_fewest_flops), min(rows, key=lambda row: (-row.flops_share, row.index))
    accuracies = [row.search_accuracy for row in rows]
    x_range = most.flops_share - least.flops_share or 1.0
    y_range = max(accuracies) - min(accuracies) or 1.0

    def above_chord(row: FrontRow) -> float:
        x = (row.flops_share - least.flops_share) / x_range
        chord = least.search_accuracy + x * (most.search_accuracy - least.search_accuracy)
        # the distance from the chord is this height times a factor that all rows share
        return (row.search_accuracy - chord) / y_range

    return min(rows, key=lambda row: (-round(above_chord(row), 12), *_most_accurate(row)))
