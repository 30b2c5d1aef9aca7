"""From a folder of photographs to smaller networks, by the command: searched, resumed, fine-tuned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_factory import small_residual
from torch.nn import functional as F

from gaprune.data import ImageSet, load_data, normalise
from gaprune.finetune import main as finetune
from gaprune.search import main as search
from gaprune.train import main as train

COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of many sizes whose brightest colour is their class."""
    root, random = tmp_path_factory.mktemp("photos") / "album", np.random.default_rng(0)
    for part, count in (("train", 60), ("val", 50)):
        for label, name in enumerate(COLOURS):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = random.integers(12, 30, 2)
                pixels = random.integers(0, 120, (height, width, 3))
                pixels[:, :, 2 - label] += 90
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / part / name / f"{number}.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def weights(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learnt the album with pixels from -1 to 1."""
    folder = tmp_path_factory.mktemp("weights")
    data = load_data(data_dir=album, image_size=12, cache_dir=folder / "cache")
    whole: ImageSet = data.train.loaded()
    inputs, torch_seed = normalise(whole.images[:], (127.5,) * 3, (127.5,) * 3), 0
    torch.manual_seed(torch_seed)
    network = small_residual(3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(8):
        for batch in torch.randperm(len(inputs)).split(30):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[batch]), whole.labels[batch]).backward()
            optimizer.step()
    save_file(network.state_dict(), folder / "network.safetensors")
    return folder / "network.safetensors"


def options(album: Path, weights: Path, run: Path, *more: str) -> list[str]:
    fixed = {
        "--model": "tiny_factory:small_residual",
        "--checkpoint": str(weights),
        "--data-dir": str(album),
        "--search-from": "test",
        "--search-size": "60",
        "--population": "4",
        "--generations": "2",
        "--cache-dir": str(run.parent / "cache"),
        "--output": str(run),
    }
    return [word for pair in fixed.items() for word in pair] + list(more)


def test_photographs_are_searched_resumed_and_fine_tuned(
    album: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert search(options(album, weights, run, "--image-size", "12", "--mean", "127.5", "--std", "127.5")) == 0
    printed = capsys.readouterr().out
    assert f"{album / 'val'} reports, as there is no test part" in printed
    assert "photographs: short side to 12 pixels, then the centre of 12x12" in printed
    assert "given as mean 127.5 and std 127.5 of 0..255 pixels" in printed
    accuracy = re.search(r"original: accuracy ([\d.]+)", printed)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data"]["mean"] == [127.5] * 3
    assert manifest["options"]["image_size"] == 12
    assert search(["--trust", "--resume", str(run), "--generations", "3"]) == 0
    assert "decoding" not in capsys.readouterr().out
    assert finetune([str(run), "--trust", "--epochs", "2", "--pick", "knee"]) == 0
    assert "fine-tuning 1 member, 2 epochs of 180 images each" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "expected .* bring all to one size, by --image-size 224 for example"),
        (("--resize", "14"), "resize goes with image-size"),
        (("--image-size", "12", "--mean", "0.5"), "mean and std go together: std is missing"),
        (("--image-size", "12", "--normalise", "vgg"), "unknown normalise 'vgg': choose one of imagenet, half, none"),
        (("--image-size", "2"), "image-size must be 8 to 2048 pixels, got 2"),
        (
            ("--image-size", "12", "--mean", "red", "--std", "1"),
            "--mean must be numbers separated by commas",
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    album: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert search(options(album, weights, tmp_path / "run", *more)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert re.search(message, errors[0])


def test_photographs_of_unlike_sizes_are_told_what_the_named_network_was_trained_on(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", "torchvision:resnet50", "--checkpoint", "pretrained", "--data-dir", str(album)]
    assert search([*given, "--output", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "bring all to one size, by --image-size 224 --resize 232, which torchvision's transforms of ResNet50" in line


def test_a_baseline_is_trained_on_photographs_where_there_is_none(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", "tiny_factory:small_residual", "--data-dir", str(album), "--cache-dir", str(tmp_path)]
    assert train([*given, "--image-size", "12", "--normalise", "half", "--epochs", "2", "--search-size", "30"]) == 0
    printed = capsys.readouterr().out
    assert "top-1 on test images" in printed
    assert "--image-size 12 --normalise half" in printed.splitlines()[-1]
