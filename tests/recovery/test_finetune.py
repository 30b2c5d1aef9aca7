from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from listener import Listener
from resealing import resealed
from safetensors.torch import load_file, save_file
from stopping import interrupted_after
from torch import nn
from tuning import SMALL, TUNE, Tune, left_by, metrics, stopped_after

import gaprune
from gaprune.commands.finetune import main
from gaprune.commands.search import SearchResult
from gaprune.commands.search import main as search_main
from gaprune.data import ImageData, split
from gaprune.errors import GapruneError, OptionError, RunError, TrainingError
from gaprune.evaluate import Candidate, Objective, measure
from gaprune.front.finetuned import current_row
from gaprune.progress import SILENT
from gaprune.recovery import members
from gaprune.runs import front_table, plain_table, read_csv
from gaprune.runs.lock import DirectoryLock
from gaprune.session import polishing
from gaprune.training import loop as training_loop


def test_members_are_trained_beside_what_the_search_left(
    searched: Callable[..., SearchResult], tune: Tune, faint: ImageData
) -> None:
    run = searched()
    before = left_by(run.path)
    result = tune(run.path, pick="all", epochs=8)
    assert read_csv(run.path / "front.csv") == result.rows
    assert [row.untrained() for row in result.rows] == [
        replace(row, path=new.path) for row, new in zip(run.rows, result.rows, strict=True)
    ]
    after = left_by(run.path)
    assert {name: after[name] for name in before if name != "front.csv"} == {
        name: content for name, content in before.items() if name != "front.csv"
    }
    assert any(row.trained_epochs for row in result.rows), "some member got better"
    assert "before fine-tuning, search images" in (run.path / "report.html").read_text(), "the report is of this front"
    parts = split(faint, search_size=60, calibration_size=45, seed=0)
    for row in result.rows:
        found = [measure(result.load(row), part, faint.mean, faint.std).accuracy for part in (parts.search, parts.test)]
        assert found == [row.search_accuracy, row.test_accuracy]
        assert set(row.objectives) == {"divergence", "flops"}
        assert (row.trained_epochs == 8) == (row.path == f"{row.home}/finetuned")
        (record,) = metrics(run.path / row.home)["finetuned"]
        assert (
            record["kept"] == (row.trained_epochs == 8) == (record["search_accuracy"] > row.untrained().search_accuracy)
        )
        if record["kept"]:
            inside = metrics(run.path / row.path)
            assert inside["before"] == {
                "search_accuracy": row.search_accuracy_before,
                "test_accuracy": row.test_accuracy_before,
            }
            assert inside["test_accuracy"] == row.test_accuracy
        else:
            assert not (run.path / row.home / "finetuned").exists()
    assert not (run.path / "finetuning").exists()
    assert "before search %" in plain_table(result.rows)
    assert len(front_table(result.rows).columns) == len(front_table(run.rows).columns) + 2


