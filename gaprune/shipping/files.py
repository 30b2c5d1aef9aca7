"""The file of each format: made in memory, and loaded again in its own runtime."""

from __future__ import annotations

import copy
import inspect
import io
import json
import platform
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from gaprune.data import normalise, normaliser
from gaprune.errors import MethodError, ModelError, first_line
from gaprune.prune import Inputs, build_graph, fold
from gaprune.runtimes import EXAMPLES, OUTPUT, onnx_session, quiet, static_int8, to_onnx
from gaprune.shipping.subject import Subject

ONNX, PT2, STATE_DICT = "onnx", "pt2", "state-dict"

INPUT = "images"
"""What the file's input is called."""

KEY = "gaprune"
"""Under which a file that holds one text of metadata has it, as JSON."""

Classify = Callable[[Tensor], Tensor]
"""(N, C, H, W) uint8 pixels to (N, classes) float logits."""


@dataclass(frozen=True)
class ShippedFile:
    """A file in memory.

    Attributes:
        format: its name.
        content: its bytes.
        metadata: what stands in it, by name, as JSON values.
        uint8: whether it takes pixels as they are.
        float_bytes: of a quantized file, what the one in floats took.
    """

    format: str
    content: bytes
    metadata: dict[str, Any]
    uint8: bool
    float_bytes: int | None = None


class Preprocessed(nn.Module):
    """A network that normalises its pixels itself.

    Args:
        network: takes normalised floats.
        mean: per channel, of 0..255 pixels.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pixels to (N, classes) logits."""
        logits: Tensor = self.network((images.to(torch.float32) - self.mean) / self.std)
        return logits


def make_file(
    subject: Subject,
    format: str,
    images: Tensor,
    *,
    preprocessing: bool = False,
    opset: int | None = None,
    calibration: Iterable[Tensor] | None = None,
) -> ShippedFile:
    """A network as a file.

    Args:
        subject: the network.
        format: ``onnx``, ``pt2`` or ``state-dict``.
        images: some (N, C, H, W) uint8 images to trace with.
        preprocessing: whether it normalises by itself.
        opset: version of ONNX's operators; the exporter's own by default.
        calibration: batches of (N, C, H, W) uint8 images that give activations in 8 bits their ranges; ``None`` stays
            in floats.

    Raises:
        MethodError: a library is missing, or the network cannot be exported, or not quantized.
    """
    known = _metadata(subject, format, preprocessing, calibration is not None)
    if format == STATE_DICT:
        return ShippedFile(format, state_dict(subject.network, known), known, False)
    network = _folded(subject)
    if preprocessing:
        network = Preprocessed(network, subject.mean, subject.std).eval()
    example = images[torch.arange(EXAMPLES) % len(images)]

    def fed(batch: Tensor) -> tuple[Tensor]:
        return (batch if preprocessing else normalise(batch, subject.mean, subject.std),)

    if format == PT2:
        nobodys = torch.zeros_like(example)  # the file keeps what it was traced with
        content = saved_program(network, Inputs(fed(nobodys)), known, Inputs(({0: torch.export.Dim.AUTO},)))
        return ShippedFile(format, content, known, preprocessing)
    proto = to_onnx(network, fed(example), (INPUT,), opset=opset)
    float_bytes = None
    if calibration is not None:
        float_bytes = len(proto.SerializeToString())
        proto = static_int8(proto, (INPUT,), (fed(batch) for batch in calibration))
    describe(proto, known)
    return ShippedFile(format, proto.SerializeToString(), known, preprocessing, float_bytes)


