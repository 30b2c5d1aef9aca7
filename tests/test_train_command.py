from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gaprune.baseline import resolve_baseline
from gaprune.commands import train
from gaprune.commands.train import main
from gaprune.data import load_data, split
from gaprune.options import TrainOptions
from gaprune.options.cli import Interrupted
from gaprune.progress import make_reporter
from gaprune.training import Recipe

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TINY = "tiny_factory:tiny_cnn"


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """30 images to train on and 12 to test on, of three classes that differ in their brightest channel."""
    random = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = tmp_path / "squares" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 128, (8, 8, 3))
                pixels[:, :, channel] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "squares"


@pytest.fixture
def arguments(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.syspath_prepend(str(TESTS))
    cache = str(tmp_path / "cache")
    return ["--model", TINY, "--data-dir", str(image_folder), "--cache-dir", cache, "--device", "cpu"]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """The command in a process of its own, with the tests' factories on its path and as many threads."""
    paths, threads = os.pathsep.join([str(TESTS), str(ROOT)]), str(torch.get_num_threads())
    return subprocess.Popen(
        [sys.executable, "-m", "gaprune.train", *arguments],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_prints_the_command_that_ends_like_an_undisturbed_training(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments += ["--epochs", "40", "--seed", "3"]
    with started(arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = [next(process.stdout)]
        while not seen[-1].startswith("epoch 2/40"):
            seen.append(next(process.stdout))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        errors = process.stderr.read()
    assert process.returncode == 130
    assert any(line.startswith(f"training {TINY} on squares (24 images, 40 epochs): about ") for line in seen)
    (line,) = errors.splitlines()
    _, printed = line.split("go on with: python -m gaprune.train ")
    assert main(shlex.split(printed)) == 0
    output = capsys.readouterr().out
    assert output.startswith("going on after epoch ")
    assert "top-1 on held-out training images: " in output
    assert "of 6)" in output
    assert "top-1 on test images: " in output
    assert main([*arguments, "--output", str(tmp_path / "undisturbed")]) == 0
    expected = load_file(tmp_path / "undisturbed" / "model.safetensors")
    found = load_file(weights_line(output))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def weights_line(output: str) -> str:
    (line,) = [line for line in output.splitlines() if line.startswith("weights: ")]
    return line.removeprefix("weights: ")


def test_a_search_finds_what_was_trained(
    arguments: list[str],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe(epochs=3, batch_size=8, pad=1)
    monkeypatch.setattr(train, "default_recipe", lambda *_, **__: recipe)
    assert main(arguments) == 0
    output = capsys.readouterr().out
    data = load_data(data_dir=image_folder, cache_dir=tmp_path / "cache")
    parts = split(data, search_size=6, calibration_size=4)
    found = resolve_baseline(
        TINY,
        "cifar",
        data,
        train=parts.train,
        validate=parts.search,
        recipe=recipe,
        cache_dir=tmp_path / "cache",
        device=torch.device("cpu"),
        reporter=make_reporter(),
    )
    assert capsys.readouterr().out == "", "nothing is trained again"
    assert weights_line(output) in found.source
    assert not found.saw_all_training_images
    assert f"search with them: python -m gaprune.search --model {TINY} --data-dir {image_folder}" in output
    assert "--checkpoint" not in output


def test_a_second_call_only_reports(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments += ["--epochs", "2"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert main(arguments) == 0
    second = capsys.readouterr().out
    assert "epoch 2/2" in first
    assert first.endswith(second)
    assert second.startswith("top-1")
    assert f"--checkpoint {weights_line(second)}" in second, "a recipe of one's own is not the search's"
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().out == f"{weights_line(second)}\n"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model", "vgg17"], "unknown model 'vgg17': choose one of vgg16, resnet18"),
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--batch-size", "1"], "--batch-size must be at least 2, got 1"),
        (["--lr", "-1"], "--lr must be above 0, got -1"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--seed", "99999999999999"], "--seed must be at most 4294967295"),
        (["--search-size", "25"], "a search set of 25 images does not fit"),
        (["--data", "cifar100"], "unknown data 'cifar100': choose one of auto, cifar10, digits"),
        (["--device", "tpu"], "unknown device 'tpu': choose one of auto, cpu, cuda"),
        (["--lr", "1e30", "--epochs", "2"], "training diverged in epoch 1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    extra: list[str], message: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *extra]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m gaprune.train: error: ")
    assert message in line


def test_an_unknown_model_leaves_nothing_behind(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--model", "vgg17", "--output", str(tmp_path / "output")]) == 2
    assert not (tmp_path / "output").exists()


def test_the_command_to_go_on_quotes_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_train", stop)
    with pytest.raises(Interrupted, match=r"python -m gaprune\.train --model vgg16 --data-dir 'my data' --lr 0\.2$"):
        train.train(TrainOptions.of(data_dir=Path("my data"), lr=0.2))
