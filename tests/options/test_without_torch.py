"""Help, a typo and whatever is cheap to tell are answered without importing torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib, sys
status = importlib.import_module(f"gaprune.{sys.argv[1]}").main(sys.argv[2:])
print(status, *(name for name in ("torch", "ray", "scipy", "transformers") if name in sys.modules))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def answered(name: str, *argv: str) -> tuple[str, str]:
    """The last line, which tells status and heavy modules, and what was said on standard error."""
    command = [sys.executable, "-c", PROGRAM, name, *argv]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return made.stdout.splitlines()[-1], made.stderr.strip()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((name, "--seed") for name in ("search", "finetune", "train", "compare")),
        ("export", "--opset"),
        ("report", "--output"),
    ],
)
def test_help_and_a_typo(name: str, meant: str) -> None:
    assert answered(name, "--help") == ("0", "")
    typo = meant[:-2] + meant[-1]
    last, said = answered(name, typo, "3")
    assert (last, said) == ("2", f"python -m gaprune.{name}: error: unknown option '{typo}': did you mean {meant}?")


def test_help_of_texts() -> None:
    assert answered("compare", "--model", "bert", "--help") == ("0", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("search --population 3", "population must be at least 4, got 3"),
        ("search --model vgg17", "unknown model 'vgg17': choose one of vgg16, resnet18"),
        ("search --stem oak", "unknown stem 'oak': choose one of cifar, imagenet"),
        ("search --objectives accuracy,speed", "unknown objective 'speed'"),
        ("search --pick best", "unknown rule 'best' to pick by"),
        ("search --max-flops -1", "max-flops must be a number above 0"),
        ("search --rounds 2", "rounds has no meaning without --algorithm rounds"),
        ("search --algorithm rounds --generations 2", "generations has no meaning with --algorithm rounds"),
        ("search --connection-groups 4", "connection-groups needs connection genes"),
        ("search --output HERE", "HERE is not empty"),
        ("search --resume HERE", "HERE is not a run directory: it has no manifest.json"),
        ("finetune HERE/a", "HERE/a is not a run directory: there is no such directory"),
        ("compare --run HERE/a", "HERE/a is not a run directory: there is no such directory"),
        ("finetune runs/a --pick best", "unknown choice 'best'"),
        ("finetune runs/a --lr 0", "lr must be a number above 0, got 0"),
        ("train --epochs 0", "--epochs must be at least 1, got 0"),
        ("train --model vgg17", "unknown model 'vgg17'"),
        ("export HERE/a", "HERE/a is not a run directory: there is no such directory"),
        ("export HERE/a --format tflite", "unknown format 'tflite': choose one of onnx, pt2, state-dict"),
        ("search --max-latency 5", "max-latency must be a time such as 5ms"),
        ("search --latency-batch 2", "latency-batch says nothing where nothing is timed"),
        ("compare --batch 1", "batch must be at least 2, got 1"),
        ("compare --output HERE", "HERE is not empty"),
        ("compare --model bert --lr 0", "--lr must be above 0, got 0"),
    ],
)
def test_what_is_cheap_to_tell(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    name, *argv = line.replace("HERE", str(tmp_path)).split()
    last, said = answered(name, *argv)
    assert message.replace("HERE", str(tmp_path)) in said
    assert (last, said.count("\n")) == ("2", 0)


def test_help_takes_hardly_longer_than_python() -> None:
    """At most twice the time of ``python -c pass`` plus 0.3 s of computing; the best of some, as machines are busy."""
    command = [sys.executable, "-m", "gaprune.search", "--help"]
    nothing = min(_seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    assert min(_seconds(command) for _ in range(5)) <= 2 * nothing + 0.3


def _seconds(command: list[str]) -> float:
    """Processor time of a child process."""
    before = os.times()
    subprocess.run(command, capture_output=True, check=True, env=ENVIRONMENT)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
