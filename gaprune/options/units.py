"""Numbers that may end with a unit: ``50%`` of a cost, ``60s`` of time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from gaprune.errors import OptionError

PERCENT = "%"

SHARE: Mapping[str, str] = {PERCENT: "0.01"}
"""A share may be a percentage, of at most 100."""

TIME: Mapping[str, str] = {"s": "1", "sec": "1", "min": "60", "m": "60", "h": "3600"}
"""A time is in seconds where nothing else is said."""


def number_in(name: str, text: str, units: Mapping[str, str]) -> float:
    """The number that a text stands for.

    Args:
        name: of the option, for the error.
        text: digits, and perhaps one of the units.
        units: what a number may end with, and what one of it is worth.

    Raises:
        OptionError: it is no number, or a percentage above 100.

    >>> number_in("max-flops", "57%", SHARE)
    0.57
    >>> number_in("recover", "2m", TIME)
    120.0
    """
    plain = text.strip()
    unit = next((one for one in sorted(units, key=len, reverse=True) if plain.endswith(one)), None)
    digits = plain if unit is None else plain.removesuffix(unit).rstrip()
    try:
        number = Decimal(digits) * Decimal("1" if unit is None else units[unit])
        found = float(number)
    except ArithmeticError:  # no number, or beyond all bounds
        found = math.nan
    if not math.isfinite(found):
        example = "50%" if PERCENT in units else "60s or 2m"
        raise OptionError(f"{name} must be a number, or such as {example}, got {text!r}")
    if unit == PERCENT and found > 1:
        raise OptionError(f"{name} must be at most 100%, got {text!r}")
    return found
