"""The second paper's table of ten methods: our chains, and its figures."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = (
    "Torkunova, Milovanov, Neural networks optimization: methods and their comparison based off text intellectual "
    "analysis, International Journal of Advanced Studies 13(4), 2023, pp. 142-158, table 1"
)


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's table 1.

    Attributes:
        name: of the method.
        chain: of ours that does the same.
        size: MB.
        f1: of the positive class, 0 to 1.
        gpu: seconds on a GPU; None where the paper has a dash.
        cpu: seconds on a CPU.
    """

    name: str
    chain: str
    size: float
    f1: float
    gpu: float | None
    cpu: float


TUCKER, STUDENT_TUCKER = "tucker:size=0.2", "tucker:size=0.15"
"""Below a quarter, above which factors in float32 are larger than the whole layer in 8 bits; in the paper they are
smaller. The paper's rank of 20 keeps 4% of its encoder's linear layers, its student keeps 14%.
"""

ROWS = (
    PaperRow("none", "none", 711, 0.966, 0.036, 1.51),
    PaperRow("quantized linear layers", "quantize:linear", 454, 0.966, None, 1.18),
    PaperRow("quantized linear layers and embedding", "quantize", 179, 0.966, None, 0.13),
    PaperRow("Tucker", TUCKER, 385, 0.966, 0.036, 0.78),
    PaperRow("Tucker + quantized embedding", f"{TUCKER}+quantize:embeddings", 109, 0.967, None, 0.817),
    PaperRow("distilled", "distill", 10.3, 0.952, 0.005, 0.12),
    PaperRow("distilled, quantized", "distill+quantize", 2.68, 0.952, None, 0.105),
    PaperRow("distilled, Tucker", f"distill+{STUDENT_TUCKER}", 3.43, 0.951, 0.02, 0.11),
    PaperRow(
        "distilled, Tucker + quantized embedding",
        f"distill+{STUDENT_TUCKER}+quantize:embeddings",
        1.69,
        0.958,
        None,
        0.1,
    ),
    PaperRow("pruned", "prune:taylor-global:keep=0.667", 598, 0.975, 0.029, 1.15),
)
"""In the paper's order. A third of heads and neurons removed is what 598 MB comes to."""

REFERENCE = "onnx"
"""The original in ONNX Runtime, which runs the quantized rows: a row below the paper's, for their times."""

USUAL = (*(row.chain for row in ROWS), REFERENCE)
"""The chains of a comparison that names none."""
