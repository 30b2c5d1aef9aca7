from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import networks


@pytest.mark.parametrize("name", networks.TESTED)
def test_ten_rows_of_the_table(name: str) -> None:
    row = networks.judge("others", name)
    assert row["traced"], row["why"]
    assert networks.right(row)
    assert row["neurons"] > 0
    assert row["can_go"] > 0.5
    assert row["half"] < 0.75


def silent(s: Any, x: Tensor) -> Tensor:
    """Widths that are written into a shape, and noise that is not."""
    return s.head(s.first(x).reshape(-1, 16, 3844).mean(2))


def test_what_cannot_be_pruned_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    made = lambda: networks.Block(silent, first=nn.Conv2d(3, 16, 3), head=nn.Linear(16, networks.CLASSES))  # noqa: E731
    monkeypatch.setitem(networks.OTHERS, "written", made)
    row = networks.judge("others", "written")
    assert not row["traced"]
    assert not row["traceback"]
    assert "it fails without some of its channels" in row["why"]
    monkeypatch.setitem(networks.OTHERS, "broken", lambda: (_ for _ in ()).throw(KeyError("broken")))
    assert networks.judge("others", "broken")["traceback"]


def test_figures_say_what_went_wrong() -> None:
    good = {"source": "timm", "traced": True, "traceback": False, "apart": 1e-15, "counted": True, "half": 0.3}
    rows = [
        {**good, "torch_pruning": 0.25, "seconds": 2.0},
        {**good, "torch_pruning": None, "seconds": 4.0, "apart": 0.1},
        {"source": "timm", "traced": False, "traceback": True},
    ]
    found = networks.figures(rows)
    assert found["timm: networks traced, equal and counted"] == 1
    assert found["silently wrong"] == 1
    assert found["tracebacks"] == 1
    assert found["half FLOPs above Torch-Pruning's, worst"] == pytest.approx(0.05)
    assert found["seconds of tracing and checking, slowest"] == 4.0
    assert "torchvision: share traced, equal and counted" not in found


def test_what_is_not_measured_counts_as_not_right() -> None:
    good = {"source": "torchvision", "traced": True, "traceback": False, "apart": 0.0, "counted": True, "half": 0.3}
    rows = [{**good, "seconds": 1.0}] * 3
    share = "torchvision: share traced, equal and counted"
    assert networks.figures(rows)[share] == 1
    assert networks.figures(rows, ["torchvision:alexnet", "timm:dla34"])[share] == 0.75


def test_finished_rows_are_written_with_what_is_missing(tmp_path: Path) -> None:
    kept = tmp_path / "rows.jsonl"
    row = {"source": "others", "network": "mlp", "traced": False, "traceback": False, "why": "it is a test"}
    kept.write_text(json.dumps(row) + "\n", encoding="utf-8")
    options = argparse.Namespace(quick=False, source=["others"], kept=str(kept), so_far=True)
    found = networks.measure(options)
    assert found["rows"] == [row]
    assert len(found["missing"]) == len(networks.OTHERS) - 1
    assert "others:PReLU" in found["missing"]


def test_the_peer_is_stopped_where_it_takes_too_long() -> None:
    def forever() -> None:
        with networks.limited(1, 2**30):
            while True:
                pass

    with pytest.raises(TimeoutError, match="not done after 1 s"):
        forever()


def test_networks_are_drawn_so_that_nothing_hides() -> None:
    model = networks.make("others", "group norm")
    assert all(float(parameter.detach().abs().max()) > 0 for parameter in model.parameters())
    assert torch.equal(*(next(networks.make("others", "mlp").parameters()) for _ in range(2)))
