from __future__ import annotations

import csv
import errno
import importlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listener import Listener
from resealing import resealed
from stopping import interrupted_after
from torch import nn

import gaprune
from gaprune.campaigns import hand_out, training
from gaprune.commands.search import Interrupted, SearchResult
from gaprune.data import ImageData, split
from gaprune.errors import GapruneError, OptionError, RunError, TrainingError
from gaprune.evaluate import Evaluator, measure
from gaprune.evolve import hypervolume
from gaprune.evolve.dominance import is_efficient
from gaprune.progress import SILENT
from gaprune.prune.compensate.statistics import Statistics
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.rank.registry import importance_function
from gaprune.prune.space import PruningSpace, SpaceOptions
from gaprune.recovery import Recovered
from gaprune.runs import FrontRow, read_csv
from gaprune.saved import load, load_genome
from gaprune.training import loop as training_loop

SMALL: dict[str, Any] = {
    "iterations": 2,
    "iteration_epochs": 2,
    "iteration_share": 0.7,
    "generations": 2,
    "population": 6,
    "search_size": 60,
    "calibration_size": 45,
    "device": "cpu",
    "threads": 1,
}

Run = Callable[..., SearchResult]


@pytest.fixture
def search(original: nn.Module, faint: ImageData) -> Run:
    return lambda **options: gaprune.search(  # type: ignore[operator]
        original, faint, **{"reporter": SILENT, **SMALL, **options}
    )


@pytest.fixture
def resume(original: nn.Module, faint: ImageData) -> Callable[[Path], SearchResult]:
    """Go on with nothing said anew."""
    return lambda path: gaprune.search(original, faint, resume=path, reporter=SILENT)  # type: ignore[operator]


