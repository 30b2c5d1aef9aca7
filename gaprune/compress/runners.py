"""How a compressed model runs, and the file that it ships as."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from gaprune.errors import MethodError, RunError, first_line
from gaprune.runs import atomic_write
from gaprune.runtimes import onnx_session

Inputs = tuple[Tensor, ...]
"""What a network takes, by position: normalised images, or token ids and a mask."""

Predict = Callable[[Inputs], Tensor]
"""Inputs to (N, classes) float logits."""

ONNX_FILE = "model.onnx"


class Runner(ABC):
    """A model that runs.

    Attributes:
        kind: what it is: ``torch`` modules or an ``onnx`` file.
        runtime: whose kernels compute it, for tables: times of different ones are not alike.
        devices: types of devices that it runs on.
    """

    kind: ClassVar[str]
    runtime: ClassVar[str]
    devices: tuple[str, ...]

    @abstractmethod
    def predictor(self, device: torch.device, threads: int | None = None) -> Predict:
        """The function from inputs on ``device`` to logits there; of ``threads`` CPU threads, torch's number if None.

        Raises:
            MethodError: it does not run on that device.
        """

    def check_device(self, device: torch.device) -> None:
        """Raise ``MethodError`` where it does not run on a device."""
        if device.type not in self.devices:
            raise MethodError(f"{self.runtime} runs this model on {' and '.join(self.devices)}, not on {device.type}")


class TorchRunner(Runner):
    """A network of torch modules; ``storage`` saves it as tensors and a description.

    Args:
        model: in eval mode.
        sparse: whether its zeros are left out of the file.
    """

    kind = "torch"
    runtime = "PyTorch"
    devices = ("cpu", "cuda")

    def __init__(self, model: nn.Module, sparse: bool = False) -> None:
        self.model = model.eval()
        self.sparse = sparse

    def predictor(self, device: torch.device, threads: int | None = None) -> Predict:
        """A copy on ``device``, where it is not there already. Threads are torch's: set them around the calls."""
        self.check_device(device)
        where = next(self.model.parameters()).device
        model = self.model if where == device else copy.deepcopy(self.model).to(device)

        def predict(inputs: Inputs) -> Tensor:
            with torch.inference_mode():
                return model(*inputs).float()  # type: ignore[no-any-return]

        return predict


class OnnxRunner(Runner):
    """An ONNX model, run by ONNX Runtime on the CPU.

    Args:
        content: of the file.
    """

    kind = "onnx"
    runtime = "ONNX Runtime"
    devices = ("cpu",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def predictor(self, device: torch.device, threads: int | None = None) -> Predict:
        """A session of its own; it takes inputs on the CPU."""
        self.check_device(device)
        session = onnx_session(self.content, torch.get_num_threads() if threads is None else threads)
        names = [entry.name for entry in session.get_inputs()]

        def predict(inputs: Inputs) -> Tensor:
            arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
            try:
                return torch.from_numpy(session.run(None, arrays)[0]).float()
            except Exception as error:  # its errors have no base of their own
                raise MethodError(f"ONNX Runtime cannot run this: {first_line(error)}") from error

        return predict

    def save(self, folder: Path) -> None:
        """Write the file.

        Raises:
            RunError: it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / ONNX_FILE, self.content)
        except OSError as error:
            raise RunError(f"cannot write in {folder}: {error.strerror or error}") from error
