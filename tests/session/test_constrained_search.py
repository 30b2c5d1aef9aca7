"""A search with constraints hands out what keeps to them, and says so where nothing does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listener import Listener
from torch import nn

import gaprune
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.errors import OptionError
from gaprune.evaluate import Constraints, Evaluator, Floors
from gaprune.front.build import Builder, Built
from gaprune.genome import Genome
from gaprune.progress import SILENT
from gaprune.prune import PruningSpace, SpaceOptions, Statistics, build_graph, cost_model, importance_function
from gaprune.session.reach import check_costs

TESTS = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    "search_size": 60,
    "calibration_size": 45,
    "batch_size": 10,
    "population": 8,
    "generations": 5,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}

Run = Callable[..., SearchResult]


@pytest.fixture
def search(trained: nn.Module, square_data: ImageData) -> Run:
    return lambda **options: gaprune.search(trained, square_data, **{**SMALL, **options})  # type: ignore[operator]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]


def original(result: SearchResult) -> dict[str, float]:
    found: dict[str, float] = json.loads((result.path / "manifest.json").read_text())["original"]
    return found


LIMITS = [
    {"max_flops": 0.5},
    {"max_flops": 0.7, "min_accuracy": 0.6},
    {"max_params": 400, "objectives": ("accuracy", "flops", "params")},
    {"max_size": 0.8, "algorithm": "random"},
    {"min_accuracy": 0.8, "objectives": ("flops", "params")},
    {"min_accuracy": 0.7, "max_flops": 0.8, "objectives": ("loss", "flops")},
]


@pytest.mark.parametrize("limits", LIMITS)
def test_members_keep_to_the_constraints_and_what_is_stopped_early_is_dominated_by_debs_rule(
    search: Run, tmp_path: Path, limits: dict[str, Any]
) -> None:
    result = search(output=tmp_path / "run", **limits)
    whole = original(result)
    assert result.satisfied
    assert result.rows
    for row in result.rows:
        metrics = json.loads((result.path / row.path / "metrics.json").read_text())
        assert metrics["violation"] == 0
        assert row.flops <= limits.get("max_flops", 1) * whole["flops"]
        assert row.params <= limits.get("max_params", np.inf)
        assert row.size_mb <= limits.get("max_size", 1) * whole["size_mb"]
        assert row.search_accuracy >= limits.get("min_accuracy", 0)
    log = lines(result.path)
    for line in (line for line in log if line["bound"]):
        earlier = [x for x in log if x["generation"] < line["generation"] and not x["bound"]]
        assert any(x["violation"] < line["violation"] or dominates(x, line) for x in earlier)
        assert line["failure"] is None
    assert not {row.key for row in result.rows} & {line["key"] for line in log if line["bound"]}


def dominates(a: dict[str, Any], b: dict[str, Any]) -> bool:
    pairs = [(a["minimised"][name], b["minimised"][name]) for name in b["minimised"]]
    return a["violation"] == b["violation"] and all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@pytest.mark.parametrize("limits", [LIMITS[0], LIMITS[1], LIMITS[4]])
def test_stopping_early_does_not_change_what_is_found(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]
) -> None:
    """Random search asks for the same genomes whatever they are worth."""
    early = search(output=tmp_path / "early", **limits, algorithm="random", generations=8)
    monkeypatch.setattr(Floors, "__call__", lambda self, genomes: None)
    whole = search(output=tmp_path / "whole", **limits, algorithm="random", generations=8)
    assert [line["key"] for line in lines(early.path) if line["bound"]]
    assert not [line["key"] for line in lines(whole.path) if line["bound"]]
    assert (early.path / "front.csv").read_bytes() == (whole.path / "front.csv").read_bytes()
    violation = {line["key"]: line["violation"] for line in lines(whole.path)}
    for line in lines(early.path):
        assert line["violation"] <= violation[line["key"]]
        assert line["bound"] or line["violation"] == violation[line["key"]]


def test_what_its_costs_rule_out_is_not_measured_once_a_network_keeps_to_the_constraints(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    compacted = Evaluator.compacted
    with monkeypatch.context() as patch:
        patch.setattr("gaprune.session.loop.largest_budget", lambda evaluator: 1.0)
        patch.setattr("gaprune.commands.search.save_front", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(Evaluator, "compacted", lambda self, masks: built.append(masks) or compacted(self, masks))
        with pytest.raises(KeyboardInterrupt):
            search(output=tmp_path / "run", max_flops=0.3, algorithm="random")
    log = lines(tmp_path / "run")
    late = [line for line in log if line["generation"] > 0 and line["violation"] > 0]
    assert late
    assert all(line["bound"] and line["values"]["accuracy"] == 1.0 for line in late)
    assert len(built) == len(log) - len(late)


def test_the_first_generation_begins_at_the_limit(search: Run, tmp_path: Path) -> None:
    for limits in ({"max_flops": 0.5}, {"max_params": 0.5}):
        result = search(output=tmp_path / next(iter(limits)), **limits, population=12, generations=1)
        (name,) = (name.removeprefix("max_") for name in limits)
        shares = [line["values"][name] / original(result)[name] for line in lines(result.path)]
        assert 0.4 < max(shares) < 0.65
        assert sum(share <= 0.5 for share in shares) >= 9


def test_where_nothing_keeps_to_the_constraints_the_nearest_is_handed_out_and_said_to_be(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    labels = square_data.train.labels
    mistaken = dataclasses.replace(square_data.train, labels=labels.where(torch.arange(len(labels)) % 5 > 0, 0))
    data = dataclasses.replace(square_data, train=mistaken)
    reporter, limits = Listener(), {"max_flops": 0.2, "min_accuracy": 1.0}
    result = gaprune.search(trained, data, output=tmp_path / "run", **{**SMALL, **limits, "reporter": reporter})  # type: ignore[operator]
    log = [line for line in lines(result.path) if not line["bound"]]
    nearest = min(log, key=lambda line: line["violation"])
    assert nearest["violation"] > 0
    assert not result.satisfied
    assert {row.key for row in result.rows} <= {x["key"] for x in log if x["violation"] == nearest["violation"]}
    (said,) = [text for text in reporter.lines if text.startswith("no network was found that keeps to the constraints")]
    assert f"accuracy {result.rows[0].search_accuracy:.4f} (at least 1.0000)" in said
    assert json.loads((result.path / "manifest.json").read_text())["satisfied"] is False
    assert reporter.figures["nearest to the constraints"] == f"{nearest['violation']:.1%} off"
    again = Listener()
    assert not gaprune.search(trained, data, resume=result.path, reporter=again).satisfied  # type: ignore[operator]
    assert said in again.lines


def test_members_are_judged_again_as_they_are_handed_out(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitness said that all of them keep to the constraints; as built, one does not."""
    free = search(output=tmp_path / "free", min_accuracy=0.5)
    assert len(free.rows) > 1
    best = max(free.rows, key=lambda row: row.search_accuracy)
    build = Builder.__call__

    def worse(self: Builder, genome: Genome) -> Built:
        found = build(self, genome)
        return found if genome.key == best.key else dataclasses.replace(found, violation=0.1)

    monkeypatch.setattr(Builder, "__call__", worse)
    judged = search(output=tmp_path / "judged", min_accuracy=0.5)
    assert [row.key for row in judged.rows] == [best.key]


