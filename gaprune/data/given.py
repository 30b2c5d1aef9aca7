"""Normalisation that somebody names: by numbers of 0..1 or of 0..255 pixels, or by what a usual one is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gaprune.errors import OptionError, choice_error

WHITE = 255.0

USUAL = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
"""Means and standard deviations of 0..1 pixels by name: torchvision's and most of timm's; -1..1; pixels / 255."""

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Given:
    """A normalisation that was asked for.

    Attributes:
        mean: of 0..255 pixels, one number a channel or one for all.
        std: likewise.
        how: what was given, in words.
    """

    mean: Numbers
    std: Numbers
    how: str

    def spread(self, channels: int) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of each channel.

        Raises:
            OptionError: there are not so many channels.
        """
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise OptionError(f"{name} has {len(numbers)} numbers for {channels} channels: give one for each")
        return _spread(self.mean, channels), _spread(self.std, channels)


def given_normalisation(mean: object, std: object, normalise: str | None = None) -> Given | None:
    """What ``mean``, ``std`` and ``normalise`` ask for together; None where they ask for nothing.

    Numbers that are all at most 1 are of pixels from 0 to 1, others of pixels from 0 to 255.

    Args:
        mean: one number a channel, or one for all.
        std: likewise, above 0.
        normalise: a name of ``USUAL``.

    Raises:
        OptionError: one of ``mean`` and ``std`` is missing, a number is out of range, or the name is unknown.
    """
    if normalise is not None:
        if not isinstance(normalise, str) or normalise not in USUAL:
            raise choice_error("normalise", str(normalise), tuple(USUAL))
        if mean is not None or std is not None:
            raise OptionError(f"normalise {normalise} and mean or std say it twice: leave one out")
        known, deviation = USUAL[normalise]
        return Given(_scaled(known, WHITE), _scaled(deviation, WHITE), f"--normalise {normalise}")
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise OptionError(f"mean and std go together: {'mean' if mean is None else 'std'} is missing")
    means, deviations = _numbers("mean", mean), _numbers("std", std)
    if min(deviations) <= 0:
        raise OptionError(f"std must be above 0, got {_listed(deviations)}")
    scale, unit = (WHITE, "0..1") if max(means + deviations) <= 1 else (1.0, "0..255")
    if min(means) < 0 or max(means) > WHITE:
        raise OptionError(f"mean must be 0 to 1 or 0 to 255, got {_listed(means)}")
    how = f"mean {_listed(means)} and std {_listed(deviations)} of {unit} pixels"
    return Given(_scaled(means, scale), _scaled(deviations, scale), how)


def _spread(numbers: Numbers, channels: int) -> Numbers:
    return numbers * channels if len(numbers) == 1 else numbers


def _scaled(numbers: Numbers, scale: float) -> Numbers:
    return tuple(scale * number for number in numbers)


def normalisation_line(mean: Sequence[float], std: Sequence[float], why: str) -> str:
    """One line that says what networks are fed, and why."""
    return f"normalisation: (pixel - {_listed(mean)}) / {_listed(std)}, pixels 0 to 255; {why}"


def _numbers(name: str, values: object) -> Numbers:
    listed = [values] if isinstance(values, (int, float)) else values
    try:
        numbers = tuple(float(value) for value in listed)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise OptionError(f"{name} must be a number a channel, such as 0.485,0.456,0.406, got {values!r}")
    return numbers


def _listed(numbers: Sequence[float]) -> str:
    shown = [f"{number:.4g}" for number in numbers]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown)
