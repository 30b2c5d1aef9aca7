"""What limits and numbers may be, where the command line and the engine must agree."""

from __future__ import annotations

import math
import re
from numbers import Real

from gaprune.errors import OptionError

COSTS = ("flops", "params", "size")

HOTTEST = 1000.0
"""The highest temperature: far below it all softened answers are alike already, and its square must be finite."""

LATENCY_RULE = "a time such as 5ms, 300us or 0.01s, or a share of the original's above 0 and at most 1, such as 50%"
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_LATENCY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(us|ms|s|%)?")

SHARED_NEEDS = "shared is for two members or more (--pick all) and a teacher (--distill above 0)"
"""What training on shared weights is refused with."""


def check_limits(flops: object, params: object, size: object, accuracy: object) -> None:
    """Refuse limits that say nothing; ``None`` is no limit.

    Args:
        flops: at most so many, or such a share of the original's.
        params: the same of parameters.
        size: the same of bytes on disk.
        accuracy: at least this one.

    Raises:
        OptionError: one line that says what would be right.
    """
    for name, limit in zip(COSTS, (flops, params, size), strict=True):
        if not _is_sound(limit, math.inf):
            rule = "above 0: up to 1 a share of the original's, above 1 a count (1e6 is a million)"
            raise OptionError(f"max-{name} must be a number {rule}, got {limit!r}")
    if not _is_sound(accuracy, 1.0):
        rule = "above 0 and at most 1 (0.9 is 90% of the search images)"
        raise OptionError(f"min-accuracy must be a number {rule}, got {accuracy!r}")


def latency_limit(text: object) -> tuple[float, bool]:
    """What a text says of how long a network may take.

    Returns:
        The limit, and whether it is a share of the original's time: else it is in seconds.

    Raises:
        ValueError: it says nothing.

    >>> latency_limit("5ms"), latency_limit("50%")
    ((0.005, False), (0.5, True))
    """
    match = _LATENCY.fullmatch(text.strip()) if isinstance(text, str) else None
    number = float(match[1]) if match else math.nan
    unit = match[2] if match else ""
    limit = number * _SECONDS.get(unit or "", 1.0) / (100 if unit == "%" else 1)
    share = unit not in _SECONDS
    if not (0 < limit < math.inf) or (share and limit > 1):
        raise ValueError(LATENCY_RULE)
    return limit, share


def check_latency(limit: str | None) -> None:
    """Refuse a limit of latency that says nothing; ``None`` is no limit.

    Raises:
        OptionError: one line that says what would be right.
    """
    try:
        if limit is not None:
            latency_limit(limit)
    except ValueError as error:
        raise OptionError(f"max-latency must be {error}, got {limit!r}") from None


def _is_sound(limit: object, most: float) -> bool:
    if limit is None:
        return True
    if isinstance(limit, bool) or not isinstance(limit, Real):
        return False
    return 0 < float(limit) <= most and math.isfinite(limit)
