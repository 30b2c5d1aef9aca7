"""Single layers as each runtime runs them; ONNX models of them are written by hand, for an export takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gaprune.runtimes.extras import needed
from gaprune.runtimes.int8 import static_int8
from gaprune.runtimes.onnx_files import EXTRA
from gaprune.runtimes.prepared import INPUT, ORT_INT8, TORCH, prepared
from gaprune.runtimes.sessions import onnx_session

OPSET, IR_VERSION = 18, 9


def layer_call(layer: nn.Module, given: Tensor, runtime: str, threads: int) -> Callable[[], object]:
    """A call that runs a layer on a batch.

    Args:
        layer: a linear layer, or a convolution with the ReLU that follows it, in eval mode.
        given: (N, in) or (N, in, H, W) float32, on its device.
        runtime: ``torch``, ``onnxruntime`` or ``onnxruntime-int8``.
        threads: of ONNX Runtime.

    Raises:
        MethodError: a library is missing.
    """
    if runtime == TORCH:
        return prepared(layer, given, runtime, threads)
    proto = _model(layer, given)
    if runtime == ORT_INT8:
        proto = static_int8(proto, (INPUT,), [(given,)])
    session, fed = onnx_session(proto.SerializeToString(), threads), {INPUT: given.numpy()}
    return lambda: session.run(None, fed)


def _model(layer: nn.Module, given: Tensor) -> Any:
    onnx = needed("onnx", EXTRA)
    helper, tensors = onnx.helper, onnx.numpy_helper
    module: Any = layer[0] if isinstance(layer, nn.Sequential) else layer
    with torch.inference_mode():
        shape = list(layer(given).shape)
    weights = [tensors.from_array(getattr(module, name).detach().numpy(), name) for name in ("weight", "bias")]
    if isinstance(module, nn.Linear):
        nodes = [helper.make_node("Gemm", [INPUT, "weight", "bias"], ["output"], transB=1)]
    else:
        settings = {
            "kernel_shape": list(module.kernel_size),
            "strides": list(module.stride),
            "pads": [*module.padding, *module.padding],
            "dilations": list(module.dilation),
            "group": module.groups,
        }
        nodes = [
            helper.make_node("Conv", [INPUT, "weight", "bias"], ["maps"], **settings),
            helper.make_node("Relu", ["maps"], ["output"]),
        ]
    float32 = onnx.TensorProto.FLOAT
    ends = [
        helper.make_tensor_value_info(name, float32, size) for name, size in ((INPUT, given.shape), ("output", shape))
    ]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
