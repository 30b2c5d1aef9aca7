"""Options as keyword arguments: an editor completes them, mypy knows their types, Python may give lists and texts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from gaprune.commands.finetune import finetune
from gaprune.commands.search import search
from gaprune.errors import OptionError
from gaprune.options import FinetuneKeywords, FinetuneOptions, SearchKeywords, SearchOptions
from gaprune.options.fields import entries
from gaprune.options.keywords import from_keywords

PACKAGE = Path(__file__).parents[2] / "gaprune"
SNIPPET = """
from typing import Unpack
from gaprune.options.search_keywords import SearchKeywords

def search(**options: Unpack[SearchKeywords]) -> None: ...

search(population=30, max_flops=0.5, genes="both", round_share=[0.1], output="runs/a", checkpoint=None)
search(populaton=30)  # wrong
search(population="30")  # wrong
search(genes="all")  # wrong
"""


@pytest.mark.parametrize(
    ("function", "keywords", "options", "own"),
    [
        (search, SearchKeywords, SearchOptions, {"model", "data", "objectives"}),
        (finetune, FinetuneKeywords, FinetuneOptions, {"run", "model"}),
    ],
)
def test_the_keywords_are_the_options(function: Any, keywords: Any, options: type[Any], own: set[str]) -> None:
    assert function.__annotations__["options"] == f"Unpack[{keywords.__name__}]"
    assert set(typing.get_type_hints(keywords)) == set(entries(options)) - own


def test_mypy_knows_names_types_and_words(tmp_path: Path) -> None:
    """In a copy of the three modules that it takes: mypy would read torch for more."""
    package = tmp_path / "gaprune"
    (package / "options").mkdir(parents=True)
    for room in (package, package / "options"):
        (room / "__init__.py").touch()
    for file in ("errors.py", "options/choices.py", "options/search_keywords.py"):
        shutil.copy(PACKAGE / file, package / file)
    (tmp_path / "snippet.py").write_text(SNIPPET, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "snippet.py"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=alone).stdout
    wrong = [number for number, line in enumerate(SNIPPET.splitlines(), 1) if line.endswith("# wrong")]
    assert [int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line] == wrong, said


def test_texts_become_paths_and_lists_tuples() -> None:
    made = from_keywords(SearchOptions, {"output": "runs/a", "resume": None, "round_share": [0.1, 0.2], "seed": 3})
    assert made == {"output": Path("runs/a"), "resume": None, "round_share": (0.1, 0.2), "seed": 3}
    assert from_keywords(SearchOptions, {"round_share": 1}) == {"round_share": (1.0,)}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("output", 5, "a path, got 5"),
        ("checkpoint", 3, "a path, got 3"),
        ("model", None, "a text, got None"),
        ("ray_address", 7, "a text, got 7"),
        ("head", 4, "a text, got 4"),
        ("mean", "half", "a number or a list of numbers, got 'half'"),
        ("objectives", 3, "a list of names, got 3"),
    ],
)
def test_a_value_of_another_kind_is_one_line(name: str, value: object, wanted: str) -> None:
    with pytest.raises(OptionError, match=f"^{name} must be {wanted}$"):
        from_keywords(SearchOptions, {name: value})


@pytest.mark.parametrize(("name", "nearest"), [("populaton", "population"), ("run", "round")])
def test_a_wrong_name_is_told_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(OptionError, match=f"unknown option '{name}': choose one of .*{nearest}"):
        from_keywords(SearchOptions, {name: 3}, but=("model",))


@pytest.mark.parametrize("rule", [3, None])
def test_a_pick_that_is_no_text_is_told_what_it_may_be(rule: object) -> None:
    with pytest.raises(OptionError, match=rf"^pick must be a word such as knee or 'flops<=0\.3', got {rule}$"):
        SearchOptions.of(**from_keywords(SearchOptions, {"pick": rule})).check()
