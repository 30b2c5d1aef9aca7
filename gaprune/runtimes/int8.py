"""Weights (and activations) of an ONNX model in 8 bits, by ONNX Runtime; torch's own quantization is deprecated."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gaprune.errors import MethodError, first_line
from gaprune.runtimes.extras import needed
from gaprune.runtimes.onnx_files import EXTRA, quiet

LARGEST = 64
"""The largest absolute value of an integer weight that is multiplied: 7 bits.

x86 without VNNI adds two products of an unsigned and a signed byte in 16 bits, which saturate: 2 x 255 x 127 does not
fit, 2 x 255 x 64 does. So a file gives the same answers on every processor.
"""


def static_int8(proto: Any, names: Sequence[str], batches: Iterable[tuple[Tensor, ...]]) -> Any:
    """An ONNX model with 8-bit weights by output channel and 8-bit activations, whose ranges ``batches`` give.

    Activations are unsigned: on x86, kernels for two signed operands take three times as long (ResNet18, one thread,
    AVX-VNNI), longer than float32. Weights that are multiplied keep to 7 of the 8 bits, see ``LARGEST``.

    Args:
        proto: in float32; left as it is.
        names: of its inputs.
        batches: calibration inputs on the CPU.

    Raises:
        MethodError: a library is missing, or the model cannot be quantized.
    """
    quantization = needed("onnxruntime.quantization", EXTRA)
    reader = _reader(quantization, names, iter(batches))

    def quantize(model: str, path: str) -> None:
        quantization.quantize_static(
            model,
            path,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            **_weights(quantization),
        )

    return _quantized(proto, quantize)


def dynamic_int8(proto: Any, operators: Sequence[str]) -> Any:
    """An ONNX model with 8-bit weights in some operators, whose activations get their range when they are computed.

    Args:
        proto: in float32; left as it is.
        operators: their ONNX types.

    Raises:
        MethodError: a library is missing, or the model cannot be quantized.
    """
    quantization = needed("onnxruntime.quantization", EXTRA)

    def quantize(model: str, path: str) -> None:
        quantization.quantize_dynamic(model, path, op_types_to_quantize=list(operators), **_weights(quantization))

    return _quantized(proto, quantize)


def _weights(quantization: Any) -> dict[str, Any]:
    """Signed, by output channel, within ``LARGEST``."""
    return {"weight_type": quantization.QuantType.QInt8, "per_channel": True, "reduce_range": True}


def _quantized(proto: Any, quantize: Callable[[str, str], None]) -> Any:
    onnx = needed("onnx", EXTRA)
    with tempfile.TemporaryDirectory() as folder:
        whole, path = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(proto, whole)
        try:
            with quiet():
                quantize(str(whole), str(path))
        except Exception as error:  # the quantizer raises what it likes at operators that it does not know
            raise MethodError(f"ONNX Runtime cannot quantize the network: {first_line(error)}") from error
        return onnx.load(path)


def _reader(quantization: Any, names: Sequence[str], batches: Iterator[tuple[Tensor, ...]]) -> Any:
    """Calibration batches as ONNX Runtime asks for them, one by one."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            inputs = next(batches, None)
            return None if inputs is None else {n: t.numpy() for n, t in zip(names, inputs, strict=True)}

    return Reader()
