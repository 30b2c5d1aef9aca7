"""The script ``gaprune``: commands by name, answered without torch where no command runs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gaprune import __version__
from gaprune.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "gaprune search --model vgg16" in text


def test_without_a_command_the_help_is_shown_and_the_status_says_that_nothing_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: gaprune COMMAND")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gaprune {__version__}\n"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("serach", "unknown command 'serach': did you mean search?"),
        ("prune", "unknown command 'prune': choose one of search, train, finetune, report, status, compare, export"),
        ("--modle", "unknown option '--modle': choose one of search, train, finetune, report, status, compare, export"),
    ],
)
def test_a_typo_is_one_line(word: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"gaprune: error: {expected}\n"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["serach"]])
def test_no_answer_but_a_commands_own_imports_torch(words: list[str]) -> None:
    program = "import sys; from gaprune.__main__ import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert made.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_the_module_of_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: python -m gaprune.{name}" in capsys.readouterr().out
    assert main([name, "--no-such-option"]) == 2
    assert "unknown option '--no-such-option'" in capsys.readouterr().err


def test_python_m_gaprune_is_the_script() -> None:
    made = subprocess.run([sys.executable, "-m", "gaprune", "--version"], capture_output=True, text=True, check=True)
    assert made.stdout == f"gaprune {__version__}\n"
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"gaprune": "gaprune.__main__:main"}
