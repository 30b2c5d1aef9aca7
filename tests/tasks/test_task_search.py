"""A search by a task of one's own, start to end: whatever a network takes and gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tasks import KINDS, Kind, made

import gaprune
from gaprune.errors import GapruneError, OptionError, RunError
from gaprune.progress import SILENT
from gaprune.tasks import judge
from gaprune.views import Run

SMALL: dict[str, Any] = {"population": 4, "generations": 2, "device": "cpu", "threads": 1, "reporter": SILENT}


def searched(kind: Kind, path: Path, **options: Any) -> gaprune.SearchResult:
    return gaprune.search(kind.network, task=kind.task, **{**SMALL, "output": path, **options})


@pytest.mark.parametrize("name", KINDS)
def test_every_member_scores_what_the_run_says(name: str, tmp_path: Path) -> None:
    kind = made(name)
    before = {key: tensor.clone() for key, tensor in kind.network.state_dict().items()}
    result = searched(kind, tmp_path / "run")
    assert all(torch.equal(tensor, before[key]) for key, tensor in kind.network.state_dict().items())
    assert result.original is not None
    assert result.original.search_accuracy == pytest.approx(judge(kind.network, kind.task.score), abs=1e-5)
    shares = [row.flops_share for row in result.rows]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    for row in result.rows:
        member = gaprune.load(result.path / row.path, model=kind.network)
        assert judge(member, kind.task.score) == pytest.approx(row.search_accuracy, abs=1e-4)
        assert sum(p.numel() for p in member.parameters()) == row.params
        assert row.test_accuracy is None or row.test_accuracy == pytest.approx(row.search_accuracy - 0.01, abs=1e-4)
    logged = [json.loads(line) for line in (result.path / "evaluations.jsonl").read_text().splitlines()]
    assert all(
        line["failure"] is None and set(line["values"]) == {"score", "flops", "params", "size"} for line in logged
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, gaprune.SearchResult]:
    kind = made("segmenter")
    return kind, searched(kind, tmp_path_factory.mktemp("finished") / "run")


def test_tables_report_and_status_call_the_score_by_its_name(finished: tuple[Kind, gaprune.SearchResult]) -> None:
    _, result = finished
    assert "mean IoU search" in str(result)
    assert "accuracy" not in str(result)
    readme = (result.path / result.rows[0].path / "README.md").read_text()
    assert "| mean IoU, search set |" in readme
    page = (result.path / "report.html").read_text()
    assert "mean IoU, search" in page
    figure = Run(result.path).plot()
    assert figure.layout.yaxis.title.text == "mean IoU"
    assert any(tuple(series.y) == tuple(row.search_accuracy for row in result.rows) for series in figure.data)


def test_status_says_the_score(finished: tuple[Kind, gaprune.SearchResult], capsys: pytest.CaptureFixture[str]) -> None:
    from gaprune.status import main

    _, result = finished
    assert main([str(result.path)]) in (0, None)
    assert "of FLOPs: mean IoU 0." in capsys.readouterr().out


def test_a_longer_search_goes_on_as_one_that_was_never_stopped(
    finished: tuple[Kind, gaprune.SearchResult], tmp_path: Path
) -> None:
    kind, _ = finished
    whole = searched(kind, tmp_path / "whole", generations=4)
    part = searched(kind, tmp_path / "part")
    again = gaprune.search(kind.network, task=kind.task, resume=part.path, generations=4, reporter=SILENT)
    assert [row.key for row in again.rows] == [row.key for row in whole.rows]
    assert [row.search_accuracy for row in again.rows] == [row.search_accuracy for row in whole.rows]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda kind: (kind.network, None), "task"),
        (lambda kind: (None, kind.task), "model must be a network"),
    ],
)
def test_going_on_needs_network_and_task(finished: tuple[Kind, gaprune.SearchResult], given: Any, message: str) -> None:
    kind, result = finished
    model, task = given(kind)
    data = {} if task is not None else {"data": "digits"}
    with pytest.raises(OptionError, match=message):
        gaprune.search(model, task=task, resume=result.path, reporter=SILENT, **data)


def test_going_on_by_another_task_is_refused(finished: tuple[Kind, gaprune.SearchResult]) -> None:
    kind, result = finished
    other = replace(kind.task, score=lambda net: kind.task.score(net) / 2)
    with pytest.raises(RunError, match=r"a mean IoU of 0\.3333.*, and gave 0\.6666.* when the run began"):
        gaprune.search(kind.network, task=other, resume=result.path, reporter=SILENT)
    shorter = replace(kind.task, calibration=list(kind.task.calibration)[:2])
    with pytest.raises(RunError, match="calibration"):
        gaprune.search(kind.network, task=shorter, resume=result.path, reporter=SILENT)


@pytest.mark.parametrize("call", ["finetune", "export"])
def test_work_on_members_needs_network_and_task_again(finished: tuple[Kind, gaprune.SearchResult], call: str) -> None:
    _, result = finished
    with pytest.raises(GapruneError, match=rf"was given its model and task as objects: go on with gaprune\.{call}"):
        getattr(gaprune, call)(result.path, reporter=SILENT)


def test_the_divergence_may_stand_for_the_score(tmp_path: Path) -> None:
    result = searched(made("text classifier"), tmp_path / "run", fitness="divergence")
    assert list(result.rows[0].objectives) == ["divergence", "flops"]
    assert result.rows[-1].objectives["divergence"] == pytest.approx(0.0, abs=1e-6)


def test_a_callers_own_objective_may_ask_for_the_score(tmp_path: Path) -> None:
    squared = gaprune.Objective("squared", "score squared", lambda c: c.score**2, lambda c: 1 - c.score**2)
    kind = made("segmenter")
    result = searched(kind, tmp_path / "run", objectives=[squared, "params"])
    for row in result.rows:
        assert row.objectives["squared"] == pytest.approx(row.search_accuracy**2)


def test_a_candidate_whose_score_fails_is_a_failed_one(tmp_path: Path) -> None:
    kind = made("pair")
    width = sum(p.numel() for p in kind.network.parameters())

    def score(net: torch.nn.Module) -> float:
        size = sum(p.numel() for p in net.parameters())
        if width / 3 < size < width:
            raise ValueError("middling")
        return size / width

    result = searched(Kind(kind.network, replace(kind.task, score=score)), tmp_path / "run", generations=3)
    failures = [json.loads(line)["failure"] for line in (result.path / "evaluations.jsonl").read_text().splitlines()]
    assert "ValueError: middling" in failures
    assert all(row.params in (width, *range(width // 3 + 1)) for row in result.rows)


@pytest.mark.slow
def test_candidates_may_be_scored_in_a_process_beside_this_one(tmp_path: Path) -> None:
    here, apart = (searched(made("pair"), tmp_path / name, isolate=name == "apart") for name in ("here", "apart"))
    assert [(row.key, row.search_accuracy) for row in apart.rows] == [
        (row.key, row.search_accuracy) for row in here.rows
    ]
