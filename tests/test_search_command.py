from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from patience import PATIENCE
from safetensors.torch import save_file
from tiny_factory import small_residual

import gaprune
from gaprune.commands.search import main
from gaprune.runs import read_csv
from gaprune.runs.lock import DirectoryLock
from gaprune.training.recipe import bfloat16_pays

TESTS = Path(__file__).parent
TINY = "tiny_factory:small_residual"
FAST = [
    *("--device", "cpu", "--threads", "1", "--search-size", "15", "--calibration-size", "30"),
    *("--population", "4", "--generations", "2"),
]


@pytest.fixture
def checkpoint(trained: torch.nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "trained.safetensors"
    save_file(trained.state_dict(), path)
    return path


@pytest.fixture
def arguments(square_folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.syspath_prepend(str(TESTS))
    places = ["--data-dir", str(square_folder), "--cache-dir", str(tmp_path / "cache")]
    return ["--model", TINY, "--checkpoint", str(checkpoint), *places, *FAST]


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "gaprune.search", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


def test_the_command_ends_with_a_table_and_a_network_to_load(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    assert main([*arguments, "--output", str(path), "--pick", "flops<=0.6"]) == 0
    out = capsys.readouterr().out
    assert "accuracy search %" in out
    assert f"run: {path}" in out
    named = [line for line in out.splitlines() if TINY in line and "gaprune.load(" not in line]
    assert len(named) == 1, "the network is named once"
    line = next(line for line in out.splitlines() if line.startswith("picked (flops<=0.6)"))
    path_and_model = line.split("gaprune.load(")[1].rstrip(")")
    assert path_and_model == f"\"{path / gaprune.Run(path).record.picked.path}\", model='{TINY}'"
    network = gaprune.load(*path_and_model.split('"')[1:2], model=TINY)
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    assert main(["--trust", "--resume", str(path)]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert main(["--trust", "--resume", str(path), "--quiet", "--log-level", "error"]) == 0
    assert capsys.readouterr() == (f"{path}\n", ""), "a script reads where the run is"


def test_a_resumed_run_finds_its_baseline_whatever_this_machine_would_train(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, path = arguments.index("--checkpoint"), tmp_path / "run"
    assert main([*arguments[:at], *arguments[at + 2 :], "--output", str(path)]) == 0
    assert "training tiny_factory:small_residual on" in capsys.readouterr().out
    other = not bfloat16_pays(torch.device("cpu"))
    monkeypatch.setattr("gaprune.training.recipe.bfloat16_pays", lambda device: other)
    assert main(["--trust", "--resume", str(path)]) == 0
    assert "training tiny_factory" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["--model", "vgg17"], "unknown model 'vgg17': choose one of vgg16, resnet18"),
        (
            ["--objectives", "accuracy,speed"],
            "unknown objective 'speed': choose one of accuracy, loss, divergence, flops",
        ),
        (["--objectives", "accuracy"], "objectives must be at least two of"),
        (["--data", "imagenet"], "unknown data 'imagenet': choose one of auto, cifar10, digits"),
        (["--algorithm", "magic"], "unknown algorithm 'magic': choose one of auto, nsga2, nsga3, cma, tuned, random"),
        (["--rounds", "2"], "rounds has no meaning without --algorithm rounds"),
        (["--algorithm", "rounds"], "generations has no meaning with --algorithm rounds: use --rounds"),
        (["--importance", "magic"], "unknown importance 'magic': choose one of obs, l2, bn, taylor, random"),
        (["--compensation", "all"], "unknown compensation 'all': choose one of taps, channels, none"),
        (["--precision", "int8"], "unknown precision 'int8': choose one of auto, float32, bfloat16"),
        (["--genes", "all"], "unknown genes 'all': choose one of neurons, connections, both"),
        (["--population", "3"], "population must be at least 4, got 3"),
        (["--generations", "0"], "generations must be at least 1, got 0"),
        (["--connection-groups", "4"], "connection-groups needs connection genes"),
        (["--search-from", "nowhere"], "unknown search-from 'nowhere': choose one of auto, train, test"),
        (["--stem", "oak"], "unknown stem 'oak': choose one of cifar, imagenet"),
        (["--pick", "best"], "knee"),
        (
            ["--max-flops", "0"],
            "max-flops must be a number above 0: up to 1 a share of the original's, above 1 a count",
        ),
        (["--max-params", "-1"], "max-params must be a number above 0"),
        (["--max-size", "nan"], "--max-size must be a number, or such as"),
        (["--max-flops", "2"], "no network can be so small: the smallest has flops"),
        (["--min-accuracy", "90"], "min-accuracy must be a number above 0 and at most 1"),
        (["--populaton", "8"], "--population"),
        (["--checkpoint", "missing.safetensors"], "no such checkpoint file: missing.safetensors"),
        (["--checkpoint", "pretrained"], "there are no pretrained weights of tiny_factory:small_residual"),
        (["--model", "resnet50"], "(did you mean torchvision:resnet50?)"),
        (["--head", "maybe"], "head must be keep, cut:CLASS_FILE or new, got 'maybe'"),
        (["--head", "cut:missing.txt"], "head cut:missing.txt: there is no such file"),
        (["--search-size", "80"], "choose 1 to 45 (at most half of the 90 train images)"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_bad_input_gets_one_line_status_2_and_leaves_nothing(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    expected: str,
) -> None:
    path = tmp_path / "run"
    assert main([*arguments, "--output", str(path), *extra]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("python -m gaprune.search: error: ")
    assert expected in line
    assert not path.exists()


def test_a_head_without_a_checkpoint_says_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    at = arguments.index("--checkpoint")
    assert main([*arguments[:at], *arguments[at + 2 :], "--head", "new"]) == 2
    captured = capsys.readouterr()
    assert "head new says what becomes of a checkpoint's head: give --checkpoint FILE, too" in captured.err
    assert captured.out == "", "nothing was read before"


def test_a_network_with_a_script_s_checkpoint_for_other_classes_is_searched_resumed_and_loaded(
    arguments: list[str], trained: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {f"module.{name}": tensor for name, tensor in small_residual(7).state_dict().items()}
    weights |= {f"module.{name}": tensor for name, tensor in trained.state_dict().items() if "head" not in name}
    torch.save({"epoch": 3, "model": weights}, tmp_path / "script.pth")
    path = tmp_path / "run"
    at = arguments.index("--checkpoint") + 1
    arguments[at] = str(tmp_path / "script.pth")
    assert main([*arguments, "--output", str(path)]) == 2
    assert "trained for 7 classes, this network has 3 " in capsys.readouterr().err
    assert main([*arguments, "--head", "new", "--output", str(path)]) == 0
    assert "a new head in place of one for 7 classes; fitted to " in capsys.readouterr().out
    assert json.loads((path / "manifest.json").read_text())["original"]["search_accuracy"] > 0.6
    assert main(["--trust", "--resume", str(path), "--generations", "3"]) == 0
    assert gaprune.load(path / "front" / "00", model=TINY)(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


def test_a_foreign_checkpoint_is_refused_by_name(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"encoder.weight": torch.zeros(2, 2)}, foreign)
    assert main([*arguments, "--checkpoint", str(foreign)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(foreign) in line


def test_a_checkpoint_for_another_number_of_classes_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_factory import small_residual

    other = tmp_path / "other.safetensors"
    save_file(small_residual(7).state_dict(), other)
    assert main([*arguments, "--checkpoint", str(other)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "7" in line
    assert "3" in line


def test_an_empty_folder_is_refused(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([*arguments, "--data-dir", str(empty)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(empty) in line


def test_an_unreadable_image_is_named_skipped_and_counted(
    arguments: list[str], square_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (square_folder / "train" / "red" / "broken.png").write_bytes(b"no image")
    path = tmp_path / "run"
    assert main([*arguments, "--output", str(path)]) == 0
    assert "broken.png" in capsys.readouterr().out
    skipped = json.loads((path / "manifest.json").read_text())["data"]["skipped"]
    assert len(skipped) == 1
    assert "broken.png" in skipped[0]


def test_a_directory_in_use_is_refused_before_any_work(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    assert main([*arguments, "--output", str(path)]) == 0
    lock = DirectoryLock(path)
    lock.acquire()
    try:
        capsys.readouterr()
        assert main([*arguments, "--trust", "--resume", str(path)]) == 2
        assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    finally:
        lock.release()
    assert main([*arguments, "--output", str(path)]) == 2
    captured = capsys.readouterr()
    assert "already holds a run" in captured.err
    assert captured.out == ""


def wait_for_lines(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    """Until the log of a run has so many lines."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if path.exists() and path.read_text().count("\n") >= lines:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not reach {lines} lines")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_resumes_to_the_front_of_an_undisturbed_one(
    arguments: list[str], tmp_path: Path, sign: signal.Signals
) -> None:
    long = [*arguments, "--generations", "30"]
    killed, whole = tmp_path / "killed  here", tmp_path / "whole"
    with subprocess.Popen(
        command([*long, "--output", str(killed)]),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_lines(killed / "evaluations.jsonl", 14, process)
        process.send_signal(sign)
        assert process.stderr is not None
        errors = process.stderr.read()
    if sign == signal.SIGINT:
        assert process.returncode == 130
        again = errors.splitlines()[-1].split("go on with: ")[1]
    else:
        assert process.returncode == -signal.SIGKILL
        again = f"python -m gaprune.search --resume '{killed}' --model {TINY}"
    assert not (killed / "front.csv").exists()
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    found = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    subprocess.run(again, shell=True, check=True, env=environment() | {"PATH": found}, stdout=subprocess.DEVNULL)
    assert main([*long, "--output", str(whole)]) == 0
    assert (killed / "front.csv").read_bytes() == (whole / "front.csv").read_bytes()


def test_rounds_killed_in_the_second_resume_to_the_end_of_undisturbed_ones(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = [*arguments[:-2], "--algorithm", "rounds", "--rounds", "2", "--round-generations", "4"]
    rounds += ["--round-share", "0.1,0.3", "--genes", "both"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(
        command([*rounds, "--output", str(killed)]), env=environment(), stdout=subprocess.DEVNULL, text=True
    ) as process:
        wait_for_lines(killed / "round-2" / "evaluations.jsonl", 6, process)
        process.kill()
    assert not (killed / "front.csv").exists()
    assert main(["--trust", "--resume", str(killed)]) == 0
    assert main([*rounds, "--output", str(whole)]) == 0
    assert "| 01 |" in capsys.readouterr().out
    weights = [f"{row.path}/model.safetensors" for row in read_csv(whole / "front.csv")]
    assert len(weights) == 2
    for name in ("front.csv", *weights):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_importing_gaprune_is_light() -> None:
    heavy = "torch", "ray", "transformers", "deap", "fvcore", "matplotlib", "sklearn"
    code = f"import sys, gaprune; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_the_command_needs_neither_ray_nor_transformers() -> None:
    code = "import sys, gaprune.search; print([n for n in ('ray', 'transformers') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
