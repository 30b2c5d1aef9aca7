"""What a caller brings as objects instead of names: a network, data, objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gaprune.data import ImageData, data_names, kind
from gaprune.errors import OptionError
from gaprune.evaluate import Objective
from gaprune.options import TASK
from gaprune.progress import Reporter
from gaprune.prune import Probe, plain, probe, unwrapped
from gaprune.runs import fact
from gaprune.session.callbacks import Callback
from gaprune.session.material import NAMED
from gaprune.session.watchdog import End
from gaprune.tasks import Task

WITHOUT_MEANING = {"model": ("checkpoint", "stem", "head"), "data": ("data_dir", "test_share", "image_size", "resize")}
"""Options that say nothing where the object itself is given."""


def _arguments(manifest: dict[str, Any]) -> str:
    """What a search was given, as one would type it: objects by the words for them, the rest as it was."""
    recorded, options = manifest.get("objects", {}), manifest.get("options", {})
    data = options.get("data_dir") or options.get("data", "auto")
    words = ["model" if recorded.get("model") else repr(options.get("model", "model"))]
    if recorded.get("task"):
        words.append("task=task")
    else:
        words.append("data" if recorded.get("data") else repr(str(data)))
    return ", ".join([*words, *(["objectives=objectives"] if recorded.get("objectives") else [])])


def opened(model: nn.Module, data: ImageData, device: torch.device, reporter: Reporter) -> nn.Module:
    """A caller's network as the engine needs it, after one look at what it does with images like the data's.

    Args:
        model: the caller's, left as it is.
        data: what it must take and tell apart.
        device: where it will run.
        reporter: told what was done to it.

    Returns:
        A copy on the device, in eval mode.

    Raises:
        ModelError: it cannot be used; the line names the remedy.
    """
    made = plain(model)
    network, name = made.model.to(device).eval(), type(made.model).__name__
    for note in made.notes:
        reporter.say(f"{name} is {note}")
    for line in probe(network, Probe(name, data.image_shape, len(data.classes), data.name, objects=True)):
        reporter.say(line)
    return network


@dataclass(frozen=True)
class Own:
    """Objects that take the place of options.

    Attributes:
        model: a trained network instead of ``--model``.
        data: data instead of ``--data``.
        objectives: names and objects instead of ``--objectives``; ``None`` leaves it to the option.
        task: instead of classifying the images of any data.
        named: what network and task are made from, where names stand for them after all; JSON values for the manifest.
        callbacks: told of every generation; nothing that a run depends on.
        end: ends this process where a candidate hangs that cannot be interrupted; ``None`` where the process is
            the caller's.
    """

    model: nn.Module | None = None
    data: ImageData | None = None
    objectives: Sequence[str | Objective] | None = None
    task: Task | None = None
    named: Mapping[str, Any] | None = field(default=None, compare=False)
    callbacks: tuple[Callback, ...] = field(default=(), compare=False)
    end: End | None = field(default=None, compare=False)

    @property
    def model_name(self) -> str:
        """What the network that was given as an object is called."""
        return type(unwrapped(self.model)).__name__ if self.model is not None else ""

    def record(self) -> dict[str, Any]:
        """What was given as an object, as JSON values for the manifest."""
        objects = [item.name for item in self.objectives or () if not isinstance(item, str)]
        if self.named is not None:
            return {"model": False, "data": False, "objectives": objects}
        task = {} if self.task is None else {"task": True}
        return {"model": self.model is not None, "data": self.data is not None, "objectives": objects, **task}

    def check_options(self, given: frozenset[str]) -> None:
        """Refuse options that the objects make meaningless.

        Raises:
            OptionError: one line that names the option.
        """
        for what, options in WITHOUT_MEANING.items():
            for name in options:
                if getattr(self, what) is not None and name in given:
                    raise OptionError(f"{name} has no meaning with {what} given as an object: leave it out")

    def check_resume(
        self,
        manifest: dict[str, Any],
        path: Path,
        call: str = "gaprune.search({arguments}, resume={path})",
        *,
        searching: bool = True,
        by_task: bool = False,
    ) -> None:
        """Refuse to go on with a run unless the objects that it was given are given again.

        Args:
            manifest: of the run.
            path: of the run.
            call: how they are given, for the message.
            searching: whether objectives are needed, too: not by what only reads the members of a front.
            by_task: whether who asks can work by a task of the caller's own.

        Raises:
            OptionError: one line that says what is missing, and how to resume.
        """
        recorded, now = manifest.get("objects", {}), self.record()
        if manifest.get(TASK) and not by_task:
            if fact(manifest, TASK, NAMED, kind=dict):
                raise OptionError(
                    f"{path} searched a text classifier: its members are compared by python -m gaprune.compare --run "
                    f"{path}, and load by gaprune.load"
                )
            raise OptionError(
                f"{path} was searched by a task of its own, which gaprune.search, gaprune.finetune and "
                "gaprune.export know alone: its members are networks for your own code, see gaprune.load"
            )
        needed = ("model", "data", "task", *(["objectives"] if searching else []))
        missing = [what for what in needed if recorded.get(what) and not now.get(what)]
        if missing:
            advice = call.format(objects=", ".join(missing), arguments=_arguments(manifest), path=f'"{path}"')
            raise OptionError(f"{path} was given its {' and '.join(missing)} as objects: go on with {advice}")


def data_options(data: object) -> dict[str, Any]:
    """The options that data which is no object stands for: a name, or the path of a folder."""
    if isinstance(data, Path) or (isinstance(data, str) and data not in data_names() and Path(data).exists()):
        return {"data_dir": Path(data)}
    return {"data": data} if isinstance(data, str) else {}


def named_or_given(model: object) -> tuple[Any, dict[str, Any]]:
    """A network that is an object, or nothing; and the option that one stands for which is a name."""
    return (None, {"model": model}) if isinstance(model, str) else (model, {})


def check_kinds(model: object, data: object, *, by_name: bool, optional: bool = False) -> None:
    """Refuse arguments of another kind at once; none of them ever becomes a default.

    Args:
        model: a network; by name text, too, else ``None``.
        data: ``ImageData``; by name text or a path, too, else ``None``.
        by_name: whether names stand for objects, or nothing does.
        optional: whether nothing will do as well.

    Raises:
        OptionError: one line that says what was given and what would be right.
    """
    nothing = optional or not by_name
    names: tuple[type, ...] = (str,) if by_name else ()
    if not (isinstance(model, (nn.Module, *names)) or (nothing and model is None)):
        raise OptionError(_wrong_model(model))
    if not (isinstance(data, (ImageData, *names, *((Path,) if by_name else ()))) or (nothing and data is None)):
        raise OptionError(_wrong_data(data))


def _wrong_model(model: object) -> str:
    wanted = "a trained network, a torch.nn.Module"
    if isinstance(model, type):
        return f"model must be {wanted}; got the class {model.__name__}: make one, {model.__name__}(...), and load it"
    if isinstance(model, Mapping):
        tensors = bool(model) and all(isinstance(value, Tensor) for value in model.values())
        what = "a state dict" if tensors else kind(model)
        return f"model must be {wanted}; got {what}: load it first, network.load_state_dict(...)"
    if isinstance(model, Path):
        advice = f"give the name, and checkpoint={str(model)!r}"
        return f"model must be {wanted}, or its name; got the path {model}: {advice}"
    if isinstance(model, torch.export.ExportedProgram):
        return f"model must be {wanted}; got one that was exported: give the network that it was made from"
    if callable(model):
        return f"model must be {wanted}; got {kind(model)}: call it, or name it as 'package.module:factory'"
    return f"model must be {wanted}, or its name, such as 'resnet18'; got {kind(model)}"


def _wrong_data(data: object) -> str:
    wanted = "gaprune.image_data(...), a name such as 'cifar10', or the path of a folder"
    if isinstance(data, type):
        return f"data must be {wanted}; got the class {data.__name__}: make one first"
    if isinstance(data, (Dataset, DataLoader, tuple, Mapping)) or hasattr(data, "column_names"):
        return f"data must be {wanted}; got {kind(data)}: gaprune.image_data(train, test) makes one of it"
    return f"data must be {wanted}; got {kind(data)}"
