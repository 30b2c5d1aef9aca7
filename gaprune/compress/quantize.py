"""Weights (and activations) in 8 bits, by ONNX Runtime; torch's own quantization is deprecated.

torchao's eager networks are slower on a CPU (``benchmarks/quantizers.py``: 5 times at batch 1, 1.6 at batch 32;
compiled ones, which need a C++ compiler where they run, are level), and its ``quantize_`` knows linear layers only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gaprune.compress.export import exported
from gaprune.compress.method import CONVOLUTIONS, EMBEDDINGS, LINEAR, Method, Outline, Session, Work
from gaprune.compress.runners import OnnxRunner
from gaprune.compress.words import choice, method_text, nothing_left
from gaprune.runtimes import dynamic_int8, static_int8

EVERYTHING = "everything"
MODES = (EVERYTHING, "linear", "embeddings")

OPERATORS = {"linear": ("MatMul", "Gemm", "LSTM"), "embeddings": ("Gather",)}
"""ONNX operators that a mode means: all that ONNX Runtime could quantize would be more than was asked for."""

_NEEDS = {EVERYTHING: (CONVOLUTIONS, LINEAR, EMBEDDINGS), "linear": (LINEAR,), "embeddings": (EMBEDDINGS,)}


class Quantize(Method):
    """8-bit integers: ``everything`` (default), ``linear`` layers or ``embeddings`` only.

    ``everything`` of a network with convolutions is static: weights by output channel and activations by tensor, whose
    ranges are taken on the calibration set. All else is dynamic: activations get their range when they are computed.
    ``gaprune.runtimes`` has how.
    """

    name = "quantize"
    devices = ("cpu",)

    def __init__(self, words: Sequence[str] = ()) -> None:
        left = list(words)
        self.mode = choice(left, MODES, EVERYTHING)
        nothing_left(self.name, left, MODES)
        self.text = method_text(self.name, words)
        self.applies_to = _NEEDS[self.mode]

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        self.check(work.outline)
        static = self.mode == EVERYTHING and CONVOLUTIONS in (work.outline.layers or ())
        before, task = exported(work), work.task
        if static:
            after = static_int8(before, task.input_names, task.calibration())
        else:
            after = dynamic_int8(before, self._operators())
        counts = {"float operators": _operator_counts(before), "quantized operators": _operator_counts(after)}
        return work.run_by(OnnxRunner(after.SerializeToString()), self.text, {"calibrated": static, **counts})

    def after(self, outline: Outline) -> Outline:
        """See ``Method``."""
        return dataclasses.replace(super().after(outline), kind="onnx")

    def _operators(self) -> list[str]:
        modes = OPERATORS if self.mode == EVERYTHING else (self.mode,)
        return [operator for mode in modes for operator in OPERATORS[mode]]


def _operator_counts(proto: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in proto.graph.node:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return dict(sorted(found.items()))
