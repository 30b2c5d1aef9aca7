"""Runs over seeds as bands: what some, half and all of them attain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaprune.runs import FrontRow
from gaprune.views.attainment import attained, attainment_figure, bands
from gaprune.views.record import RunRecord


def record(name: str, seed: int, *points: tuple[float, float], population: int = 8) -> RunRecord:
    rows = [
        FrontRow(place, f"{place}" * 32, {}, accuracy, None, round(1e6 * share), share, 1, 1.0, 1.0)
        for place, (share, accuracy) in enumerate(points)
    ]
    manifest = {"options": {"seed": seed, "population": population, "output": name}}
    return RunRecord(Path(name), manifest, tuple(rows), (), (), None, ())


def attains(surface: np.ndarray, share: float) -> float:
    within = surface[surface[:, 0] <= share + 1e-9]
    return float(within[:, 1].max()) if len(within) else 0.0


def test_surfaces_are_what_so_many_runs_reach_within_a_budget() -> None:
    random = np.random.default_rng(0)
    for count in (2, 3, 5):
        runs = []
        for seed in range(count):
            shares = np.sort(random.uniform(0.05, 1, 6))
            runs.append(record(f"r{seed}", seed, *zip(shares, np.sort(random.uniform(0.3, 0.9, 6)), strict=True)))
        found = attained(runs)
        for share in random.uniform(0.05, 1, 40):
            reached = sorted(
                (max((r.search_accuracy for r in run.rows if r.flops_share <= share), default=0.0) for run in runs),
                reverse=True,
            )
            assert attains(found["some"], share) == pytest.approx(reached[0])
            assert attains(found["half"], share) == pytest.approx(reached[-(-count // 2) - 1])
            assert attains(found["all"], share) == pytest.approx(reached[-1])


def test_runs_that_differ_in_more_than_their_seed_are_no_band() -> None:
    first = record("a", 0, (0.1, 0.5), (0.9, 0.8))
    second = record("b", 1, (0.2, 0.6), (0.8, 0.7))
    third = record("c", 2, (0.2, 0.6), population=16)
    assert [[one.name for one in band.records] for band in bands([first, third, second])] == [["a", "b"]]
    assert bands([first, third]) == []
    assert bands([first, replace(second, rows=())]) == []
    assert bands([replace(first, manifest={}), replace(second, manifest={})]) == []
    figure = attainment_figure(bands([first, second]))
    assert [trace["name"].split(": ")[1] for trace in figure["data"]] == ["best of all", "half of them", "each of them"]
