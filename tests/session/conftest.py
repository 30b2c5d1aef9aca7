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
from killing import GENERATIONS, OLD, POPULATION, Stop
from subject import arguments_of

NETWORKS = range(12)
"""More than half of them will do."""


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
