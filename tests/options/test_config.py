"""``--config`` and ``--write-config``: files of options for every command."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gaprune.commands.lines import compare_main, search_main
from gaprune.errors import OptionError
from gaprune.options import CompareOptions, FinetuneOptions, SearchOptions, TrainOptions
from gaprune.options.cli import parse
from gaprune.options.fields import entries
from gaprune.text.options import TextOptions

COMMANDS = [SearchOptions, FinetuneOptions, TrainOptions, CompareOptions, TextOptions]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "options.toml"


def read(file: Path, content: str, *argv: str) -> SearchOptions:
    file.write_text(content, encoding="utf-8")
    return parse(SearchOptions, ["--config", str(file), *argv], "prog")


FLAT = """
model = "resnet18"
population = 8
max_flops = 0.5
polish = true
objectives = ["loss", "flops"]
round_share = [0.1, 1e-1]
output = "runs/a"
"""
GROUPED = """
[network]
model = "resnet18"
[evolution]
population = 8
[fitness]
max_flops = 0.5
objectives = "loss,flops"
[space]
polish = true
[paper_rounds]
round_share = [0.1, 0.1]
[run]
output = "runs/a"
"""


@pytest.mark.parametrize("content", [FLAT, GROUPED])
def test_a_file_says_what_a_command_line_could(file: Path, content: str) -> None:
    argv = "--model resnet18 --population 8 --max-flops 0.5 --polish --objectives loss,flops --round-share 0.1,0.1"
    typed = parse(SearchOptions, [*argv.split(), "--output", "runs/a"], "prog")
    made = read(file, content)
    assert made == typed
    assert made.given == typed.given


def test_what_is_typed_wins_over_the_file(file: Path) -> None:
    made = read(file, "population = 8\nseed = 3\npolish = true\n", "--population", "10", "--no-polish")
    assert (made.evolution.population, made.evolution.seed, made.space.polish) == (10, 3, False)
    assert made.given == {"population", "seed", "polish"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("populaton = 8", "FILE: unknown option 'populaton': did you mean population?"),
        ("max-flop = 8", "FILE: unknown option 'max-flop': did you mean max_flops?"),
        ("zzz = 8", "FILE: unknown option 'zzz': --write-config writes a file with all of them"),
        ("[evolutoin]\nseed = 1", "FILE: unknown option 'evolutoin': did you mean evolution?"),
        ("[evolution]\nsed = 1", "FILE, [evolution]: unknown option 'sed': did you mean seed?"),
        ("[network]\nseed = 1", "FILE: seed stands in [network], its place is in [evolution]"),
        ("seed = 1\n[evolution]\nseed = 1", "FILE: seed is given twice"),
        ("population = 1.5", "FILE: --population must be a whole number, got '1.5'"),
        ("population = true", "FILE: --population must be a whole number, got 'true'"),
        ('polish = "yes"', "FILE: polish must be true or false, got 'yes'"),
        ('genes = "all"', "FILE: unknown genes 'all': choose one of neurons, connections, both"),
        ("[seed]\nx = 1", "FILE: seed is an option, not a table"),
        ("seed 1", "FILE is no TOML file: "),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(file: Path, content: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(file, content)
    assert str(caught.value).startswith(message.replace("FILE", str(file)))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(file: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read .*: No such file or directory"):
        parse(SearchOptions, ["--config", str(file)], "prog")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_written_file_has_every_option_and_reads_as_what_was_typed(command: type[Any], file: Path) -> None:
    argv = ["--seed", "3", "--cache-dir", 'a "quoted" place']
    place = ["runs/a"] if command is FinetuneOptions else []
    with pytest.raises(SystemExit) as end:
        parse(command, [*place, *argv, "--write-config", str(file)], "prog")
    assert end.value.code == 0
    text = file.read_text(encoding="utf-8")
    assert [name for name in entries(command) if f"\n{name} =" not in text and f"\n# {name} =" not in text] == []
    assert [one.help for one in entries(command).values() if one.help not in text] == []
    read_again, typed = parse(command, ["--config", str(file)], "prog"), parse(command, [*place, *argv], "prog")
    assert read_again == typed
    assert getattr(read_again, "given", None) == getattr(typed, "given", None)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_default_of_a_written_file_may_be_uncommented(command: type[Any], file: Path) -> None:
    with pytest.raises(SystemExit):
        parse(command, ["--write-config", str(file)], "prog")
    lines = file.read_text(encoding="utf-8").splitlines()
    names = tuple(f"# {name} = " for name in entries(command))
    lines = [line.removeprefix("# ") if line.startswith(names) else line for line in lines]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert tomllib.loads(file.read_text(encoding="utf-8"))
    place = ["runs/a"] if command is FinetuneOptions else []
    assert parse(command, [*place, "--config", str(file)], "prog") == parse(command, place, "prog")


def test_a_file_is_never_written_over(file: Path) -> None:
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(OptionError, match="is there already: choose another name for --write-config"):
        parse(SearchOptions, ["--write-config", str(file)], "prog")
    assert file.read_text(encoding="utf-8") == "mine"


def test_the_commands_take_files(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search_main(["--model", "resnet18", "--write-config", str(file)]) == 0
    assert f"wrote {file}: python -m gaprune.search --config {file}" in capsys.readouterr().out
    assert search_main(["--config", str(file), "--population", "3"]) == 2
    assert "population must be at least 4, got 3" in capsys.readouterr().err


def test_the_model_of_a_file_decides_which_comparison_it_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('[network]\nmodel = "bert"\n[work]\nmax_length = 2\n', encoding="utf-8")
    assert compare_main(["--config", str(file)]) == 2
    assert "--max-length must be at least 4, got 2" in capsys.readouterr().err
