"""Networks as ONNX models, as they are: what quantized ones are made from, and what their times compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaprune.compress.method import Method, Outline, Session, Work
from gaprune.compress.runners import OnnxRunner
from gaprune.compress.words import method_text, nothing_left
from gaprune.runtimes import EXAMPLES, to_onnx


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
    """The network of a work as an ``onnx.ModelProto``.

    Raises:
        MethodError: a library is missing, or the network cannot be exported.
    """
    task = work.task
    varying = {name: set(axes) for name, axes in task.varying.items()}
    return to_onnx(work.network, task.inputs(EXAMPLES), task.input_names, varying)
