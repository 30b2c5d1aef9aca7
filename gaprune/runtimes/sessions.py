"""ONNX models as they run: sessions of ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from gaprune.errors import MethodError, first_line
from gaprune.runtimes.extras import needed
from gaprune.runtimes.onnx_files import EXTRA


def onnx_session(content: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        content: of the file.
        threads: that one operator may use; they sleep while there is nothing to do.

    Raises:
        MethodError: ONNX Runtime is not installed, or cannot run this.
    """
    runtime = needed("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise MethodError(f"ONNX Runtime cannot run this: {first_line(error)}") from error
