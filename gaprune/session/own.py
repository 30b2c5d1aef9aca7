"""What a caller brings as objects instead of names: a network, data, objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from gaprune.data import ImageData
from gaprune.errors import OptionError
from gaprune.evaluate import Objective
from gaprune.session.callbacks import Callback

WITHOUT_MEANING = {"model": ("checkpoint", "stem"), "data": ("data_dir", "test_share")}
"""Options that say nothing where the object itself is given."""


@dataclass(frozen=True)
class Own:
    """Objects that take the place of options.

    Attributes:
        model: a trained network instead of ``--model``.
        data: data instead of ``--data``.
        objectives: names and objects instead of ``--objectives``; ``None`` leaves it to the option.
        callbacks: told of every generation; nothing that a run depends on.
    """

    model: nn.Module | None = None
    data: ImageData | None = None
    objectives: Sequence[str | Objective] | None = None
    callbacks: tuple[Callback, ...] = field(default=(), compare=False)

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
        self, manifest: dict[str, Any], path: Path, call: str = "gaprune.search({objects}, resume={path})"
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
            advice = call.format(objects=", ".join(missing), path=f'"{path}"')
            raise OptionError(f"{path} was given its {' and '.join(missing)} as objects: go on with {advice}")
