"""Weights (and activations) in 8 bits, by ONNX Runtime; torch's own quantization is deprecated.

torchao's eager networks are slower on a CPU (``benchmarks/quantizers.py``: 5 times at batch 1, 1.6 at batch 32;
compiled ones, which need a C++ compiler where they run, are level), and its ``quantize_`` knows linear layers only.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gaprune.compress.export import exported, quiet
from gaprune.compress.extras import needed
from gaprune.compress.method import CONVOLUTIONS, EMBEDDINGS, LINEAR, Inputs, Method, Outline, Session, Work
from gaprune.compress.runners import OnnxRunner
from gaprune.compress.words import choice, method_text, nothing_left
from gaprune.errors import MethodError, first_line

EVERYTHING = "everything"
MODES = (EVERYTHING, "linear", "embeddings")

OPERATORS = {"linear": ("MatMul", "Gemm", "LSTM"), "embeddings": ("Gather",)}
"""ONNX operators that a mode means: all that ONNX Runtime could quantize would be more than was asked for."""

_NEEDS = {EVERYTHING: (CONVOLUTIONS, LINEAR, EMBEDDINGS), "linear": (LINEAR,), "embeddings": (EMBEDDINGS,)}


LARGEST = 64
"""The largest absolute value of an integer weight that is multiplied: 7 bits.

x86 without VNNI adds two products of an unsigned and a signed byte in 16 bits, which saturate: 2 x 255 x 127 does not
fit, 2 x 255 x 64 does. So a file gives the same answers on every processor.
"""


class Quantize(Method):
    """8-bit integers: ``everything`` (default), ``linear`` layers or ``embeddings`` only.

    ``everything`` of a network with convolutions is static: weights by output channel and activations by tensor, whose
    ranges are taken on the calibration set. Activations are unsigned: on x86, kernels for two signed operands take
    three times as long (ResNet18, one thread, AVX-VNNI), longer than float32. All else is dynamic: activations get
    their range when they are computed. Weights that are multiplied keep to 7 of the 8 bits, see ``LARGEST``.
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
        content = _static(work) if static else _dynamic(work, self._operators())
        before, after = (_operator_counts(proto) for proto in content)
        report = {"calibrated": static, "float operators": before, "quantized operators": after}
        return work.run_by(OnnxRunner(content[1].SerializeToString()), self.text, report)

    def after(self, outline: Outline) -> Outline:
        """See ``Method``."""
        return dataclasses.replace(super().after(outline), kind="onnx")

    def _operators(self) -> list[str]:
        modes = OPERATORS if self.mode == EVERYTHING else (self.mode,)
        return [operator for mode in modes for operator in OPERATORS[mode]]


def _static(work: Work) -> tuple[Any, Any]:
    quantization = needed("onnxruntime.quantization")
    reader = _reader(quantization, work.task.input_names, work.task.calibration())

    def quantized(model: Any, path: str) -> None:
        quantization.quantize_static(
            model,
            path,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            **_weights(quantization),
        )

    return _quantized(work, quantized)


def _dynamic(work: Work, operators: list[str]) -> tuple[Any, Any]:
    quantization = needed("onnxruntime.quantization")

    def quantized(model: Any, path: str) -> None:
        quantization.quantize_dynamic(model, path, op_types_to_quantize=operators, **_weights(quantization))

    return _quantized(work, quantized)


def _weights(quantization: Any) -> dict[str, Any]:
    """Signed, by output channel, within ``LARGEST``."""
    return {"weight_type": quantization.QuantType.QInt8, "per_channel": True, "reduce_range": True}


def _quantized(work: Work, quantize: Any) -> tuple[Any, Any]:
    """The exported model and the quantized one."""
    onnx, proto = needed("onnx"), exported(work)
    with tempfile.TemporaryDirectory() as folder:
        whole, path = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(proto, whole)
        try:
            with quiet():
                quantize(str(whole), str(path))
        except Exception as error:  # the quantizer raises what it likes at operators that it does not know
            raise MethodError(f"ONNX Runtime cannot quantize the network: {first_line(error)}") from error
        return proto, onnx.load(path)


def _reader(quantization: Any, names: Sequence[str], batches: Iterator[Inputs]) -> Any:
    """Calibration batches as ONNX Runtime asks for them, one by one."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            inputs = next(batches, None)
            return None if inputs is None else {n: t.numpy() for n, t in zip(names, inputs, strict=True)}

    return Reader()


def _operator_counts(proto: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in proto.graph.node:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return dict(sorted(found.items()))
