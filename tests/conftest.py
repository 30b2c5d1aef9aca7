"""What tests of whole commands share: a tiny image folder, and a network that learns it."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import unsynced
from hypothesis import settings
from PIL import Image
from scheduling import RayTogether
from tiny_factory import small_residual

from gaprune.data import ImageData, from_arrays
from gaprune.training import Recipe, fit

CLASSES = ("red", "green", "blue")

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1_000, deadline=None)
settings.load_profile("same")


def pytest_configure() -> None:
    """One thread a process, started ones included: the tests run in parallel. No test asks a hub for anything.

    What a shell runs in the background ignores Ctrl-C, and what runs under nohup the end of its terminal; both pass
    that on to what tests start and interrupt.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    unsynced()


@pytest.fixture(autouse=True)
def same_each_time() -> None:
    """What a test draws without a seed of its own is the same in every run, in whatever order the tests go."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long suite of faults runs where it is asked for by its name."""
    if "faults_long" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("faults_long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RayTogether:
    return RayTogether(config, log)


def squares(count: int, seed: int, contrast: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """``count`` noisy 8x8 images of each of three classes, which differ in their brightest channel."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), count)
    images = rng.integers(0, 160, (len(labels), 3, 8, 8))
    images[np.arange(len(labels)), labels] += contrast
    return images.astype(np.uint8), labels.astype(np.int64)


@pytest.fixture
def square_data() -> ImageData:
    return from_arrays("squares", squares(60, 0), squares(40, 1), classes=CLASSES)


@pytest.fixture
def square_folder(tmp_path: Path) -> Path:
    """The same kind of images as an image folder: 90 to train on, 60 to test on."""
    for part, count, seed in (("train", 30, 0), ("test", 20, 1)):
        images, labels = squares(count, seed)
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            folder = tmp_path / "squares" / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number:03d}.png")
    return tmp_path / "squares"


@pytest.fixture
def trained(square_data: ImageData) -> torch.nn.Module:
    """A small residual network that has learnt the squares."""
    torch.manual_seed(0)
    model = small_residual(len(CLASSES))
    recipe = Recipe(epochs=6, batch_size=30, lr=0.1, pad=1)
    train, mean, std = square_data.train, square_data.mean, square_data.std
    fit(model, train, square_data.test, mean=mean, std=std, flip=True, recipe=recipe)
    return model.eval()


@pytest.fixture(scope="session")
def faint() -> ImageData:
    """Noise whose brightest channel is the label, but barely: smaller networks are worse at it."""
    return from_arrays("faint", squares(80, 0, contrast=12), squares(40, 1, contrast=12))


@pytest.fixture(scope="session")
def original(faint: ImageData) -> torch.nn.Module:
    """A small residual network that has learnt the faint images as far as it can; not to be changed."""
    torch.manual_seed(0)
    model = small_residual(3)
    recipe = Recipe(epochs=15, batch_size=30, lr=0.1, pad=1)
    fit(model, faint.train, faint.test, mean=faint.mean, std=faint.std, flip=True, recipe=recipe)
    model.zero_grad(set_to_none=True)
    return model
