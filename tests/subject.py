"""One tiny search, of a small residual network that has learnt the digits, and what may go wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import killing
import torch
from faulty import Misbehave
from killing import POPULATION, Fault, evaluations
from safetensors.torch import save_file
from tiny_factory import small_residual

from gaprune.data import load_data
from gaprune.training import Recipe, fit


def arguments_of(place: Path, number: int) -> list[str]:
    """All but ``--output`` and ``--generations``: the digits, and a small residual network that has learnt them."""
    checkpoint, data = place / f"trained-{number}.safetensors", load_data("digits", cache_dir=place / "cache")
    torch.manual_seed(number)
    model = small_residual(len(data.classes))
    recipe = Recipe(epochs=6, batch_size=50, lr=0.1, pad=1)
    fit(model, data.train, data.test, mean=data.mean, std=data.std, flip=False, recipe=recipe)
    save_file(model.state_dict(), checkpoint)
    network = ["--model", "tiny_factory:small_residual", "--checkpoint", str(checkpoint)]
    images = ["--data", "digits", "--cache-dir", str(place / "cache"), "--search-size", "60"]
    sizes = ["--calibration-size", "60", "--statistics-size", "60", "--batch-size", "10"]
    pinned = ["--device", "cpu", "--threads", "1", "--precision", "float32", "--round-to", "1"]
    judged = ["--fitness", "accuracy"]  # by which alone candidates are stopped early
    return [*network, *images, *sizes, *pinned, *judged, "--population", str(POPULATION)]


@dataclass(frozen=True)
class Subject:
    """A search, its undisturbed run, and the candidate that will misbehave.

    Attributes:
        arguments: all but ``--output``.
        whole: the run.
        bad: the line of the log of a candidate of the first generation, whose FLOPs no other has.
        place: of the runs.
    """

    arguments: list[str]
    whole: Path
    bad: dict[str, Any]
    place: Path

    def search(self, *options: str, fault: Fault | None = None) -> tuple[int, str]:
        """Search in a process of its own; its status, and what it has said."""
        output = self.place / "output"
        output.unlink(missing_ok=True)
        status = killing.search([*self.arguments, *options], output, fault)
        return status, output.read_text()

    def resume(self, run: Path, *options: str, fault: Fault | None = None) -> tuple[int, str]:
        """Go on with a run likewise."""
        output = self.place / "output"
        output.unlink(missing_ok=True)
        return killing.search(["--trust", "--resume", str(run), *options], output, fault), output.read_text()

    def misbehaving(self, kind: str) -> Misbehave:
        """What installs the fault."""
        tried = self.place / "tried"
        tried.mkdir()
        return Misbehave(kind, self.bad["values"]["flops"], tried)

    def check_cost_itself_only(self, run: Path, failure: str) -> None:
        """That candidate alone has failed, for this reason, and all others of its generation are what they were."""
        found, meant = evaluations(run), evaluations(self.whole)
        (failed,) = [line for line in found if line["failure"] is not None]
        assert failed["key"] == self.bad["key"]
        assert failure in failed["failure"]
        first = [line for line in meant if line["generation"] == 0 and line["key"] != self.bad["key"]]
        assert [line for line in found if line["generation"] == 0 and line is not failed] == first
        assert {line["generation"] for line in found} == {line["generation"] for line in meant}
        assert list((run / "front").iterdir())
        assert not (run / "trying.json").exists()
