"""Racing: a candidate stops being measured once it is worse than a known network, with a confidence that is stated.

Both are compared image by image, on the same images: what they agree on says nothing, so few images tell. The rungs
are 256 images, then twice as many each time (successive halving's schedule: Jamieson and Talwalkar, AISTATS 2016;
racing by paired tests: Maron and Moore, NIPS 1994). The statement is about the search set, which both could be measured
on whole: the images of a rung are drawn from it without putting back, by class in proportion, which makes either test
err less than it says. The risk is shared out among the rungs, so it is of the whole race.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from gaprune.genome import Floats

FIRST_RUNG = 256
"""Images of the first comparison; a network is hardly told from another by fewer."""

KINDS = ("accuracy", "loss")
"""Objectives that can be raced by: what is compared of an image is whether it is wrong, or its cross-entropy."""

MOST_LOSS = 6e4
"""Near the largest number of 16 bits."""


@dataclass(frozen=True)
class Floor:
    """What is known of a candidate before it is measured; the default is nothing.

    Attributes:
        accuracy: below it a known network certainly dominates the candidate; infinite where none is enough.
        rival: marks of the best known network that costs no more (``write_marks``); ``None`` where there is none.
        value: what the raced objective is for the rival, on all images.
    """

    accuracy: float = 0.0
    rival: str | None = None
    value: float = 0.0


UNKNOWN = Floor()
"""Nothing is known: measuring goes to the end."""


@dataclass(frozen=True)
class Race:
    """One candidate against one known network.

    Attributes:
        kind: of ``KINDS``.
        risk: probability at most of giving up a candidate that is not worse than its rival.
        rival: (N,) what the rival gets on each image, the less the better; ``None`` where there is none.
        value: the rival's accuracy or loss on all images.
    """

    kind: str
    risk: float
    rival: Floats | None = None
    value: float = 0.0

    def behind(self, each: Floats, rungs: int) -> float | None:
        """By how much a candidate is behind on average, where it is surely worse; ``None`` where that is not sure.

        Args:
            each: (n,) what it gets on the first n images.
            rungs: comparisons in the whole race.
        """
        if self.rival is None:
            return None
        apart = each - self.rival[: len(each)]
        return float(apart.mean()) if chance_of_no_worse(apart, self.kind) <= self.risk / rungs else None


def rungs(total: int, batch_size: int) -> tuple[int, ...]:
    """After how many images a race is looked at: at the ends of batches, and never after the last image.

    >>> rungs(2000, 256), rungs(200, 64)
    ((256, 512, 1024), ())
    """
    found, wanted = [], FIRST_RUNG
    for end in range(batch_size, total, batch_size):
        if end >= wanted:
            found.append(end)
            wanted = 2 * end
    return tuple(found)


def chance_of_no_worse(apart: Floats, kind: str) -> float:
    """How probable differences at least as bad are for a candidate that is no worse than its rival.

    Right and wrong are compared by the sign test over the images on which the two differ, which is exact (McNemar,
    Psychometrika 12, 1947); losses by Student's t, which errs on the safe side here, for the losses of a worse network
    have their long tail where it is worse.

    Args:
        apart: (n,) candidate minus rival, paired by image.
        kind: of ``KINDS``.

    Example:
        >>> chance_of_no_worse(np.array([1.0, 1.0, 1.0, 0.0]), "accuracy")
        0.125
    """
    if kind == "accuracy":
        worse, better = int((apart > 0).sum()), int((apart < 0).sum())
        return float(special.bdtr(better, worse + better, 0.5)) if worse + better else 1.0
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    if spread == 0:
        return 1.0
    return float(special.stdtr(len(apart) - 1, -float(apart.mean()) / spread * len(apart) ** 0.5))


def write_marks(each: NDArray[Any], kind: str) -> str:
    """What a network gets on each image, as text: one bit an image for ``accuracy``, 16 bits for ``loss``."""
    if kind == "accuracy":
        return base64.b64encode(np.packbits(each > 0).tobytes()).decode()
    return base64.b64encode(np.minimum(each, MOST_LOSS).astype("<f2").tobytes()).decode()


def read_marks(text: str, kind: str, count: int) -> Floats:
    """(count,) numbers from ``write_marks``.

    Raises:
        ValueError: they are of another number of images.
    """
    packed = base64.b64decode(text, validate=True)
    if len(packed) != ((count + 7) // 8 if kind == "accuracy" else 2 * count):
        raise ValueError(f"marks of {len(packed)} bytes are not of {count} images")
    if kind == "accuracy":
        return np.unpackbits(np.frombuffer(packed, np.uint8), count=count).astype(np.float64)
    return np.frombuffer(packed, "<f2").astype(np.float64)
