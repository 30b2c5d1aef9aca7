"""What a caller brings as objects instead of names: a network, data, objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaprune.data import ImageData
from gaprune.errors import ModelError, OptionError
from gaprune.evaluate import Objective
from gaprune.progress import Reporter
from gaprune.prune.foreign import plain, unwrapped
from gaprune.prune.probe import Probe, probe

WITHOUT_MEANING = {"model": ("checkpoint", "stem", "head"), "data": ("data_dir", "test_share")}
"""Options that say nothing where the object itself is given."""


KINDS = {
    type: "is the class {name}: give a network of it, {name}(...)",
    Mapping: "is a state dict: give the network, with load_state_dict({name}) called",
    str: "is the text {value!r}, where the network itself is wanted",
    Path: "is the path {value}: give the network, and its weights as checkpoint=",
    torch.export.ExportedProgram: "was exported by torch.export: give the network that it was made from",
}
"""What a model may be taken for, each with what would be right."""


def check_model(model: object) -> None:
    """Refuse what is no network, whatever it is.

    Args:
        model: what a caller gave as one; ``None`` where nothing was.

    Raises:
        ModelError: one line that says what it is, and what would be right.
    """
    if model is None or isinstance(model, nn.Module):
        return
    for kind, words in KINDS.items():
        if isinstance(model, kind):
            name = getattr(model, "__name__", "weights")
            raise ModelError(f"model {words.format(name=name, value=model)}")
    advice = ": give what it returns, once it is trained" if callable(model) else ""
    raise ModelError(f"model must be a torch.nn.Module or a name, got {type(model).__name__}{advice}")


def _arguments(manifest: dict[str, Any]) -> str:
    """What a search was given, as one would type it: objects by the words for them, the rest as it was."""
    recorded, options = manifest.get("objects", {}), manifest.get("options", {})
    data = options.get("data_dir") or options.get("data", "auto")
    words = [
        "model" if recorded.get("model") else repr(options.get("model", "model")),
        "data" if recorded.get("data") else repr(str(data)),
    ]
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

    Raises:
        ModelError: the model is of another kind.
    """

    model: nn.Module | None = None
    data: ImageData | None = None
    objectives: Sequence[str | Objective] | None = None

    def __post_init__(self) -> None:
        check_model(self.model)

    @property
    def model_name(self) -> str:
        """What the network that was given as an object is called."""
        return type(unwrapped(self.model)).__name__ if self.model is not None else ""

    def record(self) -> dict[str, Any]:
        """What was given as an object, as JSON values for the manifest."""
        objects = [item.name for item in self.objectives or () if not isinstance(item, str)]
        return {"model": self.model is not None, "data": self.data is not None, "objectives": objects}

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
        self, manifest: dict[str, Any], path: Path, call: str = "gaprune.search({arguments}, resume={path})"
    ) -> None:
        """Refuse to go on with a run unless the objects that it was given are given again.

        Args:
            manifest: of the run.
            path: of the run.
            call: how they are given, for the message.

        Raises:
            OptionError: one line that says what is missing, and how to resume.
        """
        recorded, now = manifest.get("objects", {}), self.record()
        missing = [what for what in ("model", "data", "objectives") if recorded.get(what) and not now[what]]
        if missing:
            advice = call.format(objects=", ".join(missing), arguments=_arguments(manifest), path=f'"{path}"')
            raise OptionError(f"{path} was given its {' and '.join(missing)} as objects: go on with {advice}")
