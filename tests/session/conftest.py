"""One tiny search for all tests that stop one: its arguments, and what it leaves when nothing disturbs it.

Tests need a search that stops candidates early, to the end. Whether one does hangs on last digits, which differ between
processors: the first network whose search does is taken.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import killing
import pytest
import torch
from killing import GENERATIONS, OLD, POPULATION, Stop
from safetensors.torch import save_file
from tiny_factory import small_residual

from gaprune.data import load_data
from gaprune.training import Recipe, fit

NETWORKS = range(12)
"""More than half of them will do."""


def arguments_of(place: Path, number: int) -> list[str]:
    """All but ``--output`` and ``--generations``: the digits, and a small residual network that has learnt them."""
    checkpoint, data = place / f"trained-{number}.safetensors", load_data("digits", cache_dir=place / "cache")
    torch.manual_seed(number)
    model = small_residual(len(data.classes))
    recipe = Recipe(epochs=6, batch_size=50, lr=0.1, pad=1)
    fit(model, data.train, data.test, mean=data.mean, std=data.std, flip=False, recipe=recipe)
    save_file(model.state_dict(), checkpoint)
    network = ["--model", "tiny_factory:small_residual", "--checkpoint", str(checkpoint)]
    images = ["--data", "digits", "--cache-dir", str(place / "cache"), "--search-size", "60"]
    sizes = ["--calibration-size", "60", "--statistics-size", "60", "--batch-size", "10"]
    pinned = ["--device", "cpu", "--threads", "1", "--precision", "float32", "--round-to", "1"]
    return [*network, *images, *sizes, *pinned, "--population", str(POPULATION)]


def searched(arguments: list[str], generations: int, path: Path, *options: str, fault: Stop | None = None) -> int:
    """Run a search in a process of its own; its status."""
    argv = [*arguments, "--generations", str(generations), *options, "--output", str(path)]
    return killing.search(argv, path.with_name("output"), fault)


@pytest.fixture(scope="session")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    place = tmp_path_factory.mktemp("subject")
    for number in NETWORKS:
        arguments, path = arguments_of(place, number), tmp_path_factory.mktemp("runs") / "run"
        assert searched(arguments, GENERATIONS, path) == 0, path.with_name("output").read_text()
        if any(line["bound"] for line in killing.evaluations(path) if line["generation"] == GENERATIONS - 1):
            return arguments, path
    raise AssertionError(f"none of {len(NETWORKS)} searches stopped a candidate early in its last generation")


@pytest.fixture(scope="session")
def arguments(_undisturbed: tuple[list[str], Path]) -> list[str]:
    """All but ``--output`` and ``--generations``."""
    return _undisturbed[0]


@pytest.fixture(scope="session")
def make(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run a search of some generations in a new directory."""

    def made(generations: int, *options: str, fault: Stop | None = None, expected: int = 0) -> Path:
        path = tmp_path_factory.mktemp("runs") / "run"
        status = searched(arguments, generations, path, *options, fault=fault)
        assert status == expected, path.with_name("output").read_text()
        return path

    return made


@pytest.fixture(scope="session")
def whole(_undisturbed: tuple[list[str], Path]) -> Path:
    """A search that nothing has disturbed; not to be changed."""
    _, path = _undisturbed
    log = killing.evaluations(path)
    assert len({line["key"] for line in log}) == len(log) == GENERATIONS * POPULATION
    assert len(list((path / "front").iterdir())) >= 3
    return path


@pytest.fixture(scope="session")
def _part(make: Callable[..., Path]) -> Path:
    half_way = Stop("after", "write", nth=2 * POPULATION + 2)
    return make(GENERATIONS, fault=half_way, expected=-9)


@pytest.fixture(scope="session")
def _old(make: Callable[..., Path]) -> Path:
    return make(OLD)


@pytest.fixture
def part(_part: Path, tmp_path: Path) -> Path:
    """The same search, killed when it had logged two candidates of generation 2."""
    return shutil.copytree(_part, tmp_path / "part")


@pytest.fixture
def old(_old: Path, tmp_path: Path) -> Path:
    """The same search, finished after fewer generations."""
    return shutil.copytree(_old, tmp_path / "old")
