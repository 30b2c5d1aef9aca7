"""Networks as ONNX models, as they are: what quantized ones are made from, and what their times compare with."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import torch

from gaprune.compress.extras import needed
from gaprune.compress.method import Method, Outline, Session, Work
from gaprune.compress.runners import OnnxRunner
from gaprune.compress.words import method_text, nothing_left
from gaprune.errors import MethodError, first_line

REARRANGING = frozenset(("Concat", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"))
"""Operators that move numbers and compute none."""

EXAMPLES = 2
"""Samples that an export traces with; one would be taken for a constant."""


class Onnx(Method):
    """The network as an ONNX model in float32: same weights, another runtime."""

    name = "onnx"
    devices = ("cpu",)

    def __init__(self, words: Sequence[str] = ()) -> None:
        nothing_left(self.name, words, ("nothing",))
        self.text = method_text(self.name, words)

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        return work.run_by(OnnxRunner(exported(work).SerializeToString()), self.text, {})

    def after(self, outline: Outline) -> Outline:
        """See ``Method``."""
        return Outline("onnx", (*outline.methods, self.name), outline.layers)


def exported(work: Work) -> Any:
    """The network of a work as an ``onnx.ModelProto``; batch norms are folded into convolutions by the exporter.

    Raises:
        MethodError: a library is missing, or the network cannot be exported.
    """
    needed("onnx")
    needed("onnxscript")
    task, network = work.task, copy.deepcopy(work.network).cpu().eval()
    varying = {name: {0, *task.varying.get(name, {})} for name in task.input_names}
    # AUTO, because torch 2.10 to 2.14 find an axis that must be DYNAMIC fixed in a network that they have seen before
    shapes = tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in varying.values())
    try:
        with quiet():
            program: Any = torch.onnx.export(
                network,
                task.inputs(EXAMPLES),
                dynamo=True,
                input_names=list(task.input_names),
                output_names=["logits"],
                dynamic_shapes=shapes,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # the exporter meets a stranger's network, which may raise anything
        raise MethodError(f"the network cannot be exported to ONNX: {first_line(error)}") from error
    _simplify(program.model)
    proto = program.model_proto
    check_varying(proto, varying)
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


def _simplify(model: Any) -> None:
    """What the exporter does by itself, but for which constants are worked out in advance.

    Numbers that are only moved are moved once, however many: the quantizer knows recurrent weights as constants only.
    Products stay: a factored layer's file would be as large as the dense one's.
    """

    def folds(node: Any) -> bool | None:
        return False if node.op_type == "MatMul" else True if node.op_type in REARRANGING else None

    needed("onnxscript.optimizer").optimize_ir(model, should_fold=folds)
    needed("onnxscript.rewriter.onnx_fusions").fuse(model)


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
