"""Kinds of work that is killed and gone on with, and what each leaves behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subject import arguments_of
from tiny_texts import write_encoder, write_tsv

PLAIN = "plain"
"""The kind that fine-tuning, exports and comparisons begin with."""

OF_TIMES = {
    *("checksums.json", "times.json", "accuracy-time.png", "report.html", "table.csv", "table.md", "paper.md"),
    *("rounds.csv", "rounds.md", "iterations.csv", "iterations.md"),
}
"""Files that tell how long something took, beside what is in other files; of these only the name is compared."""

CHANGING = {"sum", "seconds", "spread", "date", "wall_seconds", "stage_seconds", "training_seconds"}
"""What in a file is another each time."""


@dataclass(frozen=True)
class Kind:
    """One kind of work.

    Attributes:
        begin: what is typed first; ``{run}`` stands for its directory.
        go_on: what is typed when ``there`` is.
        of_a_run: whether it works in a finished run, of which each time a copy is made.
        there: the file of its directory with which it can be gone on with.
    """

    begin: tuple[str, ...]
    go_on: tuple[str, ...]
    of_a_run: bool = False
    there: str = "manifest.json"

    def argv(self, run: Path) -> list[str]:
        """What is typed next, as the directory is."""
        words = self.go_on if (run / self.there).exists() else self.begin
        return [str(run) if word == "{run}" else word for word in words]

    def prepare(self, run: Path, plain: Path) -> None:
        """Let its directory be as it is before the work begins."""
        run.parent.mkdir()
        if self.of_a_run:
            shutil.copytree(plain, run)


def kinds(place: Path) -> dict[str, Kind]:
    """All kinds by name, ``PLAIN`` first, on the digits and on reviews; each takes seconds.

    Args:
        place: an empty folder for what they begin with; the run of ``PLAIN`` is to be ``place / PLAIN / "run"``.
    """
    images, plain = arguments_of(place, 0), str(place / PLAIN / "run")
    return {**_searches(images), **_in_a_run(), **_comparisons(plain), **_texts(place), "train": _training(place)}


def left_by(run: Path) -> dict[str, Any]:
    """What lies in a directory, by name of the file: its content but for times, places and checksums of such."""
    files = [file for file in run.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(run)): _content(file, run) for file in sorted(files)}


def differing(found: Mapping[str, Any], meant: Mapping[str, Any]) -> list[str]:
    """The files that one has and the other has not, or that are not the same."""
    return sorted(name for name in {*found, *meant} if found.get(name) != meant.get(name))


def _content(file: Path, run: Path) -> Any:
    if file.name in OF_TIMES:
        return ""
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        return _tensors(content)
    if file.suffix not in (".json", ".jsonl"):
        return content
    text = content.decode().replace(str(run), "{run}")
    return [_steady(json.loads(line)) for line in (text.splitlines() if file.suffix == ".jsonl" else [text])]


def _tensors(content: bytes) -> tuple[Any, bytes]:
    """What a file of tensors says of them, whose order in the file is left to chance, and the tensors' bytes."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    told = {name: _parsed(text) for name, text in header.pop("__metadata__", {}).items()}
    return (header, _steady(told)), content[begin:]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _steady(value: Any) -> Any:
    """The value without what changes, at any depth."""
    if isinstance(value, dict):
        return {name: _steady(one) for name, one in value.items() if name not in CHANGING}
    return [_steady(one) for one in value] if isinstance(value, list) else value


def _search(*words: str) -> Kind:
    return Kind((*words, "--output", "{run}"), ("--trust", "--resume", "{run}"))


def _searches(images: list[str]) -> dict[str, Kind]:
    few, tiny = ("--generations", "3"), ("--epoch-images", "60")
    rounds = ("--algorithm", "rounds", "--rounds", "2", "--selected", "2")
    options = {
        PLAIN: few,
        "polish": (*few, "--polish"),
        "both genes": (*few, "--genes", "both"),
        "racing": (*few, "--racing", "0.9"),
        "tuned": ("--generations", "4", "--algorithm", "tuned", "--fitness", "divergence"),
        "isolated": (*few, "--isolate"),
        "limits": (*few, "--max-flops", "0.6", "--min-accuracy", "0.2"),
        "rounds": (*rounds, "--round-generations", "2"),
        "trained rounds": (*rounds, "--round-generations", "1", "--round-epochs", "1", *tiny),
        "iterations": ("--generations", "2", "--iterations", "2", "--iteration-epochs", "1", *tiny),
    }
    return {kind: _search(*images, *told) for kind, told in options.items()}


def _in_a_run() -> dict[str, Kind]:
    here = ("--device", "cpu", "--threads", "1", "--epochs", "2", "--epoch-images", "60")
    words = {
        "finetune": ("finetune", "{run}", "--trust", "--pick", "knee", *here),
        "shared": ("finetune", "{run}", "--trust", "--pick", "all", "--shared", *here),
        "export": ("export", "{run}", "--trust", "--pick", "0", "--threads", "1"),
    }
    return {kind: Kind(typed, typed, of_a_run=True) for kind, typed in words.items()}


def _comparisons(plain: str) -> dict[str, Kind]:
    chains = "none,ours:0+quantize,prune:l1,distill:thin=0.5+tucker:size=0.6"
    spent = ("--epochs", "1", "--epoch-images", "60", "--batch", "4", "--device", "cpu", "--threads", "1")
    words = ("compare", "--trust", "--run", plain, "--methods", chains, *spent, "--output", "{run}")
    return {"comparison": Kind(words, ("compare", "--trust", "--resume", "{run}"))}


def _texts(place: Path) -> dict[str, Kind]:
    encoder, reviews = write_encoder(place / "encoder"), write_tsv(place / "reviews.tsv")
    network = (
        "--model",
        "bert",
        "--encoder",
        str(encoder),
        "--data",
        str(reviews),
        "--cache-dir",
        str(place / "cache"),
    )
    here = ("--lr", "5e-3", "--device", "cpu", "--threads", "1")
    chains = ("--methods", "none,distill,tucker:size=0.2", "--batch-size", "16", "--batch", "4")
    compared = ("compare", *network, *here, *chains, "--epochs", "1", "--student-epochs", "2", "--output", "{run}")
    sizes = ("--search-texts", "40", "--calibration-texts", "80", "--max-length", "16", "--flops-length", "8")
    found = (*network, *here, *sizes, "--epochs", "2", "--population", "4", "--generations", "3", "--output", "{run}")
    return {
        "text comparison": Kind(compared, ("compare", "--model", "bert", "--resume", "{run}")),
        "text search": Kind(found, ("--resume", "{run}")),
    }


def _training(place: Path) -> Kind:
    images = ("--data", "digits", "--cache-dir", str(place / "cache"), "--device", "cpu")
    spent = ("--epochs", "3", "--batch-size", "50", "--output", "{run}")
    words = ("train", "--model", "tiny_factory:small_residual", *images, *spent)
    return Kind(words, words, there="model.safetensors")
