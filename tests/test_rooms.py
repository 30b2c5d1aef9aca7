"""The house's rules: imports run one way, and a room is used by what its ``__init__.py`` names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gaprune

PACKAGE = Path(gaprune.__file__).parent

ORDER = (
    "errors",
    "kinds",
    "genome",
    "options",
    "progress",
    "device",
    "runs",
    "models",
    "data",
    "prune",
    "runtimes",
    "tasks",
    "evaluate",
    "evolve",
    "views",
    "saved",
    "training",
    "baseline",
    "cluster",
    "session",
    "front",
    "recovery",
    "compress",
    "campaigns",
    "text",
    "shipping",
    "commands",
)
"""From the ground up: a room imports rooms below it."""

PRUNE = ("graph", "cut", "norms", "compensate", "rank")
"""The same for the rooms inside ``prune``; its own modules stand above them."""

OPEN = ("commands", "text", "testing")
"""Rooms without a face: a module a command, options that must not bring their room, suites for tests."""

COMMANDS = ("search", "train", "finetune", "compare", "report", "status", "export")
NO_ROOMS = ("__init__", "__main__", "callables", *COMMANDS, "testing")
"""What stands above all rooms."""


def imports_of(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """The modules of gaprune that a module takes names from; ``at_import``: not those taken inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gaprune."):
            yield node.module.removeprefix("gaprune.")
        elif isinstance(node, ast.Import):
            yield from (one.name.removeprefix("gaprune.") for one in node.names if one.name.startswith("gaprune."))


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in modules()} == {*ORDER, *NO_ROOMS}


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_rooms_below_it(room: str) -> None:
    above = set(ORDER[ORDER.index(room) + 1 :]) | set(NO_ROOMS)
    for path in modules():
        if room_of(path) == room:
            used = {module.split(".")[0] for module in imports_of(path, at_import=True)}
            assert not used & above, f"{path.relative_to(PACKAGE)} looks up"


@pytest.mark.parametrize("room", PRUNE)
def test_a_room_of_prune_imports_rooms_below_it(room: str) -> None:
    below = PRUNE[: PRUNE.index(room) + 1]
    for path in (PACKAGE / "prune" / room).rglob("*.py"):
        used = {module.split(".")[1] for module in imports_of(path) if module.startswith("prune.")}
        assert used <= set(below), f"{path.relative_to(PACKAGE)} looks up"


def test_other_rooms_are_used_by_what_their_faces_name() -> None:
    faces = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - set(OPEN)
    reached = {
        f"{path.relative_to(PACKAGE)} takes {module}"
        for path in modules()
        for module in imports_of(path)
        if module.split(".")[0] in faces - {room_of(path)} and "." in module
    }
    assert not reached, "import from the package itself, and name it in its __init__.py"


def test_evolution_sees_no_network() -> None:
    used = {module for path in (PACKAGE / "evolve").rglob("*.py") for module in imports_of(path)}
    assert {module.split(".")[0] for module in used} <= {"evolve", "genome", "errors"}
