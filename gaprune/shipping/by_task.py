"""Members of a search by a task of the caller's own as files: any inputs, any outputs, checked on its batches."""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gaprune.device import pinned
from gaprune.errors import MethodError, ModelError, first_line
from gaprune.progress import SILENT, Reporter
from gaprune.prune import Inputs, build_graph, fold, tensors_in
from gaprune.runtimes import EXAMPLES, Timing, onnx_session, time_calls, to_onnx
from gaprune.shipping.files import ONNX, PT2, STATE_DICT, ShippedFile, describe, made_by, saved_program, state_dict
from gaprune.shipping.subject import Subject
from gaprune.tasks import Task

SIZES = (1, 7, 64)
"""Sizes of the batches that a file is checked with, beside the task's own: it must take any."""

SAMPLES = 256
"""Calibration samples that it is compared on at most."""

ALIKE = 0.01
"""Largest difference that other kernels may make, as a share of the largest number of that output."""

OUTPUT = "output"
"""What a single output is called."""

Answer = Callable[[Inputs], list[Tensor]]


@dataclass(frozen=True)
class TaskCheck:
    """How a file compares with its network.

    Attributes:
        samples: of the task's calibration batches, that both saw, in batches of many sizes.
        difference: largest absolute difference of two numbers.
        largest: the network's largest absolute number.
        file_time: of the file, one sample a batch.
        network_time: of the network in PyTorch, as it is.
        threads: on the CPU.
    """

    samples: int
    difference: float
    largest: float
    file_time: Timing
    network_time: Timing
    threads: int


