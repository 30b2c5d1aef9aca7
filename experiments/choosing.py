"""What docs/explanation/choosing.md advises: the best chain by size, with and without training.

It is read off the committed results.

Of every network that a committed result compares methods on (``benchmarks/compare_methods.py`` on images,
``experiments/text_compression.py`` on texts), the most accurate chain whose file is at most a third, a tenth and a
fiftieth of the original's: of those that need no training, and of all. Nothing is measured here.

    python experiments/choosing.py

writes ``results/choosing.md``, a table, and ``docs/images/choosing.png``, the same as a decision figure.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMAGES, TEXTS = ROOT / "benchmarks" / "results", ROOT / "experiments" / "results"
TABLE = TEXTS / "choosing.md"
PICTURE = ROOT / "docs" / "images" / "choosing.png"

PARTS = (3, 10, 50)
"""The file is at most the original's, divided by this."""

FREE = ("none", "onnx", "quantize", "sparse")
"""Methods that never train; others do not where they end in ``raw``."""

NAMES = {"vgg16": "VGG16", "resnet18-imagenet": "ResNet18 (7x7 stem)", "sms-spam": "BERT, SMS", "sst2": "BERT, SST-2"}


@dataclass(frozen=True)
class Measured:
    """One chain on one network.

    Attributes:
        chain: as it is written.
        size: of its file, of the original's.
        quality: accuracy of images, F1 of texts, 0 to 1.
        seconds: of a batch of 128 on a CPU; None where unknown.
        flops: of the original's; None where unknown.
    """

    chain: str
    size: float
    quality: float
    seconds: float | None
    flops: float | None

    @property
    def trained(self) -> bool:
        """Whether making it takes training."""
        methods = [part.split(":") for part in self.chain.split("+")]
        return any(words[0] not in FREE and words[-1] != "raw" for words in methods)

    @property
    def name(self) -> str:
        """The chain in words: a member of a front is told by its FLOPs, for its number says nothing."""
        share = "" if self.flops is None else f" of {self.flops:.0%} FLOPs"
        return re.sub(r"ours:[^:+]+", f"ours{share}", self.chain).replace(":raw", "").replace("+", " + ")


@dataclass(frozen=True)
class Network:
    """What was measured on one network.

    Attributes:
        name: of the network and its data.
        quality: what is compared: accuracy or F1.
        original: the network as it was trained.
        chains: all others.
    """

    name: str
    quality: str
    original: Measured
    chains: tuple[Measured, ...]

    def best(self, part: int, *, training: bool) -> Measured | None:
        """The most accurate chain whose file is at most such a part; the smaller of two that are as accurate."""
        fit = [one for one in self.chains if one.size <= 1 / part and (training or not one.trained)]
        return max(fit, key=lambda one: (one.quality, -one.size), default=None)

    def said(self, found: Measured | None) -> list[str]:
        """Chain, size, what it loses in points, and how much faster it is; cells of a table."""
        if found is None:
            return ["nothing so small", "", "", ""]
        points = 100 * (found.quality - self.original.quality)
        faster = "-"
        if found.seconds and self.original.seconds:
            faster = f"{self.original.seconds / found.seconds:.1f}x"
        return [found.name, f"1/{1 / found.size:.0f}", f"{points:+.1f}", faster]


def networks(images: Path = IMAGES, texts: Path = TEXTS) -> list[Network]:
    """Every network that a committed result compares methods on, images first."""
    found = [_of_images(file) for file in _committed(images, "compare_methods-*.json")]
    found += [_of_texts(file) for file in _committed(texts, "text_compression-*.json") if "shape" not in file.stem]
    return found


def _committed(folder: Path, pattern: str) -> list[Path]:
    return [file for file in sorted(folder.glob(pattern), reverse=True) if not file.stem.endswith("-quick")]


