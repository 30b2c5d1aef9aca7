"""Networks as ONNX models: exported by torch, without what misleads or tells of the machine."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

from gaprune.errors import MethodError, first_line
from gaprune.runtimes.extras import needed

REARRANGING = frozenset(("Concat", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"))
"""Operators that move numbers and compute none."""

EXAMPLES = 2
"""Samples that an export traces with; one would be taken for a constant."""

BATCH = "batch"
"""What the axis of samples is called in a file."""

OUTPUT = "logits"

EXTRA = "export"
"""The package's extra that installs what is needed here."""


def to_onnx(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    varying: Mapping[str, Set[int]] | None = None,
    opset: int | None = None,
    *,
    outputs: Sequence[str] = (OUTPUT,),
) -> Any:
    """A network as an ``onnx.ModelProto``, its batch norms folded into convolutions by the exporter.

    Args:
        network: in any mode, on any device; a copy in eval mode is exported.
        inputs: of ``EXAMPLES`` samples, on the CPU.
        names: of the inputs.
        varying: by name of the input, the axes whose length varies beside the first, which always does.
        opset: version of the operators; the exporter's own by default.
        outputs: names of what it gives.

    Raises:
        MethodError: a library is missing, or the network cannot be exported.
    """
    _check_opset(opset)
    needed("onnxscript", EXTRA)
    copied = copy.deepcopy(network).cpu().eval()
    axes = {name: {0, *(varying or {}).get(name, ())} for name in names}
    # AUTO, because torch 2.10 to 2.14 find an axis that must be DYNAMIC fixed in a network that they have seen before
    shapes: tuple[Any, ...] = tuple(dict.fromkeys(found, torch.export.Dim.AUTO) for found in axes.values())
    parameters = list(inspect.signature(copied.forward).parameters.values())
    rest = next((place for place, one in enumerate(parameters) if one.kind is one.VAR_POSITIONAL), len(shapes))
    if rest < len(shapes):  # ``*tensors`` is one argument
        shapes = (*shapes[:rest], shapes[rest:])
    try:
        with quiet():
            program: Any = torch.onnx.export(
                copied,
                inputs,
                dynamo=True,
                input_names=list(names),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                optimize=False,
                verbose=False,
                opset_version=opset,
            )
    except Exception as error:  # the exporter meets a stranger's network, which may raise anything
        raise MethodError(f"the network cannot be exported to ONNX: {first_line(error)}") from error
    _simplify(program.model)
    proto = program.model_proto
    check_varying(proto, axes)
    _check_written(proto, opset)
    _name_batch(proto)
    del proto.graph.value_info[:]  # shapes of weights before the exporter transposed them mislead the quantizer
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces of the export: bytes to ship, and paths of this machine
    return proto


def check_varying(proto: Any, varying: Mapping[str, Set[int]]) -> None:
    """Refuse a file in which the exporter has taken an axis that varies for a constant.

    Args:
        proto: the ONNX model.
        varying: axes by name of the input.

    Raises:
        MethodError: with the axis and its size.
    """
    for entry in proto.graph.input:
        sizes = entry.type.tensor_type.shape.dim
        for axis in sorted(varying[entry.name]):
            if not sizes[axis].dim_param:
                raise MethodError(
                    f"the network cannot be exported to ONNX: it takes {entry.name} of size {sizes[axis].dim_value} "
                    f"along axis {axis} only, expected any size"
                )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the advice of exporter and quantizer: printed, logged and warned."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check_opset(opset: int | None) -> None:
    """Refuse operators that the library which writes them does not know, before anything slow."""
    newest = needed("onnx", EXTRA).defs.onnx_opset_version()
    if opset is not None and opset > newest:
        raise MethodError(f"opset must be at most {newest}, the newest that this onnx knows, got {opset}")


def _check_written(proto: Any, opset: int | None) -> None:
    """The exporter writes another version without a word where it cannot write the one that was asked for."""
    written = next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx"))
    if opset is not None and written != opset:
        raise MethodError(
            f"torch {torch.__version__} cannot write opset {opset}: it wrote {written}; leave --opset out"
        )


def _name_batch(proto: Any) -> None:
    """Call the axis of samples by its name, wherever it is known as the exporter's ``s77``."""
    first = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for entry in (*proto.graph.input, *proto.graph.output):
        for axis in entry.type.tensor_type.shape.dim:
            if axis.dim_param == first:
                axis.dim_param = BATCH


def _simplify(model: Any) -> None:
    """What the exporter does by itself, but for which constants are worked out in advance.

    Numbers that are only moved are moved once, however many: the quantizer knows recurrent weights as constants only.
    Products stay: a factored layer's file would be as large as the dense one's.
    """

    def folds(node: Any) -> bool | None:
        return False if node.op_type == "MatMul" else True if node.op_type in REARRANGING else None

    needed("onnxscript.optimizer", EXTRA).optimize_ir(model, should_fold=folds)
    needed("onnxscript.rewriter.onnx_fusions", EXTRA).fuse(model)