def test_the_search_set_decides_and_the_test_set_has_no_say(
    searched: Callable[..., SearchResult], tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched()
    row = run.rows[0]
    bad = tune(run.path, pick="0", lr=50.0, distill=0.0, epochs=1)  # ruins the network
    assert bad.rows[0] == row
    (record,) = metrics(run.path / row.path)["finetuned"]
    assert not record["kept"]
    good = tune(run.path, pick="0", epochs=8).rows[0]
    assert good.search_accuracy > row.search_accuracy
    weights = (run.path / good.path / "model.safetensors").read_bytes()
    again = tune(run.path, pick="0", lr=50.0, distill=0.0, epochs=1, seed=1).rows[0]
    assert again == good, "an earlier training that was better stays"
    assert (run.path / good.path / "model.safetensors").read_bytes() == weights
    assert [one["kept"] for one in metrics(run.path / row.path)["finetuned"]] == [False, True, False]


WHOLE_FRONT = ("accuracy", "flops", "params")
"""Objectives of which all of the front is handed out, not one network a rung."""


def test_a_run_whose_candidates_were_polished_is_reopened_without_a_polisher(
    searched: Callable[..., SearchResult], tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched(polish=True)
    assert json.loads((run.path / "manifest.json").read_text())["options"]["polish_below"] == 0.15
    monkeypatch.setattr(polishing, "Polisher", lambda *given, **named: pytest.fail("nobody polishes here"))
    assert tune(run.path, pick="0", epochs=1).rows


@pytest.mark.parametrize(
    "options", [{"genes": "both"}, {"genes": "both", "connection_groups": 2, "objectives": WHOLE_FRONT}]
)
def test_connections_that_are_gone_stay_away(
    searched: Callable[..., SearchResult], tune: Tune, options: dict[str, Any]
) -> None:
    run = searched(**options)
    result = tune(run.path, pick="all", distill=0.5, epochs=8, lr=0.005)
    trained = [row for row in result.rows if row.trained_epochs]
    masked = 0
    for row in trained:
        old, new = (load_file(run.path / place / "model.safetensors") for place in (row.home, row.path))
        assert old.keys() == new.keys()
        for name, tensor in old.items():
            assert tensor.shape == new[name].shape
            if tensor.ndim == 4:
                gone = ~tensor.flatten(2).any(2)
                masked += int(gone.sum())
                assert torch.equal(gone, ~new[name].flatten(2).any(2))
        assert any(not torch.equal(old[name], new[name]) for name in old)
    assert trained
    groups = [m.groups for row in trained for m in result.load(row).modules() if isinstance(m, nn.Conv2d)]
    assert masked if "connection_groups" not in options else 2 in groups


def test_the_papers_rounds_are_trained_on_too(searched: Callable[..., SearchResult], tune: Tune) -> None:
    rounds = {"algorithm": "rounds", "rounds": 2, "round_generations": 1, "round_share": 0.5, "selected": 3}
    run = searched(genes="both", **rounds)
    result = tune(run.path, pick="all", epochs=8, lr=0.005)
    assert any(row.trained_epochs for row in result.rows)
    for row in result.rows:
        old, new = (load_file(run.path / place / "model.safetensors") for place in (row.home, row.path))
        for name, tensor in old.items():
            if tensor.ndim == 4:
                assert torch.equal(tensor.flatten(2).any(2), new[name].flatten(2).any(2))
    with pytest.raises(RunError, match=f"is a round of a run: give {run.path}"):
        tune(run.path / "round-1")


@pytest.mark.parametrize("steps", [1, 8, 20, 30])
def test_stopped_anywhere_and_called_again_it_ends_as_if_never_stopped(
    searched: Callable[..., SearchResult], tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    run = searched()
    other = shutil.copytree(run.path, tmp_path / "other")
    whole = tune(run.path, pick="0,knee,2")
    with stopped_after(steps, monkeypatch), pytest.raises(KeyboardInterrupt, match="whole epochs are kept"):
        tune(other, pick="0,knee,2")
    assert (other / "finetuning").exists() == (steps in (8, 30)), "an epoch has 6 steps, a member 3 epochs"
    again = tune(other, pick="0,knee,2")
    assert again.rows == whole.rows
    assert left_by(other) == left_by(run.path)


PLACES = {"the old one aside": ("rename", 1), "the new one not there": ("rename", 2), "not noted": ("note", 1)}


@pytest.mark.parametrize("where", PLACES)
def test_stopped_while_a_better_network_takes_the_place_of_an_earlier_one(
    searched: Callable[..., SearchResult],
    tune: Tune,
    faint: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    run = searched(compensation="none")
    search = split(faint, search_size=60, calibration_size=45, seed=0).search
    first = tune(run.path, pick="1", epochs=1).rows[1]
    other = shutil.copytree(run.path, tmp_path / "other")
    whole = tune(run.path, pick="1", epochs=8)
    assert whole.rows[1].search_accuracy > first.search_accuracy > first.untrained().search_accuracy
    what, times = PLACES[where]
    with monkeypatch.context() as patch:
        if what == "note":
            patch.setattr(members, "note_training", interrupted_after(members.note_training, times - 1))
        else:
            patch.setattr(Path, "rename", interrupted_after(Path.rename, times - 1))
        with pytest.raises(KeyboardInterrupt):
            tune(other, pick="1", epochs=8)
    left = current_row(other, first)
    network = SearchResult(other, [left], left, whole.model).load()
    assert measure(network, search, faint.mean, faint.std).accuracy == left.search_accuracy
    monkeypatch.setattr(training_loop, "train_step", None)
    assert tune(other, pick="1", epochs=8).rows == whole.rows
    assert left_by(other) == left_by(run.path)
    kept = [one["kept"] for one in metrics(other / first.home)["finetuned"]]
    assert kept == [False, True]


def test_members_of_a_frozen_original_are_trained(faint: ImageData, original: nn.Module, tmp_path: Path) -> None:
    frozen = copy.deepcopy(original).requires_grad_(False)
    options = {**SMALL, "generations": 1, "genes": "both", "compensation": "none", "output": tmp_path / "run"}
    run = gaprune.search(frozen, faint, **options)  # type: ignore[operator]
    assert not any(parameter.requires_grad for parameter in run.load(run.rows[0]).parameters())
    tuned = gaprune.finetune(run.path, model=frozen, data=faint, pick="0", **TUNE)  # type: ignore[operator]
    (record,) = metrics(run.path / tuned.rows[0].home)["finetuned"]
    assert record["course"][0]["loss"] > record["course"][-1]["loss"]


def _flops(candidate: Candidate) -> float:
    return candidate.costs.flops


def _flops_share(candidate: Candidate) -> float:
    return candidate.costs.flops / candidate.original.flops


def test_a_search_for_an_objective_of_ones_own_can_be_trained_on(
    faint: ImageData, original: nn.Module, tmp_path: Path
) -> None:
    depth = Objective("depth", "multiplications in a row", _flops, _flops_share)
    goals: list[str | Objective] = ["accuracy", depth]
    options = {**SMALL, "generations": 1, "output": tmp_path / "run"}
    run = gaprune.search(original, faint, objectives=goals, **options)  # type: ignore[operator]
    with pytest.raises(OptionError, match=r"as objects: go on with gaprune.finetune\(.*\) and objectives by name"):
        gaprune.finetune(run.path, model=original, data=faint, **TUNE)  # type: ignore[operator]
    tuned = gaprune.finetune(  # type: ignore[operator]
        run.path, model=original, data=faint, objectives=goals, pick="0", **TUNE
    )
    assert metrics(run.path / tuned.rows[0].home)["finetuned"]


def test_what_was_trained_in_the_same_way_is_not_trained_again(
    searched: Callable[..., SearchResult], tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched()
    first, before = tune(run.path, pick="knee"), left_by(run.path)
    monkeypatch.setattr(training_loop, "train_step", None)
    listener = Listener()
    assert tune(run.path, pick="knee", reporter=listener).rows == first.rows
    assert left_by(run.path) == before
    assert any("was trained in this way before" in line for line in listener.lines)


def test_training_never_sees_the_search_or_the_test_images(
    searched: Callable[..., SearchResult], tune: Tune, faint: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = set(), training_loop.train_step

    def watched(state: Any, course: Any, indices: Any, generator: Any) -> Any:
        seen.update(image.numpy().tobytes() for image in course.train.images)
        return step(state, course, indices, generator)

    run = searched()
    monkeypatch.setattr(training_loop, "train_step", watched)
    tune(run.path, pick="0", epochs=1)
    parts = split(faint, search_size=60, calibration_size=45, seed=0)
    assert seen
    assert not seen & {image.numpy().tobytes() for part in (parts.search, parts.test) for image in part.images}


def test_a_longer_search_keeps_what_its_members_were_trained_to(
    searched: Callable[..., SearchResult], tune: Tune, original: nn.Module, faint: ImageData
) -> None:
    run = searched(seed=3)
    tuned = {row.key: row for row in tune(run.path, pick="all", epochs=8, lr=0.005).rows}
    more = gaprune.search(  # type: ignore[operator]
        original, faint, resume=run.path, generations=4, reporter=SILENT
    )
    common = [row for row in more.rows if row.key in tuned]
    assert any(row.trained_epochs for row in common)
    for row in more.rows:
        expected = tuned[row.key].search_accuracy if row.key in tuned else None
        assert row.trained_epochs == (tuned[row.key].trained_epochs if row.key in tuned else 0)
        if row.trained_epochs:
            assert row.search_accuracy == expected
            assert more.load(row)(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
            readme = (run.path / row.path / "README.md").read_text()
            assert f'gaprune.load("{row.path}"' in readme
            assert f"member {row.index} of the front" in readme
    assert read_csv(run.path / "front.csv") == more.rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pick": "99"}, "the front has no member 99: its members are 0 to"),
        ({"pick": "best"}, "unknown choice 'best': choose all, an index such as 3, knee, flops<=SHARE"),
        ({"pick": "3,,5"}, "unknown choice ''"),
        ({"pick": 3}, "pick must be a word such as knee, all or '3,7', got 3"),
        ({"checkpoint": "elsewhere"}, "checkpoint has no meaning with model given as an object: leave it out"),
        ({"pick": "flops<=0.000001"}, "no network of the front has flops<=0.000001"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, got 1.5"),
        ({"epoch_images": 1}, "epoch-images must be a whole number of at least 2, got 1"),
        ({"batch_size": 1}, "batch-size must be a whole number of at least 2, got 1"),
        ({"lr": 0}, "lr must be a number above 0, got 0"),
        ({"temperature": float("nan")}, "temperature must be above 0 and at most 1000, got nan"),
        ({"distill": 2}, "distill must be 0 to 1, got 2"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"epoch": 3}, "unknown option 'epoch': choose one of epochs"),
    ],
)
def test_bad_options_get_one_line_and_change_nothing(
    searched: Callable[..., SearchResult], tune: Tune, options: dict[str, Any], message: str
) -> None:
    run = searched(generations=1)
    before = left_by(run.path)
    with pytest.raises(OptionError, match=message):
        tune(run.path, **options)
    assert left_by(run.path) == before


def test_another_original_or_other_images_are_refused(
    searched: Callable[..., SearchResult], original: nn.Module, faint: ImageData
) -> None:
    run = searched(generations=1)
    other = type(original)(3)
    with pytest.raises(RunError, match=r"was made with other weights, images or device: weights_sha256"):
        gaprune.finetune(run.path, model=other, data=faint, **TUNE)  # type: ignore[operator]
    with pytest.raises(OptionError, match="was given its model and data as objects"):
        gaprune.finetune(run.path, **TUNE)  # type: ignore[operator]


def test_a_member_whose_training_diverges_is_named(searched: Callable[..., SearchResult], tune: Tune) -> None:
    with pytest.raises(TrainingError, match=r"^member 1: .*diverged in epoch 1"):
        tune(searched(generations=1).path, pick="1", lr=1e30)


def test_a_damaged_member_is_named(searched: Callable[..., SearchResult], tune: Tune) -> None:
    run = searched(generations=1)
    genome = run.path / run.rows[0].home / "genome.json"
    genome.write_text(genome.read_text().replace('"genes": 12', '"genes": 11'))
    resealed(run.path)
    with pytest.raises(GapruneError, match=rf"{run.rows[0].home}/genome.json has other sections"):
        tune(run.path, pick="0")


@pytest.fixture
def command_line(square_folder: Path, trained: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a search by names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    network = ["--model", "tiny_factory:small_residual", "--checkpoint", str(tmp_path / "trained.safetensors")]
    places = ["--data-dir", str(square_folder), "--cache-dir", str(tmp_path / "cache")]
    sizes = ["--search-size", "15", "--calibration-size", "30", "--population", "4", "--generations", "1"]
    return [*network, *places, *sizes, "--device", "cpu", "--threads", "1"]


def test_the_command_trains_shows_and_goes_on_with_what_ctrl_c_prints(
    command_line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a run"
    assert search_main([*command_line, "--output", str(path)]) == 0
    capsys.readouterr()

    def stop(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    tuned = [str(path), *command_line[:2], "--pick", "0,knee", "--epochs", "2", "--device", "cpu", "--threads", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", stop)
        patch.setattr("gaprune.recovery.members.estimate_seconds", lambda *_, **__: 1.0)
        assert main(tuned) == 130
    (line,) = capsys.readouterr().err.strip().splitlines()
    options = f"--pick 0,knee --epochs 2 --device cpu --threads 1 {' '.join(command_line[:2])}"
    assert line.endswith(f"go on with: python -m gaprune.finetune '{path}' {options}")
    assert main(tuned) == 0
    out = capsys.readouterr().out
    assert "about" in out
    assert "before search %" in out or "not kept" in out
    assert json.loads((path / "manifest.json").read_text())["finetune"][0]["options"]["epochs"] == 2
    assert search_main(["--trust", "--resume", str(path), "--pick", "flops<=1"]) == 0, (
        "a search goes on with a trained front"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "RUN is missing: give the run directory of a finished search"),
        (["nowhere"], "nowhere is not a run directory: there is no such directory"),
        (["nowhere", "more"], "unexpected argument 'more'"),
        (["nowhere", "--epochs", "many"], "--epochs must be a whole number, got 'many'"),
        (["nowhere", "--pik", "3"], "unknown option '--pik': did you mean --pick?"),
        ([""], "--run must be a path, got ''"),
    ],
)
def test_bad_commands_get_one_line_and_status_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("python -m gaprune.finetune: error: ")
    assert expected in line


def test_a_run_that_is_searching_or_was_stopped_is_refused(
    searched: Callable[..., SearchResult], tune: Tune, tmp_path: Path
) -> None:
    run = searched(generations=1)
    lock = DirectoryLock(run.path)
    lock.acquire()
    try:
        with pytest.raises(RunError, match="is in use by process"):
            tune(run.path)
    finally:
        lock.release()
    (run.path / "front.csv").unlink()
    resealed(run.path)
    with pytest.raises(RunError, match=r"has no front yet: its search is not finished, go on with: .* --resume"):
        tune(run.path)


def same_but(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], part: str) -> set[str]:
    """The weights of a part that training has changed; batch norm's statistics go on in any case."""
    return {name for name, tensor in old.items() if name.startswith(part) and not torch.equal(tensor, new[name])}


@pytest.mark.parametrize("together", [False, True])
def test_what_the_callers_network_has_frozen_stays_frozen_and_is_said(
    searched: Callable[..., SearchResult], tune: Tune, original: nn.Module, together: bool
) -> None:
    run, listener, frozen = searched(compensation="none"), Listener(), copy.deepcopy(original)
    for part in ("conv1", "conv2"):
        frozen.get_submodule(part).requires_grad_(False)
    options = {"pick": "all", "shared": together, "epochs": 4, "lr": 0.1, "model": frozen, "reporter": listener}
    result = tune(run.path, **options)
    (line,) = [line for line in listener.lines if "frozen" in line]
    assert line == "2 of 13 tensors are frozen (requires_grad=False) and stay so: conv1.weight and so on"
    trained = [row for row in result.rows if row.trained_epochs]
    assert trained
    for row in trained:
        old, new = (load_file(run.path / place / "model.safetensors") for place in (row.home, row.path))
        assert same_but(old, new, "conv1") | same_but(old, new, "conv2") == set()
        assert same_but(old, new, "head")


def test_a_network_that_is_frozen_as_a_whole_is_trained_and_says_so(
    searched: Callable[..., SearchResult], tune: Tune, original: nn.Module
) -> None:
    listener, frozen = Listener(), copy.deepcopy(original).requires_grad_(False)
    result = tune(searched(compensation="none").path, pick="0", model=frozen, lr=0.1, reporter=listener)
    assert (
        "every tensor is frozen (requires_grad=False), which is taken for inference: all are trained" in listener.lines
    )
    (row,) = [row for row in result.rows if row.index == 0]
    assert metrics(result.path / row.home)["finetuned"]


def test_freezing_other_tensors_is_another_training(
    searched: Callable[..., SearchResult], tune: Tune, original: nn.Module
) -> None:
    run, listener, frozen = searched(), Listener(), copy.deepcopy(original)
    frozen.get_submodule("conv1").requires_grad_(False)
    tune(run.path, pick="0")
    tune(run.path, pick="0", model=frozen, reporter=listener)
    assert "member 0 was trained in this way before" not in listener.lines