@pytest.fixture(scope="module")
def whole(original: nn.Module, faint: ImageData, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """Two iterations that nothing has disturbed; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    result: SearchResult = gaprune.search(original, faint, output=path, reporter=SILENT, **SMALL)  # type: ignore[operator]
    return result


def table(path: Path) -> list[dict[str, str]]:
    with (path / "iterations.csv").open() as lines:
        return list(csv.DictReader(lines))


def timeless(path: Path) -> list[Any]:
    """All that a run has found, without the time that it took."""
    rows = [{name: value for name, value in row.items() if "seconds" not in name} for row in table(path)]
    logs = sorted(path.glob("iteration-*/evaluations.jsonl"))
    lines = [{**json.loads(line), "seconds": 0, "sum": ""} for log in logs for line in log.read_text().splitlines()]
    files = [*sorted(path.glob("front/*/*.safetensors")), *sorted(path.glob("iteration-*/trained/*.safetensors"))]
    return [rows, lines, (path / "front.csv").read_bytes(), *(file.read_bytes() for file in files)]


def of_iteration(path: Path, row: FrontRow) -> int:
    number: int = json.loads((path / row.home / "metrics.json").read_text())["iteration"]
    return number


def kept_kernels(original: nn.Module, folder: Path, genes: Any) -> dict[str, np.ndarray]:
    """By convolution the (out, in) kernels of the original that a saved network keeps."""
    graph = build_graph(original, (3, 8, 8))
    importance = importance_function("l2")(original, graph, Statistics({}, {}, 0))
    space = PruningSpace(graph, cost_model(original, graph, (3, 8, 8)), importance, SpaceOptions(genes))
    masks = space.masks(load_genome(folder, space.layout))
    found = {}
    for layer in graph.convolutions():
        ends = masks.kept(layer.outputs)[:, None] & masks.kept(layer.inputs)[None, :]
        found[layer.weight] = ends & masks.kernels.get(layer.weight, np.True_)
    return found


def points(rows: list[FrontRow], flops: int) -> np.ndarray:
    return np.array([[1 - row.search_accuracy, row.flops / flops] for row in rows])


@pytest.mark.parametrize("genes", ["neurons", "connections", "both"])
def test_each_iteration_prunes_what_training_recovered(
    search: Run, original: nn.Module, faint: ImageData, tmp_path: Path, genes: str
) -> None:
    result = search(output=tmp_path / "run", genes=genes, iterations=3, fitness="accuracy")
    parts = split(faint, search_size=60, calibration_size=45, seed=0)
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert read_csv(result.path / "front.csv") == result.rows
    assert [row.index for row in result.rows] == list(range(len(result.rows)))
    starts = [original, *(load(result.path / f"iteration-{k}" / "trained", model=original) for k in (1, 2))]
    for row in result.rows:
        network, start = result.load(row), starts[of_iteration(result.path, row) - 1]
        for less, more in zip(network.parameters(), start.parameters(), strict=True):
            assert all(a <= b for a, b in zip(less.shape, more.shape, strict=True))
            if less.ndim == 4:
                assert less.flatten(2).any(2).sum() <= more.flatten(2).any(2).sum()
        number = of_iteration(result.path, row)
        if number > 1:
            places = (result.path / row.home, result.path / f"iteration-{number - 1}" / "trained")
            kept, had = (kept_kernels(original, place, genes) for place in places)
            assert all(not (kept[name] & ~had[name]).any() for name in had)
        for part, accuracy in ((parts.search, row.search_accuracy), (parts.test, row.test_accuracy)):
            assert measure(network, part, faint.mean, faint.std).accuracy == pytest.approx(accuracy)
        if genes == "neurons":
            assert row.flops == count_flops(network, (3, 8, 8))
        assert row.flops_share == row.flops / manifest["original"]["flops"]
        assert "in iteration" in (result.path / row.home / "README.md").read_text()
    assert is_efficient(points(result.rows, manifest["original"]["flops"])).all()


def test_the_tables_say_what_each_iteration_gained(
    search: Run, original: nn.Module, faint: ImageData, tmp_path: Path
) -> None:
    reporter = Listener()
    result = search(output=tmp_path / "run", fitness="accuracy", reporter=reporter)
    first, second = table(result.path)
    flops = json.loads((result.path / "manifest.json").read_text())["original"]["flops"]
    fronts = [read_csv(result.path / f"iteration-{number}" / "front.csv") for number in (1, 2)]
    volumes = [hypervolume(points(rows, flops), (1, 1)) for rows in (fronts[0], [*fronts[0], *fronts[1]])]
    assert [float(row["hypervolume"]) for row in (first, second)] == pytest.approx(volumes)
    assert float(second["hypervolume_gain"]) == pytest.approx(volumes[1] - volumes[0])
    assert int(second["front_members"]) == len(result.rows)
    own = sum(of_iteration(result.path, row) == 2 for row in result.rows)
    assert int(second["members_of_this_iteration"]) == own > 0
    (picked,) = {row.flops_share for row in fronts[0] if str(row.flops_share) == second["start_flops_share"]}
    assert picked <= SMALL["iteration_share"]
    trained = load(result.path / "iteration-1" / "trained", model=original)
    parts = split(faint, search_size=60, calibration_size=45, seed=0)
    found = [measure(trained, part, faint.mean, faint.std).accuracy for part in (parts.search, parts.test)]
    assert [float(second[f"start_{part}_accuracy"]) for part in ("search", "test")] == pytest.approx(found)
    assert float(second["training_seconds"]) > 0
    within = max((row for row in result.rows if row.flops_share <= 0.5), key=lambda row: row.search_accuracy)
    assert float(second["search_accuracy_at_50%_flops"]) == within.search_accuracy
    assert float(second["test_accuracy_at_50%_flops"]) == within.test_accuracy
    assert any("iteration 2 of 2: hypervolume" in line and "which training in" in line for line in reporter.lines)
    assert "| hypervolume |" in (result.path / "iterations.md").read_text()


@pytest.mark.parametrize("evaluations", [3, 9, 15, 20])
def test_stopped_anywhere_and_resumed_it_ends_as_if_never_stopped(
    search: Run,
    resume: Callable[[Path], SearchResult],
    whole: SearchResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    evaluations: int,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "fitness", interrupted_after(Evaluator.fitness, evaluations))
        with pytest.raises(Interrupted, match="nothing is lost"):
            search(output=tmp_path / "part")
    assert timeless(resume(tmp_path / "part").path) == timeless(whole.path)


def test_stopped_while_training_it_goes_on_from_the_last_epoch(
    search: Run,
    resume: Callable[[Path], SearchResult],
    whole: SearchResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        in_the_second_epoch = interrupted_after(training_loop.train_step, 8)
        patch.setattr(training_loop, "train_step", in_the_second_epoch)
        with pytest.raises(Interrupted):
            search(output=tmp_path / "part")
    assert (tmp_path / "part" / "iteration-1" / "training").exists()
    assert timeless(resume(tmp_path / "part").path) == timeless(whole.path)
    assert not (tmp_path / "part" / "iteration-1" / "training").exists()


STEPS = [
    "campaigns.campaign.save_front",
    "campaigns.campaign.of_the_original",
    "campaigns.training.recover",
    "campaigns.training.save_compact",
    "campaigns.campaign.later_job",
    "campaigns.campaign.hand_out",
    "campaigns.hand_out.replace_front",
    "front.members.take_place",
    "front.members.write_csv",
]


@pytest.mark.parametrize("calls", [0, 1])
@pytest.mark.parametrize("what", STEPS)
def test_stopped_between_the_steps_it_goes_on(
    search: Run,
    resume: Callable[[Path], SearchResult],
    whole: SearchResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    calls: int,
) -> None:
    place, name = f"gaprune.{what}".rsplit(".", 1)
    module = importlib.import_module(place)
    stopped = interrupted_after(getattr(module, name), calls)
    with monkeypatch.context() as patch, suppress(Interrupted):
        patch.setattr(module, name, stopped)
        search(output=tmp_path / "part")
    assert timeless(resume(tmp_path / "part").path) == timeless(whole.path)


def test_a_finished_run_takes_more_iterations(search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(output=tmp_path / "whole", iterations=3)
    part = search(output=tmp_path / "part", iterations=2)
    assert len(table(part.path)) == 2
    more = search(resume=tmp_path / "part", iterations=3)
    assert timeless(more.path) == timeless(whole.path)
    monkeypatch.setattr(Evaluator, "fitness", None)
    again = search(resume=tmp_path / "part", iterations=2, pick="flops<=0.9")
    assert again.rows == whole.rows


def test_members_of_all_iterations_are_fine_tuned(
    search: Run, original: nn.Module, faint: ImageData, tmp_path: Path
) -> None:
    result = search(output=tmp_path / "run", genes="both")
    tuned = gaprune.finetune(  # type: ignore[operator]
        result.path, model=original, data=faint, pick="all", epochs=2, device="cpu", threads=1, reporter=SILENT
    )
    for row in tuned.rows:
        before, after = (load(result.path / place, model=original) for place in (row.home, row.path))
        for old, new in zip(before.parameters(), after.parameters(), strict=True):
            assert old.shape == new.shape
            if old.ndim == 4:
                assert torch.equal(old.flatten(2).any(2), new.flatten(2).any(2))
    assert any(row.trained_epochs for row in tuned.rows)


def test_iterations_end_where_no_member_is_small_enough(search: Run, tmp_path: Path) -> None:
    reporter = Listener()
    result = search(output=tmp_path / "run", max_flops=0.5, iteration_share=0.01, reporter=reporter)
    smallest = min(row.flops_share for row in result.rows)
    assert 0.01 < smallest <= 0.5
    assert any(line.startswith("iteration 1 left no member within 1.0% of the FLOPs") for line in reporter.lines)
    assert "the iterations end after 1" in reporter.lines
    assert len(table(result.path)) == 1
    assert len(result.rows) == len(read_csv(result.path / "iteration-1" / "front.csv"))


def test_members_of_every_iteration_keep_to_the_constraints(search: Run, tmp_path: Path) -> None:
    result = search(output=tmp_path / "run", max_flops=0.8, max_params=0.9)
    assert {of_iteration(result.path, row) for row in result.rows} >= {2}
    assert all(row.flops_share <= 0.8 and row.params_share <= 0.9 for row in result.rows)


@pytest.mark.parametrize("failure", ["worse", "not a number"])
def test_training_that_makes_a_member_worse_is_not_what_the_next_iteration_starts_from(
    search: Run, original: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    def spoil(job: Any, network: nn.Module, *arguments: Any, **options: Any) -> Any:
        if failure == "not a number":
            raise TrainingError("the loss is nan")
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        return Recovered.after([], job.evaluator.measure(network, job.splits.search), 0.0)

    monkeypatch.setattr(training, "recover", spoil)
    reporter = Listener()
    result = search(output=tmp_path / "run", reporter=reporter)
    row = table(result.path)[1]
    assert row["start_search_accuracy"] == row["start_search_accuracy_before_training"]
    assert any("starts from it untrained" in line for line in reporter.lines)
    manifest = json.loads((result.path / "iteration-1" / "manifest.json").read_text())
    assert manifest["next_start"]["used"] is False
    (member,) = [
        one
        for one in read_csv(result.path / "iteration-1" / "front.csv")
        if str(one.flops_share) == row["start_flops_share"]
    ]
    found, start = (load(result.path / "iteration-1" / place, model=original) for place in (member.path, "trained"))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), start.parameters(), strict=True))


def test_fine_tuned_members_stay_so_when_more_iterations_follow(
    search: Run, original: nn.Module, faint: ImageData, tmp_path: Path
) -> None:
    result = search(output=tmp_path / "run")
    gaprune.finetune(  # type: ignore[operator]
        result.path, model=original, data=faint, pick="all", epochs=8, lr=0.05, device="cpu", threads=1, reporter=SILENT
    )
    before = {origin(result.path, row): row for row in read_csv(result.path / "front.csv")}
    assert any(row.trained_epochs for row in before.values())
    after = search(resume=result.path, iterations=3)
    for row in after.rows:
        earlier = before.get(origin(result.path, row))
        assert row.trained_epochs == (0 if earlier is None else earlier.trained_epochs)
        if row.trained_epochs:
            inside = json.loads((result.path / row.path / "metrics.json").read_text())
            assert inside["before"]["search_accuracy"] == row.search_accuracy_before


def origin(path: Path, row: FrontRow) -> tuple[str, int]:
    return row.key, of_iteration(path, row)


def test_an_iterated_run_never_becomes_a_plain_one(search: Run, whole: SearchResult) -> None:
    with pytest.raises(OptionError, match=r"iterations must be at least 2 on resume: .* is a run of several"):
        search(resume=whole.path, iterations=1)


def test_a_full_disk_leaves_the_old_front(search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = search(output=tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(hand_out.shutil, "copytree", full_disk)
        with pytest.raises(RunError, match="No space left"):
            search(resume=tmp_path / "run", iterations=3)
    assert read_csv(result.path / "front.csv") == result.rows
    assert not (result.path / "front.partial").exists()


def full_disk(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_iteration_alone_is_neither_resumed_nor_fine_tuned(search: Run, tmp_path: Path) -> None:
    search(output=tmp_path / "run", iterations=2)
    one = tmp_path / "run" / "iteration-1"
    with pytest.raises(RunError, match=rf"is an iteration of a run: go on with --resume {tmp_path / 'run'}"):
        gaprune.search("vgg16", "digits", resume=one)  # type: ignore[operator]
    with pytest.raises(RunError, match=rf"is an iteration of a run: give {tmp_path / 'run'}"):
        gaprune.finetune(one)  # type: ignore[operator]


def test_a_damaged_manifest_of_an_iteration_is_named(search: Run, tmp_path: Path) -> None:
    search(output=tmp_path / "run")
    manifest = tmp_path / "run" / "iteration-1" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "result": {"number": 1}}))
    resealed(tmp_path / "run")
    with pytest.raises(RunError, match=rf"{manifest} is damaged"):
        search(resume=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"iteration_epochs": 0}, "iteration-epochs must be at least 1, got 0"),
        ({"iteration_share": 1.0}, "iteration-share must be between 0 and 1, got 1.0"),
        ({"iteration_share": "half"}, "iteration-share must be 0 to 1, got 'half'"),
        ({"iterations": 1}, "iteration-share says nothing to a single search: add --iterations 2"),
        ({"algorithm": "rounds"}, "iterations has no meaning with --algorithm rounds: rounds search again"),
        ({"genes": "both", "connection_groups": 2}, "iterations cannot prune networks with grouped convolutions"),
    ],
)
def test_options_without_meaning_are_refused_in_one_line(
    search: Run, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    without = {"generations": None} if "algorithm" in options else {}
    given = {name: value for name, value in {**SMALL, **options}.items() if name not in without}
    with pytest.raises(GapruneError, match=message):
        gaprune.search("vgg16", "digits", output=tmp_path / "run", reporter=SILENT, **given)  # type: ignore[operator]
    assert not (tmp_path / "run").exists()


def test_what_iterations_may_not_change_on_resume_is_refused(search: Run, tmp_path: Path) -> None:
    search(output=tmp_path / "run")
    for changed in ({"iteration_share": 0.2}, {"polish": True}, {"iteration_epochs": 9}, {"generations": 3}):
        with pytest.raises(OptionError, match=f"cannot change on resume: {next(iter(changed))}"):
            search(resume=tmp_path / "run", **changed)