class Flat(nn.Module):
    """A network as what takes and gives tensors alone, as graphs on disk do; it can be copied, as ``flattened`` cannot.

    Args:
        network: any.
        example: what it is called with; what is no tensor in it stays as it is.
    """

    def __init__(self, network: nn.Module, example: Inputs) -> None:
        super().__init__()
        self.network = network
        self._leaves, self._spec = pytree.tree_flatten((example.positional, example.keywords))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of ``Inputs.tensors`` to those of ``tensors_in``."""
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        positional, keywords = pytree.tree_unflatten(filled, self._spec)
        return tuple(tensors_in(self.network(*positional, **keywords)))


@dataclass(frozen=True)
class Signature:
    """What goes into a network and comes out, flat.

    Attributes:
        example: of ``EXAMPLES`` samples, on the CPU.
        inputs: names of its tensors.
        varying: by name, axes whose length differs among the task's batches; the first always does.
        outputs: names of what comes out.
        foreign: whether that is of a class which ``torch.export`` does not know: a graph of it gives tensors alone.
    """

    example: Inputs
    inputs: tuple[str, ...]
    varying: dict[str, set[int]]
    outputs: tuple[str, ...]
    foreign: bool

    @classmethod
    def of(cls, network: nn.Module, task: Task) -> Signature:
        """Of a network on the CPU.

        Raises:
            MethodError: it gives no tensor.
        """
        example = task.example.on(torch.device("cpu")).first(EXAMPLES)
        with torch.inference_mode():
            found = example(network)
        inputs = _unlike(_input_names(network, example))
        outputs = _unlike(_output_names(found), inputs)
        if not outputs:
            raise MethodError("the network gives no tensor, so there is nothing that a file could give")
        varying = {name: _differing(place, task) for place, name in enumerate(inputs)}
        foreign = any(is_dataclass(leaf) for leaf in pytree.tree_leaves(found))
        return cls(example, inputs, varying, outputs, foreign)

    def axes(self, name: str, shape: tuple[int, ...]) -> list[int | str]:
        """A shape with words for what varies."""
        own = self.varying[name]
        return ["batch" if not axis else "any" if axis in own else size for axis, size in enumerate(shape)]

    def dynamic(self) -> Inputs:
        """Which axes of the arguments vary, as ``torch.export`` is told: in the place of each tensor."""
        axes = [dict.fromkeys(sorted({0, *self.varying[name]}), torch.export.Dim.AUTO) for name in self.inputs]
        if self.foreign:
            return Inputs((tuple(axes),))
        following = iter(axes)
        given = self.example.positional, self.example.keywords
        positional, keywords = pytree.tree_map(
            lambda leaf: next(following) if isinstance(leaf, Tensor) else None, given
        )
        return Inputs(positional, keywords)


def make_task_file(subject: Subject, format: str, task: Task, opset: int | None = None) -> ShippedFile:
    """A network as a file that takes its tensors by name.

    Args:
        subject: the network.
        format: ``onnx``, ``pt2`` or ``state-dict``.
        task: that it was searched by.
        opset: version of ONNX's operators; the exporter's own by default.

    Raises:
        MethodError: a library is missing, or the network cannot be exported.
    """
    form = Signature.of(subject.network, task)
    known = _metadata(subject, format, task, form)
    if format == STATE_DICT:
        return ShippedFile(format, state_dict(subject.network, known), known, uint8=False)
    network = copy.deepcopy(subject.network).eval()
    with suppress(ModelError):  # what cannot be traced here may yet be exported
        fold(network, build_graph(subject.network, form.example).norms)
    if format == PT2:
        nobodys = form.example.map(torch.zeros_like)  # the file keeps what it was traced with
        if form.foreign:
            network, nobodys = Flat(network, nobodys).eval(), Inputs(tuple(nobodys.tensors()))
        return ShippedFile(format, saved_program(network, nobodys, known, form.dynamic()), known, uint8=False)
    flat = Flat(network, form.example).eval()
    tensors = tuple(form.example.tensors())
    proto = to_onnx(flat, tensors, form.inputs, form.varying, opset, outputs=form.outputs)
    describe(proto, known)
    return ShippedFile(format, proto.SerializeToString(), known, uint8=False)


def check_task_file(
    file: ShippedFile, subject: Subject, task: Task, threads: int, reporter: Reporter = SILENT
) -> TaskCheck:
    """Compare a file with its network on the task's calibration batches, and time both.

    Args:
        file: loaded again here.
        subject: what it was made from.
        task: that it was searched by.
        threads: on the CPU.
        reporter: told how it goes.

    Raises:
        MethodError: its runtime does not take it, or it gives other numbers.
    """
    form = Signature.of(subject.network, task)
    batches = list(_batches(task))
    before = _torch(subject.network)
    with pinned(threads):
        after = _loaded(file, subject, form, threads)
        difference = largest = 0.0
        with reporter.task("check", sum(map(len, batches))) as bar:
            for batch in batches:
                apart, most = _compared(form.outputs, before(batch), _run(after, batch), file.format)
                difference, largest = max(difference, apart), max(largest, most)
                bar.advance(len(batch))
        one = batches[0].first(1)
        times = time_calls([partial(after, one), partial(before, one)])
    samples = min(SAMPLES, sum(map(len, task.batches)))
    return TaskCheck(samples, difference, largest, times[0], times[1], threads)


def _batches(task: Task) -> Iterator[Inputs]:
    """The first of the task's batches, each whole and in parts of many sizes."""
    left = SAMPLES
    for batch in (one.on(torch.device("cpu")) for one in task.batches):
        most = min(len(batch), left)
        for size in sorted({min(size, most) for size in (*SIZES, most)} - {0}):
            yield batch.first(size)
        left -= most


def _torch(network: nn.Module) -> Answer:
    def answer(batch: Inputs) -> list[Tensor]:
        with torch.inference_mode():
            return tensors_in(batch(network))

    return answer


def _loaded(file: ShippedFile, subject: Subject, form: Signature, threads: int) -> Answer:
    """A file as it runs where it ships to."""
    if file.format == ONNX:
        session = onnx_session(file.content, threads)

        def answer(batch: Inputs) -> list[Tensor]:
            given = {name: one.numpy() for name, one in zip(form.inputs, batch.tensors(), strict=True)}
            taken = {entry.name for entry in session.get_inputs()}  # the exporter drops what nothing depends on
            found = session.run(list(form.outputs), {name: given[name] for name in taken})
            return [torch.from_numpy(one) for one in found]

        return answer
    if file.format == PT2:
        program = _torch(torch.export.load(io.BytesIO(file.content)).module())
        return (lambda batch: program(Inputs(tuple(batch.tensors())))) if form.foreign else program
    network = copy.deepcopy(subject.network)
    for tensor in network.state_dict().values():
        tensor.zero_()
    network.load_state_dict(load_tensors(file.content))
    return _torch(network)


