"""Searches by latency: what is timed, when, and how often. Time here is a number of weights, so that it is exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from tuning import SMALL, TUNE

import gaprune
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.errors import GapruneError, OptionError
from gaprune.options.limits import latency_limit
from gaprune.progress import SILENT
from gaprune.prune import build_graph
from gaprune.runtimes import Conditions, Grid, Stopwatch, Timing
from gaprune.session import layer_table

Search = Callable[..., SearchResult]
MILLISECONDS = 1e-3


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Weights of every network that is timed: a thousand take a millisecond."""
    seen: list[int] = []

    def weights(self: Stopwatch, network: nn.Module) -> Callable[[], object]:
        count = sum(parameter.numel() for parameter in network.parameters())
        return lambda: count

    def seconds(self: Stopwatch, calls: list[Callable[[], Any]]) -> list[Timing]:
        seen.append(calls[0]())
        return [Timing(call() * 1e-6, call() * 0.9e-6, call() * 1.1e-6, 9) for call in calls]

    monkeypatch.setattr(Stopwatch, "_prepared", weights)
    monkeypatch.setattr(Stopwatch, "_timed", seconds)
    return seen


@pytest.fixture
def search(original: nn.Module, faint: ImageData, tmp_path: Path) -> Search:
    def made(**options: Any) -> SearchResult:
        place = {} if "resume" in options else {"output": tmp_path / "run", **SMALL}
        if {"objectives", "max_latency"} & set(options):
            options = {"latency_from": "stopwatch", **options}
        if not {"resume", "algorithm"} & set(options):
            place["generations"] = 2
        found: SearchResult = gaprune.search(  # type: ignore[operator]
            original, faint, **{**place, "reporter": SMALL["reporter"], **options}
        )
        return found

    return made


def log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]


def test_candidates_are_timed_once_and_logged_and_resume_times_nothing_again(
    search: Search, timed: list[int], tmp_path: Path, original: nn.Module, faint: ImageData
) -> None:
    result = search(objectives=["accuracy", "latency"])
    lines = log(result.path)
    whole, *candidates = timed
    assert len(candidates) == len(lines), "each candidate once; members of the front are not timed again"
    for line, weights in zip(lines, candidates, strict=True):
        assert line["values"]["latency"] == pytest.approx(weights * 1e-6)
        assert line["minimised"]["latency"] == pytest.approx(weights / whole)
        assert line["values"]["latency_low"] < line["values"]["latency"] < line["values"]["latency_high"]
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["latency"]["original_seconds"] == pytest.approx(whole * 1e-6)
    assert (manifest["latency"]["runtime"], manifest["latency"]["batch"]) == ("torch", 1)
    timed.clear()
    longer = search(resume=result.path, generations=3)
    assert len(timed) == len(log(longer.path)) - len(lines), "neither the original nor what is in the log"
    timed.clear()
    tuned = gaprune.finetune(result.path, model=original, data=faint, **{**TUNE, "epochs": 1})  # type: ignore[operator]
    assert not timed
    assert [row.latency for row in tuned.rows] == [row.latency for row in longer.rows]


def test_latency_stands_beside_flops_wherever_numbers_are_shown(search: Search, timed: list[int]) -> None:
    result = search(objectives=["accuracy", "latency"], latency_batch=4, latency_threads=2)
    assert all(row.latency is not None and row.latency_share is not None for row in result.rows)
    told = "PyTorch, batch 4, 2 threads, "
    assert "| ms | ms left % |" in str(result)
    assert told in str(result)
    assert "latency,latency_share" in (result.path / "front.csv").read_text().splitlines()[0]
    page = (result.path / "report.html").read_text()
    assert f"latency: {told}" in page
    assert "latency ms" in page
    row = result.rows[0]
    readme = (result.path / row.path / "README.md").read_text()
    assert f"| latency, {told}" in readme
    assert json.loads((result.path / row.path / "metrics.json").read_text())["latency"] == row.latency