def test_a_resumed_run_keeps_its_constraints_and_ends_like_an_undisturbed_one(search: Run, tmp_path: Path) -> None:
    limits = {"max_flops": 0.6, "min_accuracy": 0.6, "objectives": ("accuracy", "flops", "params")}
    whole = search(output=tmp_path / "whole", **limits)
    part = search(output=tmp_path / "part", **limits, generations=2)
    with pytest.raises(OptionError, match=r"cannot change on resume: max_flops: 0.6 -> 0.5"):
        search(resume=part.path, max_flops=0.5)
    with pytest.raises(OptionError, match=r"cannot change on resume: max_size: none -> 0.5"):
        search(resume=part.path, max_size=0.5)
    resumed = search(resume=part.path)
    assert (resumed.path / "front.csv").read_bytes() == (whole.path / "front.csv").read_bytes()
    found, wanted = ([{**x, "seconds": 0, "sum": ""} for x in lines(one.path)] for one in (resumed, whole))
    assert found == wanted


def test_a_limit_that_no_network_can_keep_to_is_refused_before_anything_is_written(search: Run, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no network can be so small: the smallest has flops [\d,]+ \(at most 50\)"):
        search(output=tmp_path / "run", max_flops=50)
    assert not (tmp_path / "run").exists()


def test_a_limit_out_of_reach_is_told_before_statistics_and_before_a_named_network_is_trained(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something slow was begun")

    monkeypatch.setattr("gaprune.session.engine.collect", never)
    with pytest.raises(OptionError, match="no network can be so small: the smallest has params"):
        search(output=tmp_path / "run", max_params=1e-6)
    monkeypatch.setattr("gaprune.session.job.find_baseline", never)
    monkeypatch.syspath_prepend(str(TESTS))
    limits: dict[str, Any] = {"max_flops": "0.0001%", "cache_dir": tmp_path / "cache", "reporter": SILENT}
    with pytest.raises(OptionError, match=r"no network can be so small: the smallest has flops [\d,]+ \(at most"):
        gaprune.search("tiny_factory:small_residual", "digits", **limits)


@pytest.mark.parametrize(
    "form",
    [
        SpaceOptions(),
        SpaceOptions(round_to=4),
        SpaceOptions("both"),
        SpaceOptions("connections"),
        SpaceOptions("both", connection_groups=2),
    ],
)
def test_what_the_smallest_network_costs_does_not_depend_on_the_ranking(trained: nn.Module, form: SpaceOptions) -> None:
    """The early check asks for another one than the search."""
    graph = build_graph(trained, (3, 8, 8))
    costs = cost_model(trained, graph, (3, 8, 8))
    kernels = form.genes != "neurons" and form.connection_groups == 1
    found = []
    for name in ("l2", "random", "bn"):
        worth = importance_function(name)(trained, graph, Statistics({}, {}, 0), kernels=kernels)
        space = PruningSpace(graph, costs, worth, form)
        nothing = space.layout.pack(space.repair(np.zeros(space.layout.size, dtype=np.bool_)))
        found.append(space.costs(space.masks(nothing, order=False)))
    assert found[0] == found[1] == found[2]
    floor = Constraints(flops=float(found[0].flops), params=float(found[0].params), size=float(found[0].size))
    check_costs(trained, graph, costs, floor, form)
    with pytest.raises(OptionError, match=f"the smallest has flops {found[0].flops:,}"):
        check_costs(trained, graph, costs, Constraints(flops=found[0].flops - 1.0), form)
