from __future__ import annotations

from gaprune.text.rows import ROWS
from gaprune.text.table import Figures, misplaced, overlaps, paper_table

SIZES = {row.chain: row.size for row in ROWS}


ONNX = "ONNX Runtime"


def test_the_table_has_all_rows_ours_beside_the_papers() -> None:
    figures = Figures(23.4567, 0.9512, 0.93, 0.97, None, 0.0123, ONNX)
    table = paper_table({"quantize": figures, "tucker": _f1(0.9, 0.8, 1.0)}, "A note.")
    lines = table.splitlines()
    assert [line.split("`")[1] for line in lines[2:14]] == [*(row.chain for row in ROWS), "onnx", "tucker"]
    row = next(line for line in lines if "`quantize`" in line)
    name = "quantized linear layers and embedding"
    assert row == f"| {name} | `quantize` | {ONNX} | 23.5 | 179 | 0.951 (0.930-0.970) | 0.966 | - | - | 0.0123 | 0.13 |"
    assert "| pruned | `prune:taylor-global:keep=0.667` | - | - | 598 | - | 0.975 | - | 0.029 | - | 1.15 |" in lines
    assert "International Journal of Advanced Studies" in lines[-3]
    assert lines[-1] == "A note."


def test_the_table_says_whose_kernels_ran_and_what_quantized_rows_compare_with() -> None:
    slower = Figures(711.0, 0.9, 0.8, 1.0, None, 2.0, ONNX)
    lines = paper_table({"none": _f1(0.9, 0.8, 1.0), "onnx": slower}).splitlines()
    assert lines[2].startswith("| none | `none` | PyTorch | ")
    ours = f"{ONNX} | 711 | - | 0.900 (0.800-1.000) | - | - | - | 2 | - |"
    assert lines[12] == f"| none, in ONNX Runtime | `onnx` | {ours}"
    assert "Times of PyTorch and ONNX Runtime come from different kernels: the row `onnx` is the original" in lines[-1]


def test_means_over_seeds_stand_with_the_least_and_the_greatest() -> None:
    seeds = [Figures(2.0, f1, 0.8, 1.0, None, cpu, ONNX) for f1, cpu in ((0.9, 0.01), (0.92, 0.03))]
    table = paper_table({"quantize": seeds[0]}, seeds={"quantize": seeds})
    line = next(line for line in table.splitlines() if "`quantize`" in line)
    assert "| 2 | 179 | 0.900 (0.800-1.000), 0.900..0.920 | 0.966 | - | - | 0.01, 0.01..0.03 | 0.13 |" in line


def test_the_papers_order_of_sizes_is_known() -> None:
    assert misplaced(SIZES) == []
    swapped = SIZES | {"quantize": 400.0}
    assert misplaced(swapped) == ["tucker:size=0.2 < quantize"]


def test_intervals_overlap_where_they_touch() -> None:
    assert overlaps(_f1(0.9, 0.88, 0.92), _f1(0.93, 0.92, 0.95))
    assert not overlaps(_f1(0.9, 0.88, 0.91), _f1(0.93, 0.92, 0.95))


def _f1(value: float, low: float, high: float) -> Figures:
    return Figures(1.0, value, low, high, None, None, "PyTorch")