def test_members_keep_to_a_limit_in_time_or_share(search: Search, timed: list[int]) -> None:
    result = search(max_latency="60%", pick="latency<=50%")
    assert result.satisfied
    assert all(row.latency_share is not None and row.latency_share <= 0.6 for row in result.rows)
    picked, shares = result.picked, [row.latency_share for row in result.rows]
    assert picked is not None or min(share for share in shares if share is not None) > 0.5


def test_a_limit_in_time_is_compared_with_the_originals(search: Search, timed: list[int]) -> None:
    result = search(max_latency="2ms")
    assert all(row.latency is not None and row.latency <= 2 * MILLISECONDS for row in result.rows)


def test_the_front_alone_is_timed_where_it_is_only_picked_by_time(search: Search, timed: list[int]) -> None:
    result = search(pick="latency<=70%")
    assert 1 + len(result.rows) <= len(timed) < len(log(result.path))
    assert result.picked is not None
    best = max(row.search_accuracy for row in result.rows if row.latency_share is not None and row.latency_share <= 0.7)
    assert result.picked.search_accuracy == best
    assert "latency" not in log(result.path)[0]["values"]


def test_runs_that_nobody_timed_cannot_be_picked_from_by_time(search: Search) -> None:
    result = search(generations=1)
    assert "latency" not in (result.path / "front.csv").read_text()
    assert "latency" not in json.loads((result.path / "manifest.json").read_text())
    with pytest.raises(OptionError, match="the run was not timed, search with --latency-runtime torch, say"):
        gaprune.pick(result.rows, "latency<=5ms")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_latency": "5"}, "max-latency must be a time such as 5ms, 300us or 0.01s, or a share .*, got '5'"),
        ({"max_latency": "-1ms"}, "max-latency must be a time such as 5ms"),
        ({"pick": "latency<=fast"}, "unknown rule 'latency<=fast' to pick by: latency is bounded by a time such as"),
        ({"latency_runtime": "tpu"}, "unknown latency-runtime 'tpu': choose one of torch, compile, onnxruntime"),
        ({"latency_batch": 8}, "latency-batch says nothing where nothing is timed: add --latency-runtime"),
        ({"objectives": ["accuracy", "latency"], "iterations": 2}, "iterations cannot be searched by latency"),
        ({"max_latency": "50%", "algorithm": "rounds"}, "max-latency has no meaning with --algorithm rounds"),
        ({"max_latency": "50%", "backend": "ray"}, "the stopwatch times one network at a time .* add --workers 1"),
    ],
)
def test_wrong_words_are_one_line_before_anything_slow(search: Search, options: dict[str, Any], message: str) -> None:
    with pytest.raises(GapruneError, match=message):
        search(**options)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("5ms", (0.005, False)),
        ("300 us", (0.0003, False)),
        ("0.01s", (0.01, False)),
        ("0.5", (0.5, True)),
        ("50%", (0.5, True)),
        ("1", (1.0, True)),
    ],
)
def test_limits_are_times_or_shares(text: str, limit: tuple[float, bool]) -> None:
    number, share = latency_limit(text)
    assert (number, share) == (pytest.approx(limit[0]), limit[1])


def test_a_table_of_another_version_of_the_runtime_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(32, 2)).eval()
    graph, images = build_graph(model, (3, 8, 8)), torch.zeros(1, 3, 8, 8)
    timed: list[int] = []

    def seconds(*given: Any) -> Grid:
        timed.append(1)
        return Grid((1,), (1,), ((1.0,),))

    monkeypatch.setattr(layer_table, "time_grid", seconds)
    for runtime, expected in (("onnxruntime", True), ("torch", False)):
        conditions = Conditions(runtime, 1, 1, "cpu", "a processor")
        counts = []
        for version in ("1.1", "1.1", "1.2"):
            monkeypatch.setattr(layer_table.needed("onnxruntime"), "__version__", version)
            timed.clear()
            layer_table.layer_times(conditions, model, graph, images, 1, tmp_path, SILENT)
            counts.append(len(timed))
        assert counts[0] > 0
        assert counts[1:] == [0, counts[0] if expected else 0]
