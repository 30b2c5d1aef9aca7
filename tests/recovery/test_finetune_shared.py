from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resealing import resealed
from safetensors.torch import load_file, save_file
from tuning import Tune, left_by, metrics, stopped_after

from gaprune.commands.finetune import FinetuneOptions, main
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData, normalise, split
from gaprune.errors import OptionError, RunError
from gaprune.evaluate import measure
from gaprune.session import Job
from gaprune.training import SharedFront
from gaprune.training import loop as training_loop


@pytest.mark.parametrize("genes", ["neurons", "both", "tied"])
def test_a_front_trained_together_is_cut_out_beside_the_old_one(
    searched: Callable[..., SearchResult], tune: Tune, faint: ImageData, genes: str
) -> None:
    options = {"genes": "both", "connection_groups": 2} if genes == "tied" else {"genes": genes}
    run = searched(compensation="none", **options)  # such members have much to learn
    result = tune(run.path, pick="all", shared=True, polish_epochs=1)
    trained = [row for row in result.rows if row.trained_epochs]
    assert trained
    assert all(row.trained_epochs == 4 for row in trained), "three epochs together, one alone"
    search = split(faint, search_size=60, calibration_size=45, seed=0).search
    for row in result.rows:
        old, new = (load_file(run.path / place / "model.safetensors") for place in (row.home, row.path))
        assert old.keys() == new.keys()
        for name, tensor in old.items():
            assert tensor.shape == new[name].shape
            if tensor.ndim == 4:
                assert torch.equal(tensor.flatten(2).any(2), new[name].flatten(2).any(2))
        assert measure(result.load(row), search, faint.mean, faint.std).accuracy == row.search_accuracy
        (record,) = metrics(run.path / row.home)["finetuned"]
        assert record["method"].startswith("in shared weights, then 1 epochs alone")
    assert not (run.path / "finetuning").exists()


@pytest.mark.parametrize("steps", [4, 20, 30])
def test_a_shared_training_stopped_anywhere_ends_as_if_never_stopped(
    searched: Callable[..., SearchResult], tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    run = searched(compensation="none")
    other = shutil.copytree(run.path, tmp_path / "other")
    options: dict[str, Any] = {"pick": "all", "shared": True, "polish_epochs": 1, "epochs": 2}
    whole = tune(run.path, **options)
    with stopped_after(steps, monkeypatch), pytest.raises(KeyboardInterrupt, match="whole epochs are kept"):
        tune(other, **options)
    assert tune(other, **options).rows == whole.rows
    assert left_by(other) == left_by(run.path)
    monkeypatch.setattr(training_loop, "train_step", None)
    assert tune(other, **options).rows == whole.rows, "nothing is trained twice"


def widen(file: Path) -> None:
    """Let a saved member's norms expect ten times the variance, as anchored ones may."""
    tensors = load_file(file)
    wide = {name: 10 * tensor if name.endswith("running_var") else tensor for name, tensor in tensors.items()}
    save_file(wide, file)


def test_every_member_begins_as_it_was(
    searched: Callable[..., SearchResult], tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training mode, too, whatever images the original's batch norm was made from."""
    run, apart = searched(), []

    def begun(job: Job, shared: SharedFront, *_: object) -> None:
        images = normalise(job.evaluator.task.calibration.images[:], job.data.mean, job.data.std)
        with torch.no_grad():
            for place in range(len(shared)):
                wanted = shared.eval().run(place, images)
                apart.append(float((shared.train().run(place, images) - wanted).abs().max() / wanted.abs().max()))
        raise KeyboardInterrupt

    monkeypatch.setattr("gaprune.recovery.shared.train", begun)
    monkeypatch.setattr("gaprune.recovery.shared.estimate_seconds", lambda *_, **__: 1.0)  # its steps move statistics
    for row in run.rows:
        widen(run.path / row.path / "model.safetensors")
    resealed(run.path)
    with pytest.raises(KeyboardInterrupt):
        tune(run.path, pick="all", shared=True)
    assert apart
    assert max(apart) < 0.1


@pytest.mark.parametrize(
    ("arguments", "picked"),
    [
        (["run", "--shared"], "all"),
        (["run", "--shared", "--pick", "knee"], "knee"),
        (["run"], "knee"),
    ],
)
def test_all_members_share_weights_unless_some_are_named(
    arguments: list[str], picked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Opened:
        @staticmethod
        def open(path: Path) -> Any:
            raise RunError("far enough")

    def check(options: FinetuneOptions) -> None:
        asked.append(options.pick)

    monkeypatch.setattr("gaprune.commands.finetune.RunDirectory", Opened)
    monkeypatch.setattr(FinetuneOptions, "check", check)
    assert main(arguments) == 2
    assert asked == [picked]


def test_a_front_is_trained_together_by_the_command_as_it_is_written(
    searched: Callable[..., SearchResult], tune: Tune
) -> None:
    run = searched(compensation="none")
    tune(run.path, shared=True, epochs=1)
    assert all(metrics(run.path / row.home)["finetuned"] for row in run.rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared": True, "pick": "0"}, "shared is for two members or more"),
        ({"shared": True, "pick": "all", "distill": 0.0}, "shared is for two members or more"),
        ({"polish_epochs": 2}, "polish-epochs is for members that were trained together: add --shared"),
    ],
)
def test_what_sharing_cannot_do_is_refused(
    searched: Callable[..., SearchResult], tune: Tune, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        tune(searched().path, **options)
