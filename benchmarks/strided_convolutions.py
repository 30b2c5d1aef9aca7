"""At which widths does torch's gradient of a strided 1x1 convolution overrun its memory on this CPU, and with what?

Claim: where images lie channels last, oneDNN's gradient of such weights is wrong or kills the process at 2 to 7
channels with the kernels of AVX2 and at 2 to 15 with those of AVX-512; by ``gaprune.training.pointwise``, which every
training step of gaprune goes through, all are right. The fault and its report: docs/explanation/onednn.md.

Each width runs in a process of its own until one dies: forward and backward passes on one thread, the weights' gradient
beside that without oneDNN. ``ONEDNN_MAX_CPU_ISA`` chooses the instruction set; a processor without AVX-512 takes the
widest that it has.

    python benchmarks/strided_convolutions.py
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.harness import Goal, run
from gaprune.progress import Reporter, make_reporter
from gaprune.training.pointwise import PixelsFirst

ISAS = ("SSE41", "AVX2", "AVX512_CORE", "DEFAULT")
WIDTHS = range(1, 21)
SHAPES = ((30, 8, 4), (4, 32, 16), (4, 64, 16), (4, 128, 16))
"""Number and side of the images, and output channels: what overruns how far depends on them."""
PASSES = 3
NEAR = 1e-3
"""Largest distance of a right gradient, as a share of its largest entry."""
PATIENCE = 60
"""Seconds after which a process hangs."""

STOCK, GUARDED = "stock", "pixels first"
RIGHT = "right"
GOALS = tuple(Goal(f"widths that fail, {GUARDED}, {isa}", "<=", 0, "widths") for isa in ISAS)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a process that tries widths."""
    parser.add_argument("--try-from", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=(STOCK, GUARDED), help=argparse.SUPPRESS)


def gradient_error(width: int, shape: tuple[int, int, int], side: str) -> float:
    """How far the weights' gradient is from the one without oneDNN, as a share of its largest entry."""
    number, length, outputs = shape
    torch.manual_seed(width)
    layer = nn.Conv2d(width, outputs, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
    images = torch.randn(number, width, length, length).contiguous(memory_format=torch.channels_last)
    taught = torch.randn(number, outputs, length // 2, length // 2)
    for _ in range(PASSES):
        layer.zero_grad()
        with PixelsFirst() if side == GUARDED else contextlib.nullcontext():
            answers = layer(images)
        answers.backward(taught)
    assert layer.weight.grad is not None
    with torch.backends.mkldnn.flags(enabled=False):
        (wanted,) = torch.autograd.grad(layer(images), layer.weight, taught)
    return float((layer.weight.grad - wanted).abs().max() / wanted.abs().max())


def try_widths(first: int, side: str) -> int:
    """Say of each width, one a line, whether its gradients are right. Part of this may be the last thing it does."""
    torch.set_num_threads(1)
    for width in WIDTHS[WIDTHS.index(first) :]:
        worst = max(gradient_error(width, shape, side) for shape in SHAPES)
        print(RIGHT if worst < NEAR else f"wrong gradients, {worst:.1g} apart", flush=True)
    return 0


def outcomes(isa: str, side: str) -> Iterator[str]:
    """What came of each width, in order."""
    done = 0
    while done < len(WIDTHS):
        command = [sys.executable, __file__, "--try-from", str(WIDTHS[done]), "--side", side]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": "1"},
        ) as child:
            try:
                said, _ = child.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                said, _ = child.communicate()
        lines = said.splitlines()
        yield from lines
        done += len(lines)
        if done < len(WIDTHS):
            yield signal.Signals(-child.returncode).name if child.returncode < 0 else f"status {child.returncode}"
            done += 1


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every instruction set's widths, with torch alone and with the guard."""
    reporter: Reporter = make_reporter()
    isas = ISAS[1:2] if options.quick else ISAS
    rows, figures = [], {}
    with reporter.task("widths", len(isas) * 2 * len(WIDTHS)) as task:
        for isa in isas:
            for side in (STOCK, GUARDED):
                found = dict(zip(WIDTHS, outcomes(isa, side), strict=True))
                rows += [{"isa": isa, "side": side, "width": width, "outcome": what} for width, what in found.items()]
                figures[f"widths that fail, {side}, {isa}"] = sum(what != RIGHT for what in found.values())
                task.advance(len(found))
    return {
        "data": "random-images",
        "device": "cpu",
        "onednn": onednn(),
        "libc": " ".join(platform.libc_ver()),
        "figures": figures,
        "rows": rows,
    }


def onednn() -> str:
    """The version of oneDNN that torch was built with."""
    lines = [line for line in torch.__config__.show().splitlines() if "MKL-DNN" in line]
    return lines[0].strip(" -") if lines else "none"


if __name__ == "__main__":
    if "--try-from" in sys.argv:
        parser = argparse.ArgumentParser()
        arguments(parser)
        chosen = parser.parse_args()
        raise SystemExit(try_widths(chosen.try_from, chosen.side))
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
