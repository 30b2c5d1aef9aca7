"""A search of a tiny text classifier, as typed."""

from __future__ import annotations

from pathlib import Path

from gaprune.search import main

ARGUMENTS = [
    "--model",
    "bert",
    "--population",
    "4",
    "--search-texts",
    "40",
    "--calibration-texts",
    "80",
    "--epochs",
    "8",
]
ARGUMENTS += ["--lr", "5e-3", "--max-length", "16", "--flops-length", "8", "--device", "cpu", "--threads", "1"]


def search(place: Path, run: Path, *more: str) -> int:
    """Search the reviews and the encoder in a folder; the exit status."""
    told = [
        "--data",
        str(place / "reviews.tsv"),
        "--encoder",
        str(place / "encoder"),
        "--cache-dir",
        str(place / "cache"),
    ]
    return main([*ARGUMENTS, *told, "--output", str(run), *more])
