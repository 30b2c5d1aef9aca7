from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_script
from torch import nn

pytest.importorskip("torch_pruning")

from benchmarks import recipes
from benchmarks.paired import packed
from benchmarks.recipes import BEHIND, DEFAULT, TOGETHER, WORSE, Change, Teaching, Told, figures_of, together
from gaprune.training.lesson import Batch

IMAGES = 1_000


def trained(change: str, right: int, seconds: float = 2.0) -> dict[str, Any]:
    hits = packed(torch.arange(IMAGES) < right)
    return {"change": change, "budget": 0.1, "search": hits, "test": hits, "seconds": seconds}


def line(change: str, mean: float, least: float, gained: float = 1.0) -> dict[str, Any]:
    lead = {"mean": mean, "least": least, "most": mean}
    return {
        "change": change,
        "budget": 0.1,
        "over the default, search": lead,
        "over the default, test": lead,
        "over the network before, test": {"mean": gained},
    }


def test_a_line_is_the_mean_of_differences_of_equal_seeds() -> None:
    told = Told(IMAGES, IMAGES)
    ours, theirs = [trained("a", 720), trained("a", 700, 4.0)], [trained(DEFAULT, 700), trained(DEFAULT, 710)]
    found = told.line(ours, theirs, trained("", 690))
    assert found["over the default, test"] == {"mean": 0.5, "least": -1.0, "most": 2.0}
    assert found["over the network before, test"]["mean"] == 2.0
    assert found["test"] == 0.71
    assert found["seconds"] == 3.0


def test_together_are_of_each_kind_the_best_that_lead_in_every_seed() -> None:
    kinds = {
        "rate": {"half": Change(rate=0.5), "twice": Change(rate=2.0)},
        "batch": {"64": Change({"batch_size": 64}, rate=0.5)},
        "norm": {"frozen": Change(frozen=True)},
    }
    lines = [
        line("rate: half", 0.2, 0.1),
        line("rate: twice", 0.4, 0.2),
        line("batch: 64", 0.3, 0.1),
        line("norm: frozen", 0.5, -0.1),
    ]
    assert together(lines, kinds) == (["rate: twice", "batch: 64"], Change({"batch_size": 64}))


def test_goals_speak_of_the_worst_default_and_of_the_best_single_change() -> None:
    lines = [line(DEFAULT, 0.0, 0.0, gained=-0.2), line("a: b", 0.6, 0.1), line(TOGETHER, 0.9, 0.5)]
    assert figures_of(lines, 0.1) == {WORSE: 0.2, BEHIND: 0.6}


class Blocks(nn.Module):
    """Two convolutions and a norm, by names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, 2)."""
        found: torch.Tensor = self.head(self.block(x).mean((2, 3)))
        return found


def lesson_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 4, 4, generator=generator)
    return Batch(images, torch.zeros(8, dtype=torch.int64), 0.0, False, generator)


def test_features_are_compared_on_the_channels_that_are_left() -> None:
    torch.manual_seed(0)
    teacher = Blocks(4).eval()
    student = Blocks(2).eval()
    kept = {"block": torch.tensor([1, 3])}
    with torch.no_grad():
        for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            student.block.state_dict()[name].copy_(teacher.block.state_dict()[name][kept["block"]])
    batch = lesson_batch()
    plain = Teaching(teacher).loss(student, batch)
    assert torch.allclose(Teaching(teacher, features=5.0, kept=kept).loss(student, batch), plain)
    with torch.no_grad():
        student.block[1].bias += 1
    plain = Teaching(teacher).loss(student, batch)
    assert Teaching(teacher, features=5.0, kept=kept).loss(student, batch) > plain + 0.1


def test_frozen_norms_keep_their_statistics() -> None:
    torch.manual_seed(0)
    teacher, batch = Blocks(4).eval(), lesson_batch()
    for frozen in (True, False):
        student = Blocks(4).train()
        before = student.block[1].running_mean.clone()
        Teaching(teacher, frozen=frozen).loss(student, batch).backward()
        assert torch.equal(student.block[1].running_mean, before) == frozen
        assert student.block[1].weight.grad is not None


def test_it_runs_small_from_the_first_training_to_the_result(tmp_path: Path) -> None:
    made = run_script(recipes.__file__, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    result = json.loads((tmp_path / "recipes-small-digits-cpu-quick.json").read_text())
    names = [line["change"] for line in result["rows"]]
    assert names.count(DEFAULT) == names.count(TOGETHER) == 2
    assert {"peak learning rate: twice", "batch norm: frozen", "features: weight 1"} <= set(names)
    assert all(line["seeds"] == 2 for line in result["rows"])


def test_it_refuses_too_little() -> None:
    made = run_script(recipes.__file__, "--quick", "--epochs", "0")
    assert made.returncode == 2
    assert "epochs must be at least 1, got 0" in made.stderr