def _run(answer: Answer, batch: Inputs) -> list[Tensor]:
    try:
        return answer(batch)
    except Exception as error:  # runtimes raise what they like
        raise MethodError(f"the file does not take {len(batch)} samples ({batch}): {first_line(error)}") from error


def _compared(names: tuple[str, ...], before: list[Tensor], after: list[Tensor], format: str) -> tuple[float, float]:
    """Largest difference and largest number of one batch's outputs."""
    difference = largest = 0.0
    for name, one, other in zip(names, before, after, strict=True):
        if one.shape != other.shape:
            raise MethodError(f"the {format} file gives {name} of shape {tuple(other.shape)}, not {tuple(one.shape)}")
        if not one.numel():
            continue
        most = float(one.double().abs().max())
        apart = float((one.double() - other.double()).abs().max())
        if not apart <= ALIKE * max(most, 1e-6):
            raise MethodError(
                f"the file answers otherwise than the network: {name}, numbers of up to {most:.3g}, differs by up to "
                f"{apart:.3g}; nothing was written"
            )
        difference, largest = max(difference, apart), max(largest, most)
    return difference, largest


def _input_names(network: nn.Module, example: Inputs) -> list[str]:
    """``input`` for one argument by position, the forward function's names for several, and arguments' own names."""
    found, _ = pytree.tree_flatten_with_path((example.positional, example.keywords))
    parameters = list(inspect.signature(network.forward).parameters)
    names = []
    for path, leaf in found:
        if isinstance(leaf, Tensor):
            by_position, *words = (str(getattr(entry, "key", getattr(entry, "idx", ""))) for entry in path)
            if by_position == "0":
                place = int(words[0])
                words[0] = parameters[place] if place < len(parameters) else f"input_{place}"
                if len(example.positional) == 1:
                    words[0] = "input"
            names.append("_".join(words))
    return names


def _output_names(found: Any) -> list[str]:
    """``output`` for one tensor, ``output_0`` and so on for several, or their own names, in its order."""
    if isinstance(found, Tensor):
        return [OUTPUT]
    if isinstance(found, tuple | list):
        return _named(found, OUTPUT)
    return _named(found, "")


def _named(value: Any, prefix: str) -> list[str]:
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Tensor):
        return [prefix]
    if isinstance(value, Mapping):
        parts = [(str(name), one) for name, one in value.items()]
    elif isinstance(value, tuple | list):
        parts = [(str(number), one) for number, one in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(part.name, getattr(value, part.name)) for part in fields(value)]
    return [name for word, one in parts for name in _named(one, f"{prefix}_{word}" if prefix else word)]


def _unlike(names: list[str], taken: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The same names, with numbers where two are alike."""
    found: list[str] = []
    for name in names:
        known, number = {*found, *taken}, 2
        one = name
        while one in known:
            one, number = f"{name}_{number}", number + 1
        found.append(one)
    return tuple(found)


def _differing(place: int, task: Task) -> set[int]:
    """Axes beside the first whose length differs among the example and the batches."""
    shapes = [one.tensors()[place].shape for one in (task.example, *task.batches)]
    return {axis for axis in range(1, len(shapes[0])) if len({shape[axis] for shape in shapes}) > 1}


def _metadata(subject: Subject, format: str, task: Task, form: Signature) -> dict[str, Any]:
    """What who has the file alone must know."""
    tensors = zip(form.inputs, form.example.tensors(), strict=True)
    return {
        "inputs": [
            {"name": name, "type": str(one.dtype).removeprefix("torch."), "shape": form.axes(name, tuple(one.shape))}
            for name, one in tensors
        ],
        "outputs": list(form.outputs),
        "score": task.name,
        **subject.origin,
        "made_by": made_by(format),
    }
