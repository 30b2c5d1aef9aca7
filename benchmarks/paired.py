"""Two networks on the same images: the difference in accuracy by image, with a bootstrap interval."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.subjects import SEED, Subject
from gaprune.data import ImageSet, normaliser
from gaprune.genome import Bits

DRAWS = 10_000


def right(network: nn.Module, images: ImageSet, subject: Subject) -> str:
    """Which of the images a network gets right, packed as text."""
    normalised = normaliser(*subject.norm, subject.device)
    with torch.inference_mode():
        hits = [
            network(normalised(images.images[start : start + 256])).argmax(1) == images.labels[start : start + 256]
            for start in range(0, len(images), 256)
        ]
    return base64.b64encode(np.packbits(torch.cat(hits).cpu().numpy()).tobytes()).decode()


def unpacked(text: str, count: int) -> Bits:
    """(count,) of ``right``."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(np.bool_)


def points_apart(ours: Bits, theirs: Bits) -> dict[str, Any]:
    """By how many points ``ours`` is ahead, with the 95% interval of a bootstrap over images.

    Resampled images are a draw of how many of them ours alone gets right, and theirs alone.

    Example:
        >>> points_apart(np.array([True, True]), np.array([True, True]))
        {'points': 0.0, 'interval': [0.0, 0.0]}
    """
    count = len(ours)
    alone = [int((ours & ~theirs).sum()), int((theirs & ~ours).sum())]
    shares = np.array([*alone, count - sum(alone)]) / count
    drawn = np.random.default_rng(SEED).multinomial(count, shares, DRAWS)
    ends = np.quantile(drawn[:, 0] - drawn[:, 1], (0.025, 0.975)) * 100 / count
    gain = 100 * (alone[0] - alone[1]) / count
    return {"points": round(gain, 3), "interval": [round(float(end), 3) for end in ends]}
