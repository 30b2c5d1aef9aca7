"""A network as each runtime runs it: one call does one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO

import torch
from torch import Tensor, nn

from gaprune.errors import MethodError, first_line
from gaprune.runtimes.extras import needed
from gaprune.runtimes.int8 import static_int8
from gaprune.runtimes.onnx_files import EXAMPLES, EXTRA, quiet, to_onnx
from gaprune.runtimes.sessions import onnx_session

TORCH, COMPILE, ORT, ORT_INT8 = "torch", "compile", "onnxruntime", "onnxruntime-int8"

NAMES = {TORCH: "PyTorch", COMPILE: "torch.compile", ORT: "ONNX Runtime", ORT_INT8: "ONNX Runtime int8"}
"""What each is called in tables."""

INPUT = "images"


def check_runtime(runtime: str, device: torch.device) -> None:
    """Refuse a runtime that cannot run here, before anything slow.

    Raises:
        MethodError: a library or a compiler is missing, or it does not run on the device.
    """
    if runtime in (ORT, ORT_INT8):
        if device.type != "cpu":
            raise MethodError(f"latency in {NAMES[runtime]} is measured on the CPU, not on {device.type}")
        for library in ("onnx", "onnxscript", "onnxruntime"):
            needed(library, EXTRA)
    if runtime == COMPILE:
        with torch.no_grad():
            prepared(nn.Conv2d(1, 1, 1).to(device).eval(), torch.zeros(1, 1, 2, 2, device=device), runtime, 1)()


def prepared(network: nn.Module, images: Tensor, runtime: str, threads: int) -> Callable[[], object]:
    """A call that runs a batch, everything that is done once being done.

    Args:
        network: in eval mode, batch norms folded; left as it is.
        images: (N, C, H, W) float32, normalised, on the network's device.
        runtime: one of ``NAMES``.
        threads: of ONNX Runtime; torch's are set around the calls.

    Raises:
        MethodError: the runtime does not take the network.
    """
    if runtime == TORCH:
        return _eager(network, images)
    if runtime == COMPILE:
        return _compiled(network, images)
    several = images[torch.arange(max(EXAMPLES, len(images)), device=images.device) % len(images)].cpu()
    proto = to_onnx(network, (several[:EXAMPLES],), (INPUT,))
    if runtime == ORT_INT8:
        proto = static_int8(proto, (INPUT,), [(several,)])
    session, fed = onnx_session(proto.SerializeToString(), threads), {INPUT: images.cpu().numpy()}
    return lambda: session.run(None, fed)


def _eager(network: nn.Module, images: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return network(images)

    return call


def _compiled(network: nn.Module, images: Tensor) -> Callable[[], object]:
    torch._dynamo.reset()  # what was compiled for other networks would make this one be taken for a dynamic shape
    compiled: Callable[[Tensor], object] = network

    def call() -> object:
        with torch.no_grad():
            return compiled(images)

    try:
        with quiet(), redirect_stderr(StringIO()):
            compiled = torch.compile(copy.deepcopy(network), dynamic=False)
            call()
    except Exception as error:  # a missing compiler, or a network that it does not take
        raise MethodError(f"torch.compile cannot run the network: {first_line(error)}") from error
    return call
