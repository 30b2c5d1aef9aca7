"""What tests of faults share: a run and a comparison as they were written, ways to damage files, and commands."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CLASSES, squares
from PIL import Image
from safetensors.torch import save_file
from tiny_factory import small_residual

import gaprune
from gaprune.commands.lines import (
    compare_main,
    export_main,
    finetune_main,
    report_main,
    search_main,
    status_main,
)
from gaprune.data import from_arrays
from gaprune.errors import GapruneError
from gaprune.training import Recipe, fit

MODEL = "tiny_factory:small_residual"
ON = ["--device", "cpu", "--threads", "1"]


@dataclass(frozen=True)
class Whole:
    """What was written.

    Attributes:
        run: a finished search, two of whose members at least have a fine-tuned network.
        comparison: a table of two rows.
        arguments: what the search was told, but for its directory.
    """

    run: Path
    comparison: Path
    arguments: list[str]

    def files(self) -> dict[str, str]:
        """A file of each kind that a run holds, relative to the run."""
        home = next(self.run.glob("front/*/finetuned")).parent.relative_to(self.run)
        inside = {name: f"{home}/{name}" for name in ("config.json", "genome.json", "metrics.json")}
        return {
            **{name: name for name in ("manifest.json", "evaluations.jsonl", "front.csv", "ladder.csv")},
            "checksums": "checksums.json",
            "index": "front/00",
            "checksums of the front": "front/checksums.json",
            **inside,
            "weights": f"{home}/model.safetensors",
            "checksums of a member": f"{home}/checksums.json",
            **{f"finetuned {name}": f"{home}/finetuned/{name}" for name in ("config.json", "metrics.json")},
            "finetuned weights": f"{home}/finetuned/model.safetensors",
            "finetuned checksums": f"{home}/finetuned/checksums.json",
        }


def make_whole(place: Path) -> Whole:
    """Search, fine-tune, compare: by names, as a stranger gets a run."""
    torch.manual_seed(0)
    data = from_arrays("squares", squares(60, 0, 25), squares(40, 1, 25), classes=CLASSES)
    for part, count, seed in (("train", 60, 0), ("test", 40, 1)):
        images, labels = squares(count, seed, 25)
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            folder = place / "squares" / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number:03d}.png")
    model = small_residual(len(CLASSES))
    recipe = Recipe(epochs=8, batch_size=30, lr=0.1, pad=1)
    fit(model, data.train, data.test, mean=data.mean, std=data.std, flip=True, recipe=recipe)
    save_file(model.state_dict(), place / "trained.safetensors")
    places = ["--data-dir", str(place / "squares"), "--cache-dir", str(place / "cache")]
    named = ["--model", MODEL, "--checkpoint", str(place / "trained.safetensors"), *places, "--search-size", "45", *ON]
    arguments = [*named, "--population", "6", "--generations", "2", "--calibration-size", "45", "--no-polish"]
    run, comparison = place / "run", place / "comparison"
    assert search_main([*arguments, "--output", str(run), "--quiet"]) == 0
    tuned = ["--trust", "--pick", "all", "--epochs", "4", "--lr", "0.05", "--quiet", *ON]
    assert finetune_main([str(run), *tuned]) == 0
    assert list(run.glob("front/*/finetuned")), "training helps one member at least"
    methods = ["--methods", "none,prune:l1:raw", "--quiet"]
    assert compare_main([*named, *methods, "--output", str(comparison)]) == 0
    return Whole(run, comparison, arguments)


def flipped(content: bytes, draw: random.Random) -> bytes:
    """With one bit the other way."""
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def another_digit(content: bytes, draw: random.Random) -> bytes:
    """With another digit in the place of one."""
    places = [match.start() for match in re.finditer(rb"[0-9]", content)]
    if not places:
        return flipped(content, draw)
    place = draw.choice(places)
    digit = draw.choice([one for one in b"0123456789" if one != content[place]])
    return content[:place] + bytes([digit]) + content[place + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    """As much as a broken copy leaves."""
    return content[: draw.randrange(len(content))]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """With a block of zeros, as a lost block of a disk."""
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.randrange(1, 600))
    return content[:start] + bytes(end - start) + content[end:]


def without_a_line(content: bytes, draw: random.Random) -> bytes:
    """With one line gone."""
    lines = content.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return b"".join(lines)


def swapped_lines(content: bytes, draw: random.Random) -> bytes:
    """With two lines in each other's place."""
    lines = content.splitlines(keepends=True)
    if len(set(lines)) < 2:
        return flipped(content, draw)
    first, second = draw.sample(range(len(lines)), 2)
    lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def twice_a_line(content: bytes, draw: random.Random) -> bytes:
    """With one line twice."""
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    return b"".join([*lines[: place + 1], *lines[place:]])


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flipped,
    another_digit,
    cut,
    zeroed,
    without_a_line,
    swapped_lines,
    twice_a_line,
)


def damages(content: bytes, each: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged contents of a file, so many of each way, each with what was done to it."""
    draw = random.Random(seed)
    for way in WAYS:
        for number in range(each):
            for _ in range(20):
                if (made := way(content, draw)) != content:
                    yield f"{way.__name__} {number}", made
                    break


def commands(run: Path, place: Path) -> dict[str, Callable[[], int]]:
    """Every command that opens a run, by name; each gives its exit status."""
    short = ["--quiet", *ON]
    alone = ["--methods", "none,ours:00:raw", "--output", str(place / "table")]
    return {
        "status": lambda: status_main([str(run)]),
        "report": lambda: report_main([str(run), "--output", str(place / "report.html")]),
        "search": lambda: search_main(["--trust", "--resume", str(run), "--quiet"]),
        "finetune": lambda: finetune_main([str(run), "--trust", "--pick", "all", "--epochs", "1", *short]),
        "compare": lambda: compare_main(["--trust", "--run", str(run), *alone, *short]),
        "export": lambda: export_main([str(run), "--trust", "--pick", "0", "--format", "pt2", "--quiet"]),
        "status --check": lambda: status_main([str(run), "--check"]),
    }


def refusal(call: Callable[[], Any]) -> str | None:
    """What a call of Python refuses with; ``None`` where it works."""
    try:
        call()
    except GapruneError as error:
        return str(error)
    return None


def loads(folder: Path) -> str | None:
    """What ``gaprune.load`` refuses a member with."""
    return refusal(lambda: gaprune.load(folder, model=MODEL))


def one_line(status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ended with, with status 2."""
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "error: " in line]
    assert status == 2, captured
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]
