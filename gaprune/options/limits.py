"""What limits and numbers may be, where the command line and the engine must agree."""

from __future__ import annotations

import math
from numbers import Real

from gaprune.errors import OptionError

COSTS = ("flops", "params", "size")

HOTTEST = 1000.0
"""The highest temperature: far below it all softened answers are alike already, and its square must be finite."""

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


def _is_sound(limit: object, most: float) -> bool:
    if limit is None:
        return True
    if isinstance(limit, bool) or not isinstance(limit, Real):
        return False
    return 0 < float(limit) <= most and math.isfinite(limit)
