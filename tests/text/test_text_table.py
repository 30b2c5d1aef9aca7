from __future__ import annotations

from gaprune.text.rows import ROWS
from gaprune.text.table import Figures, misplaced, order_of_sizes, overlaps, paper_table

SIZES = {row.chain: row.size for row in ROWS}


def test_the_table_has_all_rows_ours_beside_the_papers() -> None:
    table = paper_table({"quantize": Figures(23.4567, 0.9512, 0.93, 0.97, None, 0.0123), "onnx": _f1(0.9, 0.8, 1.0)})
    lines = table.splitlines()
    assert len(lines) == 2 + len(ROWS) + 1 + 2
    row = next(line for line in lines if "`quantize`" in line)
    name = "quantized linear layers and embedding"
    assert row == f"| {name} | `quantize` | 23.5 | 179 | 0.951 (0.930-0.970) | 0.966 | - | - | 0.0123 | 0.13 |"
    assert "| pruned | `prune:taylor-global:keep=0.667` | - | 598 | - | 0.975 | - | 0.029 | - | 1.15 |" in lines
    assert "International Journal of Advanced Studies" in lines[-1]


def test_the_papers_order_of_sizes_is_known() -> None:
    assert misplaced(SIZES) == []
    assert order_of_sizes(SIZES)[:2] == ["none", "prune:taylor-global:keep=0.667"]
    swapped = SIZES | {"quantize": 400.0}
    assert misplaced(swapped) == ["tucker:size=0.2 < quantize"]


def test_intervals_overlap_where_they_touch() -> None:
    assert overlaps(_f1(0.9, 0.88, 0.92), _f1(0.93, 0.92, 0.95))
    assert not overlaps(_f1(0.9, 0.88, 0.91), _f1(0.93, 0.92, 0.95))


def _f1(value: float, low: float, high: float) -> Figures:
    return Figures(1.0, value, low, high, None, None)
