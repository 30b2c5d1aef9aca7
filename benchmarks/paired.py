"""Two networks on the same images: which images each answers rightly, how far apart they are, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gaprune.genome import Bits

RESAMPLES = 20_000
SEED = 0


def packed(right: torch.Tensor) -> str:
    """(N,) booleans as hexadecimal digits, for a row in JSON."""
    return np.packbits(right.cpu().numpy()).tobytes().hex()


def unpacked(text: str, count: int) -> Bits:
    """The (count,) booleans of ``packed``."""
    found: Bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=count).astype(np.bool_)
    return found


def difference(a: Bits, b: Bits) -> dict[str, Any]:
    """Top-1 of one network less another's on the same images, in points, with its 95% interval.

    The interval is the paired bootstrap's. A resample of the images is a draw of how many of them only one of the two
    answers rightly, so the multinomial distribution gives it without going through images.

    Args:
        a: (N,) whether the one is right.
        b: (N,) whether the other is.
    """
    count = len(a)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    shares = np.array([only_a, only_b, count - only_a - only_b]) / count
    drawn = np.random.default_rng(SEED).multinomial(count, shares, RESAMPLES)
    low, high = np.quantile(100 * (drawn[:, 0] - drawn[:, 1]) / count, (0.025, 0.975))
    return {"points": round(100 * (only_a - only_b) / count, 4), "95%": [round(float(low), 4), round(float(high), 4)]}