def _of_images(file: Path) -> Network:
    result = json.loads(file.read_text())
    rows: list[Mapping[str, Any]] = result["rows"]
    original = next(row for row in rows if row["chain"] == "none")

    def measured(row: Mapping[str, Any]) -> Measured:
        flops = row["flops"] / original["flops"] if row["flops"] and original["flops"] else None
        size = row["size_mb"] / original["size_mb"]
        return Measured(row["chain"], size, row["metrics"]["accuracy"], row["seconds"].get("cpu 128"), flops)

    return _network(result["data"].rsplit("-", 1)[0], "accuracy", map(measured, rows))


def _of_texts(file: Path) -> Network:
    result = json.loads(file.read_text())
    whole = result["rows"]["none"]["size"]
    rows = [Measured(chain, row["size"] / whole, row["f1"], row["cpu"], None) for chain, row in result["rows"].items()]
    return _network(result["data"], "F1", rows)


def _network(name: str, quality: str, rows: Iterable[Measured]) -> Network:
    by_chain = {row.chain: row for row in rows}
    original = by_chain.pop("none")
    return Network(NAMES.get(name, name), quality, original, tuple(by_chain.values()))


def table(found: Sequence[Network]) -> str:
    """The advice as Markdown: a row a network, size and way."""
    headings = ["may it be trained on?", "file at most", "network", "best chain", "file", "points", "CPU"]
    lines = [headings, ["---"] * len(headings)]
    for training, words in ((False, "no"), (True, "yes")):
        for part in PARTS:
            for network in found:
                lines.append([words, f"1/{part}", network.name, *network.said(network.best(part, training=training))])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        "Made by `python experiments/choosing.py` from the committed results of `benchmarks/compare_methods.py` and\n"
        "`experiments/text_compression.py`. File: of the original's. Points: of accuracy (images) or F1 (texts, mean\n"
        "over seeds) above the original's, on test data. CPU: how many times faster a batch of 128 is than the\n"
        f"original in PyTorch, whatever runtime the chain has.\n\n{rows}\n"
    )


def draw(found: Sequence[Network], path: Path) -> None:
    """The decision figure: two questions, and at each leaf the best chain for every network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    leaf = 0.2 * (len(found) + 2)
    height = 2 * len(PARTS) * leaf
    figure = Figure(figsize=(12, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, height))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3fa", "edgecolor": "#5b7aa8"}
    root, ways = (0.08, height / 2), {False: 0.75 * height, True: 0.25 * height}
    axes.text(*root, "may it be\ntrained on?", ha="center", va="center", fontsize=10, bbox=box)
    top = height
    for training, words in ((False, "no"), (True, "yes")):
        way = (0.22, ways[training])
        _line(axes, root, way, words)
        axes.text(*way, "how small must\nthe file be?", ha="center", va="center", fontsize=10, bbox=box)
        for part in PARTS:
            middle = top - leaf / 2
            _line(axes, way, (0.36, middle), f"1/{part}")
            lines = [_sentence(network, network.best(part, training=training)) for network in found]
            text = "\n".join(lines)
            plain = box | {"facecolor": "white"}
            axes.text(0.36, middle, text, ha="left", va="center", fontsize=8.5, family="monospace", bbox=plain)
            top -= leaf
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _sentence(network: Network, found: Measured | None) -> str:
    chain, size, points, faster = network.said(found)
    if found is None:
        return f"{network.name}: {chain}"
    speed = "" if faster == "-" else f", {faster} as fast"
    return f"{network.name}: {chain}: file {size}, {points} points{speed}"


def _line(axes: Any, start: tuple[float, float], end: tuple[float, float], words: str) -> None:
    axes.plot([start[0], end[0]], [start[1], end[1]], color="#5b7aa8", linewidth=1, zorder=0)
    middle = (start[0] + 0.55 * (end[0] - start[0]), start[1] + 0.55 * (end[1] - start[1]))
    style = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.text(*middle, words, ha="center", va="center", fontsize=9, bbox=style)


def main() -> int:
    """Write table and figure; the exit status."""
    parser = argparse.ArgumentParser(prog="python experiments/choosing.py", description=__doc__.partition("\n")[0])
    parser.parse_args()
    found = networks()
    text = table(found)
    TABLE.write_text(text)
    draw(found, PICTURE)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
