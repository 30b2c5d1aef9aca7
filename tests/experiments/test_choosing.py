from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import choosing
from experiments.choosing import Measured


def image_row(
    chain: str, size: float, accuracy: float, flops: int = 100, seconds: float | None = 1.0
) -> dict[str, Any]:
    return {
        "chain": chain,
        "size_mb": size,
        "metrics": {"accuracy": accuracy},
        "seconds": {"cpu 1": 0.1, "cpu 128": seconds},
        "flops": flops,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    images = [
        image_row("none", 100, 0.9, seconds=4.0),
        image_row("quantize", 25, 0.89),
        image_row("ours:07:raw", 9, 0.8, flops=30, seconds=2.0),
        image_row("ours:07+quantize", 2, 0.85, flops=30),
        image_row("distill", 8, 0.84),
        image_row("tucker:size=0.1", 9, 0.84),
    ]
    (tmp_path / "compare_methods-net-cifar10-cpu.json").write_text(json.dumps({"data": "net-cifar10", "rows": images}))
    (tmp_path / "compare_methods-net-cifar10-cpu-quick.json").write_text("{}")
    texts = {"none": {"size": 90, "f1": 0.95, "cpu": 5.0}, "distill": {"size": 3, "f1": 0.94, "cpu": None}}
    (tmp_path / "text_compression-sst2-cpu.json").write_text(json.dumps({"data": "sst2", "rows": texts}))
    (tmp_path / "text_compression-paper-shape-cpu.json").write_text("{}")
    return tmp_path


def test_the_best_chain_of_a_size_is_the_most_accurate_then_the_smallest(results: Path) -> None:
    images, texts = choosing.networks(results, results)
    assert (images.name, texts.name) == ("net", "BERT, SST-2")

    def chain(part: int, training: bool) -> str | None:
        found = images.best(part, training=training)
        return None if found is None else found.chain

    third, tenth, fiftieth = choosing.PARTS
    assert chain(third, False) == chain(third, True) == "quantize"
    assert (chain(tenth, False), chain(tenth, True)) == ("ours:07:raw", "ours:07+quantize")
    assert (chain(fiftieth, False), chain(fiftieth, True)) == (None, "ours:07+quantize")
    assert images.best(11, training=True) is not None
    without = choosing.Network(
        "x", "accuracy", images.original, tuple(c for c in images.chains if "ours" not in c.chain)
    )
    found = without.best(tenth, training=True)
    assert found is not None
    assert found.chain == "distill", "as accurate as the other, and smaller"


def test_cells_say_size_points_and_speed(results: Path) -> None:
    images, texts = choosing.networks(results, results)
    member = images.best(10, training=False)
    assert images.said(member) == ["ours of 30% FLOPs", "1/11", "-10.0", "2.0x"]
    assert images.said(None)[0] == "nothing so small"
    assert texts.said(texts.best(10, training=True)) == ["distill", "1/30", "-1.0", "-"]


@pytest.mark.parametrize(
    ("chain", "trained"),
    [
        ("none", False),
        ("quantize:linear", False),
        ("onnx", False),
        ("tucker:size=0.5:raw+quantize", False),
        ("ours:07:raw", False),
        ("ours:07", True),
        ("prune:magnitude+sparse", True),
        ("distill+quantize", True),
    ],
)
def test_what_trains_is_told_from_the_chain(chain: str, trained: bool) -> None:
    assert Measured(chain, 1, 1, None, None).trained is trained


def test_the_figure_is_drawn(results: Path) -> None:
    choosing.draw(choosing.networks(results, results), results / "images" / "choosing.png")
    assert (results / "images" / "choosing.png").stat().st_size > 10_000


def test_the_committed_table_is_that_of_the_committed_results() -> None:
    assert choosing.TABLE.read_text() == choosing.table(choosing.networks())