def load_file(file: ShippedFile, subject: Subject, threads: int) -> Classify:
    """A file as it runs where it ships to.

    Args:
        file: as ``make_file`` made it; what it answers comes from its bytes alone, but for a state dict, whose
            tensors are put into the network's modules.
        subject: what it was made from.
        threads: on the CPU.

    Raises:
        MethodError: its runtime does not take it.
    """
    normalised = normaliser(subject.mean, subject.std, "cpu")

    def fed(pixels: Tensor) -> Tensor:
        return pixels if file.uint8 else normalised(pixels)

    if file.format == ONNX:
        session = onnx_session(file.content, threads)
        return lambda pixels: torch.from_numpy(session.run([OUTPUT], {INPUT: fed(pixels).numpy()})[0])
    if file.format == PT2:
        network: nn.Module = torch.export.load(io.BytesIO(file.content)).module()
    else:
        network = copy.deepcopy(subject.network)
        for tensor in network.state_dict().values():
            tensor.zero_()
        network.load_state_dict(load_tensors(file.content))

    def classify(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = network(fed(pixels)).float()
            return found

    return classify


def runtime_of(format: str) -> str:
    """Whose kernels run a file, with the version."""
    return f"ONNX Runtime {metadata.version('onnxruntime')}" if format == ONNX else f"PyTorch {torch.__version__}"


def _folded(subject: Subject) -> nn.Module:
    """A copy with batch norms folded, where they are seen: fewer operators, the same function."""
    network = copy.deepcopy(subject.network).eval()
    with suppress(ModelError):  # what cannot be traced here may yet be exported
        fold(network, build_graph(subject.network, subject.image_shape).norms)
    return network


def saved_program(network: nn.Module, example: Inputs, known: dict[str, Any], varying: Inputs) -> bytes:
    """What ``torch.export`` writes of a network.

    Args:
        network: in eval mode.
        example: what it is called with.
        known: metadata.
        varying: by its arguments, which axes vary, as ``torch.export`` is told.

    Raises:
        MethodError: it cannot be exported.
    """
    content, shapes = io.BytesIO(), varying.positional if not varying.keywords else _by_parameter(network, varying)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                network, example.positional, example.keywords or None, dynamic_shapes=shapes, strict=False
            )
            _forget_where(program)
            torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(known)})
    except Exception as error:  # the exporter meets a stranger's network, which may raise anything
        raise MethodError(f"the network cannot be exported by torch.export: {first_line(error)}") from error
    return content.getvalue()


def _by_parameter(network: nn.Module, varying: Inputs) -> dict[str, Any]:
    """The same by names of the forward function's parameters, which is how ``torch.export`` has it with keywords."""
    names = [name for name in inspect.signature(network.forward).parameters if name not in varying.keywords]
    return {**dict(zip(names, varying.positional, strict=False)), **varying.keywords}


def _forget_where(program: Any) -> None:
    """Take out the stack traces of the export: bytes to ship, and paths of this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def state_dict(network: nn.Module, known: dict[str, Any]) -> bytes:
    """A network's tensors as safetensors, with metadata."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    return save_tensors(tensors, metadata={KEY: json.dumps(known)})


def describe(proto: Any, known: dict[str, Any]) -> None:
    """Write metadata into an ONNX model: texts as they are, everything else as JSON."""
    del proto.metadata_props[:]
    for name, value in known.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    proto.producer_name, proto.producer_version = KEY, metadata.version(KEY) if _installed() else ""


def _installed() -> bool:
    try:
        return bool(metadata.version(KEY))
    except metadata.PackageNotFoundError:
        return False


def _metadata(subject: Subject, format: str, preprocessing: bool, integers: bool) -> dict[str, Any]:
    """What who has the file alone must know: what goes in, what comes out, where it comes from."""
    shape = ["batch", *subject.image_shape]
    pixels = "pixels 0 to 255" if preprocessing else "(pixel - mean) / std of pixels 0 to 255, by channel"
    return {
        "input": {"name": INPUT, "type": "uint8" if preprocessing else "float32", "shape": shape, "values": pixels},
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", len(subject.classes)]},
        "classes": list(subject.classes),
        "mean": list(subject.mean),
        "std": list(subject.std),
        "precision": "int8" if integers else "float32",
        **subject.origin,
        "made_by": made_by(format),
    }


def made_by(format: str) -> dict[str, str]:
    """Versions that a file's numbers depend on."""
    return {"torch": torch.__version__, "python": platform.python_version(), "format": format}
