from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import run_script
from PIL import Image

pytest.importorskip("torch_pruning")

from benchmarks import pretrained
from benchmarks.paired import packed
from benchmarks.pretrained import (
    AHEAD,
    AHEAD_TRAINED,
    AT_LEAST,
    AT_MOST,
    BUDGETS,
    NETWORKS,
    OURS,
    PEER,
    WHOLE,
    differences,
    figures_of,
)
from benchmarks.pretrained_subjects import CLASSES, mobilenet, photographs
from gaprune.errors import OptionError
from gaprune.progress import SILENT
from gaprune.prune.checking import checked_graph

IMAGES = 1_000


def row(method: str, variant: str, budget: float, share: float) -> dict[str, Any]:
    """A network that is right on the first images, as many as the share says."""
    right = torch.arange(IMAGES) < round(share * IMAGES)
    named = {"method": method, "variant": variant, "budget": budget}
    return {**named, "test_accuracy": share, "right": packed(right)}


ORIGINAL = row("original", "", 1.0, 0.95)


def rows(budgets: tuple[float, ...], *, trained: bool) -> list[dict[str, Any]]:
    found = [row(OURS, "whole, anchored", 1.0, 0.949)]
    for budget in budgets:
        found += [row(OURS, "compensated", budget, 0.1), row(OURS, "handed out", budget, 0.90)]
        found += [row(PEER, "as it comes", budget, 0.5), row(PEER, "anchored", budget, 0.6)]
        if trained:
            found += [row(OURS, "trained", budget, 0.94), row(PEER, "trained", budget, 0.91)]
    return found


def test_the_peer_is_judged_by_its_best_before_training_and_by_itself_after() -> None:
    figures = figures_of("net", ORIGINAL, rows((0.5,), trained=True), IMAGES)
    points = {name: figure for name, figure in figures.items() if not name.endswith((AT_MOST, AT_LEAST))}
    assert points == {
        f"net: {WHOLE}": pytest.approx(0.1),
        "net: loss at 50%": pytest.approx(5.0),
        "net: loss after training at 50%": pytest.approx(1.0),
        f"net: {AHEAD}": pytest.approx(30.0),
        f"net: {AHEAD_TRAINED}": pytest.approx(3.0),
    }
    for name, figure in points.items():
        ends = {end: figures[name + end] for end in (AT_MOST, AT_LEAST) if name + end in figures}
        assert len(ends) == 1
        assert figure < ends[AT_MOST] if AT_MOST in ends else figure > ends[AT_LEAST]
    (before, after) = differences(ORIGINAL, rows((0.5,), trained=True), IMAGES)
    assert (before["loss"]["points"], before["ahead"]["points"]) == (5.0, 30.0)
    assert (after["loss"]["points"], after["ahead"]["points"]) == (1.0, 3.0)


def test_what_was_not_trained_has_no_figure() -> None:
    figures = figures_of("net", ORIGINAL, rows((0.5,), trained=False), IMAGES)
    assert not [name for name in figures if "training" in name]


def test_every_goal_speaks_of_a_figure_that_a_run_makes() -> None:
    made = [figures_of(network, ORIGINAL, rows(BUDGETS, trained=True), IMAGES) for network in NETWORKS]
    assert {goal.name for goal in pretrained.GOALS} <= {name for figures in made for name in figures}


def test_the_network_of_inverted_residuals_is_pruned_on_small_images() -> None:
    graph = checked_graph(mobilenet(10).eval(), (3, 32, 32))
    assert len(graph.groups) >= 24  # of 17 blocks the expansions, and the streams between them


def test_photographs_of_any_size_are_cropped_in_the_middle_and_alike_of_each_class(tmp_path: Path) -> None:
    wide = np.zeros((200, 400, 3), dtype=np.uint8)
    wide[:, 200:] = 255
    for name in CLASSES:
        (tmp_path / "test" / name).mkdir(parents=True)
        for number, size in enumerate((wide, wide[:100, :100], wide[:, 150:250])):
            Image.fromarray(size).save(tmp_path / "test" / name / f"{number}.JPEG")
    found = photographs(tmp_path / "test", 20, SILENT)
    assert found.images.shape == (20, 3, 160, 160)
    assert found.labels.bincount().tolist() == [2] * 10
    middle = found.images[0].float().mean((0, 1))
    assert middle[:70].max() < 30
    assert middle[90:].min() > 225
    with pytest.raises(OptionError, match=r"data-dir must hold train/n01440764/\*\.JPEG"):
        photographs(tmp_path / "train", 20, SILENT)


def test_the_benchmark_runs_and_keeps_every_budget(tmp_path: Path) -> None:
    made = run_script(pretrained.__file__, "--quick", "--epochs", "1", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("pretrained-*-quick.json")
    result = json.loads(file.read_text())
    found = result["rows"] + result["peer_sweep"]
    assert {row["method"] for row in found} == {OURS, pretrained.EQUAL, PEER}
    assert {row["budget"] for row in found} == {1.0, *BUDGETS}
    assert len(result["differences"]) == 5
    assert all(row["flops_share"] <= row["budget"] for row in found)
    assert not any("failure" in row for row in result["peer_sweep"])
    assert all(set(row["sweep_accuracy"]) == set(pretrained.PEER_VARIANTS) for row in result["peer_sweep"])
    assert {row["variant"] for row in result["rows"] if row["method"] == PEER} == {*pretrained.PEER_VARIANTS, "trained"}
    assert len([row for row in result["rows"] if row["variant"] == "trained"]) == 4
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"


def test_without_photographs_it_says_what_it_needs() -> None:
    made = run_script(pretrained.__file__)
    assert made.returncode == 2
    assert made.stderr == (
        "python benchmarks/pretrained.py: error: data-dir must be given: Imagenette's folder, with train/ and test/\n"
    )
