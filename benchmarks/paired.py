"""Two networks on the same images: which images each answers rightly, how far apart they are, and how sure that is."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaprune.compress.runners import OnnxRunner
from gaprune.data import ImageSet, normalise
from gaprune.errors import MethodError
from gaprune.genome import Bits, Floats
from gaprune.runtimes import quiet

RESAMPLES = 20_000
SEED = 0
BATCH = 16
"""Images a forward pass: few enough for the processor's caches."""

RUNTIME = "ONNX Runtime on a CPU, PyTorch elsewhere"
OPSET = 17


def right(
    network: nn.Module, sets: Sequence[ImageSet], mean: tuple[float, ...], std: tuple[float, ...]
) -> list[torch.Tensor]:
    """For each set (N,) whether each image's highest logit is its label, in float32.

    On a CPU the network is exported and run by ONNX Runtime, three times as fast as PyTorch on depthwise networks.
    """
    predict = _predictor(network, sets[0])
    found = []
    with torch.inference_mode():
        for images in sets:
            answers = []
            for start in range(0, len(images), BATCH):
                batch = slice(start, start + BATCH)
                answers.append(predict(normalise(images.images[batch], mean, std)).argmax(1) == images.labels[batch])
            found.append(torch.cat(answers))
    return found


def share(answers: torch.Tensor) -> float:
    """Of the images that are answered rightly."""
    return float(answers.double().mean())


def _predictor(network: nn.Module, images: ImageSet) -> Callable[[torch.Tensor], torch.Tensor]:
    device = images.labels.device
    if device.type != "cpu":
        return network
    content = io.BytesIO()
    example = torch.zeros((2, *images.images.shape[1:]))
    try:
        with quiet():
            torch.onnx.export(
                copy.deepcopy(network).eval(),
                (example,),
                content,
                dynamo=False,  # seconds instead of a minute a network
                input_names=["images"],
                dynamic_axes={"images": {0: "batch"}},
                opset_version=OPSET,
            )
        run = OnnxRunner(content.getvalue()).predictor(device)
    except (RuntimeError, TypeError, MethodError) as error:
        raise MethodError(f"the network cannot be run by ONNX Runtime: {error}") from error
    return lambda pixels: run((pixels,))


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


def f1_difference(labels: Bits, a: Bits, b: Bits) -> dict[str, Any]:
    """F1 of one classifier less another's on the same samples, 0 to 1, with its 95% interval.

    The paired bootstrap's, as ``difference`` has it: a sample counts by its label and both calls.

    Args:
        labels: (N,) whether a sample is of the positive class.
        a: (N,) whether the one calls it so.
        b: (N,) whether the other does.
    """
    cells = np.bincount(4 * labels + 2 * a + b, minlength=8)
    drawn = np.random.default_rng(SEED).multinomial(len(labels), cells / len(labels), RESAMPLES)
    low, high = np.quantile(_f1_apart(drawn), (0.025, 0.975))
    point = float(_f1_apart(cells[np.newaxis])[0])
    return {"F1": round(point, 5), "95%": [round(float(low), 5), round(float(high), 5)]}


def _f1_apart(counts: NDArray[np.int64]) -> Floats:
    """(n,) F1 of the first less the second's from (n, 8) counts by label and both calls."""
    cells = counts.reshape(-1, 2, 2, 2)
    found = []
    for other in (3, 2):
        by_call = cells.sum(axis=other)
        hits, wrong = by_call[:, 1, 1], by_call[:, 0, 1] + by_call[:, 1, 0]
        found.append(2 * hits / np.maximum(2 * hits + wrong, 1))
    return np.asarray(found[0] - found[1], dtype=np.float64)
