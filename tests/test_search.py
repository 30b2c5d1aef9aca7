from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import gaprune
from gaprune.data import ImageData, split
from gaprune.errors import GapruneError, RunError
from gaprune.evaluate import Candidate, measure
from gaprune.progress import SILENT
from gaprune.runs import pick
from gaprune.search import SearchResult

SMALL = {
    "search_size": 60,
    "calibration_size": 45,
    "population": 6,
    "generations": 3,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}


def run(model: nn.Module, data: ImageData, path: Path, **options: object) -> SearchResult:
    return gaprune.search(model, data, output=path, **{**SMALL, **options})  # type: ignore[arg-type]


def table(path: Path) -> list[dict[str, str]]:
    with (path / "front.csv").open() as lines:
        return list(csv.DictReader(lines))


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (path / "evaluations.jsonl").read_text().splitlines()]


def test_the_front_trades_accuracy_for_flops_and_every_member_is_what_the_table_says(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    result = run(trained, square_data, tmp_path / "run")
    flops = [row.flops for row in result.rows]
    accuracy = [row.search_accuracy for row in result.rows]
    assert flops == sorted(flops)
    assert accuracy == sorted(accuracy)
    assert len(result.rows) >= 2
    assert result.rows[0].flops_share < 0.5
    for row in result.rows:
        network = result.load(row)
        found = measure(network, square_data_search(square_data), square_data.mean, square_data.std)
        assert found.accuracy == pytest.approx(row.search_accuracy, abs=1e-9)
        assert sum(p.numel() for p in network.parameters()) == row.params
        metrics = json.loads((result.path / row.path / "metrics.json").read_text())
        assert metrics["flops_fvcore_unmasked"] == row.flops


def square_data_search(data: ImageData) -> gaprune.data.ImageSet:  # type: ignore[name-defined]
    return split(data, search_size=60, calibration_size=45, seed=0).search


def test_a_run_directory_holds_what_the_design_promises(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    result = run(trained, square_data, tmp_path / "run")
    expected = {"manifest.json", "evaluations.jsonl", "state", "front", "front.csv", "front.png"}
    assert expected <= {entry.name for entry in result.path.iterdir()}
    member = result.path / result.rows[0].path
    names = {"config.json", "genome.json", "model.safetensors", "metrics.json", "README.md"}
    assert {entry.name for entry in member.iterdir()} == names
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["options"]["population"] == 6
    assert manifest["data"]["splits"]["search_from"] == "train"
    assert manifest["environment"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert manifest["generations_done"] == 3


def test_no_choice_reads_the_images_that_report(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    noise = torch.randint(0, 256, square_data.test.images.shape, dtype=torch.uint8)
    other = dataclasses.replace(
        square_data,
        test=dataclasses.replace(square_data.test, images=noise, labels=square_data.test.labels.flip(0)),
    )
    first = run(trained, square_data, tmp_path / "a")
    second = run(trained, other, tmp_path / "b")
    assert keys(first.path) == keys(second.path)
    assert [(r.key, r.search_accuracy) for r in first.rows] == [(r.key, r.search_accuracy) for r in second.rows]
    assert first.picked is not None
    assert second.picked is not None
    assert first.picked.index == second.picked.index
    assert [r.test_accuracy for r in first.rows] != [r.test_accuracy for r in second.rows]


def test_with_the_search_set_held_out_of_test_the_rest_of_test_only_reports(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    parts = split(square_data, search_from="test", search_size=60, calibration_size=45, seed=0)
    chosen = {image.numpy().tobytes() for image in parts.search.images}
    images = square_data.test.images.clone()
    for index, image in enumerate(images):
        if image.numpy().tobytes() not in chosen:
            images[index] = 255 - image
    other = dataclasses.replace(square_data, test=dataclasses.replace(square_data.test, images=images))
    first = run(trained, square_data, tmp_path / "a", search_from="test")
    second = run(trained, other, tmp_path / "b", search_from="test")
    assert [(r.key, r.search_accuracy) for r in first.rows] == [(r.key, r.search_accuracy) for r in second.rows]
    assert [r.test_accuracy for r in first.rows] != [r.test_accuracy for r in second.rows]


@pytest.mark.parametrize("algorithm", ["nsga2", "random"])
def test_a_run_in_two_parts_ends_like_one_in_a_single_part(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, algorithm: str
) -> None:
    whole = run(trained, square_data, tmp_path / "whole", algorithm=algorithm, generations=4)
    part = run(trained, square_data, tmp_path / "part", algorithm=algorithm, generations=2)
    options = {**SMALL, "algorithm": algorithm, "generations": 4}
    resumed = gaprune.search(trained, square_data, resume=part.path, **options)  # type: ignore[arg-type]
    assert (resumed.path / "front.csv").read_bytes() == (whole.path / "front.csv").read_bytes()
    assert keys(resumed.path) == keys(whole.path)


def test_a_finished_run_is_picked_from_again_without_evaluating(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    first = run(trained, square_data, tmp_path / "run")
    before = keys(first.path)
    again = gaprune.search(trained, square_data, resume=first.path, **{**SMALL, "pick": "flops<=0.5"})  # type: ignore[arg-type]
    assert keys(again.path) == before
    assert again.picked == pick(first.rows, "flops<=0.5")


def test_what_may_not_change_on_resume_is_refused_and_shown(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    first = run(trained, square_data, tmp_path / "run", generations=1)
    with pytest.raises(GapruneError, match=r"population: 6 -> 8"):
        gaprune.search(trained, square_data, resume=first.path, **{**SMALL, "population": 8})  # type: ignore[arg-type]


def test_a_run_is_not_continued_with_other_weights(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    first = run(trained, square_data, tmp_path / "run", generations=1)
    with torch.no_grad():
        next(trained.parameters()).add_(1.0)
    with pytest.raises(RunError, match="other weights"):
        gaprune.search(trained, square_data, resume=first.path, **{**SMALL, "generations": 2})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"genes": "connections"},
        {"genes": "both"},
        {"genes": "both", "connection_groups": 2},
        {"round_to": 4},
        {"importance": "bn"},
        {"objectives": ("loss", "params")},
        {"objectives": ("accuracy", "flops", "size")},
    ],
)
def test_every_kind_of_genome_and_objective_comes_back_from_disk(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, options: dict[str, object]
) -> None:
    result = run(trained, square_data, tmp_path / "run", **options)
    images = square_data_search(square_data)
    for row in result.rows:
        found = measure(result.load(row), images, square_data.mean, square_data.std)
        assert found.accuracy == pytest.approx(row.search_accuracy, abs=1e-9)
        assert row.flops <= 1.0 * json.loads((result.path / "manifest.json").read_text())["original"]["flops"]


def test_the_callers_network_is_left_as_it_was(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    run(trained, square_data, tmp_path / "run", generations=1)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_callers_own_objective_is_searched(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    def depth(candidate: Candidate) -> float:
        return candidate.costs.params / candidate.original.params

    lean = gaprune.Objective("lean", "share of parameters", depth, depth)
    result = run(trained, square_data, tmp_path / "run", objectives=("accuracy", lean))
    assert all(row.objectives["lean"] == pytest.approx(row.params_share) for row in result.rows)


def test_a_candidate_that_fails_is_recorded_and_the_search_goes_on(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    def picky(candidate: Candidate) -> float:
        if candidate.costs.flops < 0.5 * candidate.original.flops:
            raise RuntimeError("too small for me")
        return candidate.costs.flops / candidate.original.flops

    objective = gaprune.Objective("picky", "fails below half the FLOPs", picky, picky)
    result = run(trained, square_data, tmp_path / "run", objectives=("accuracy", objective))
    lines = [json.loads(line) for line in (result.path / "evaluations.jsonl").read_text().splitlines()]
    failures = [line["failure"] for line in lines if line["failure"] is not None]
    assert failures
    assert set(failures) == {"RuntimeError: too small for me"}
    assert all(row.flops_share >= 0.5 for row in result.rows)


def test_a_search_in_which_everything_fails_says_why(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    def broken(candidate: Candidate) -> float:
        return float("nan")

    objective = gaprune.Objective("broken", "never a number", broken, broken)
    with pytest.raises(RunError, match=r"every candidate failed.*broken is not finite"):
        run(trained, square_data, tmp_path / "run", objectives=("accuracy", objective))


def test_a_network_with_another_head_is_refused(square_data: ImageData, tmp_path: Path) -> None:
    from tiny_factory import small_residual

    with pytest.raises(GapruneError, match=r"expected \(2, 3\): squares has 3 classes"):
        run(small_residual(5), square_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
