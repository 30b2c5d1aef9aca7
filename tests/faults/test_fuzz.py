"""Whatever bytes or values a parser of ours is given, it answers, or refuses in one line; what was found is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaprune.errors import GapruneError, OptionError
from gaprune.evaluate import Outcome
from gaprune.genome import Genome
from gaprune.options import SearchOptions, options_from_record
from gaprune.options.cli import parse
from gaprune.options.units import SHARE, TIME, number_in
from gaprune.runs import (
    LadderTable,
    check_choice,
    inside,
    json_object,
    member_folder,
    read_csv,
    read_ladder,
    read_manifest,
    read_seal,
)
from gaprune.runs.log import NO_LINE, EvaluationLog, signed, unsigned

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DEEP = b"[" * 100_000
FEW = settings(max_examples=150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def refused(call: Any) -> bool:
    """Whether a call refuses in one line; nothing else may come out of it."""
    try:
        call()
    except GapruneError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - whether it refuses is the case's business
        return True
    return False


@FEW
@given(st.binary(max_size=200))
@example(DEEP)
@example(b'{"a": ' * 50_000)
@example(b"\xff")
def test_bytes_for_a_json_object(content: bytes) -> None:
    try:
        assert isinstance(json_object(content), dict)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - whether it refuses is the case's business


@FEW
@given(st.binary(max_size=300))
@example(DEEP)
@example(b"")
@example(b'{"checksums": true}')
def test_bytes_for_a_manifest(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    refused(lambda: read_manifest(folder))


@FEW
@given(st.dictionaries(st.sampled_from(["options", "data", "model", "original", "identity", "latency"]), JSON))
@example({"original": {}})
@example({"data": {"splits": 3}})
@example({"original": {"flops": 10**400}})
def test_values_for_a_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused(lambda: read_manifest(folder))


@FEW
@given(
    st.dictionaries(st.sampled_from(sorted(["model", "population", "mean", "objectives", "data_dir", "polish"])), JSON)
)
@example({"mean": 3})
@example({"data_dir": []})
@example({"model": 3})
@example({"objectives": [None]})
@example({"objectives": None})
@example({"population": float("nan")})
def test_values_for_options(options: dict[str, Any]) -> None:
    refused(lambda: options_from_record(SearchOptions, options).check())


@FEW
@given(st.lists(st.text(max_size=12), max_size=5))
@example(["--population", "9" * 5000])
@example(["--mean", "nan,inf"])
@example(["--max-flops", "\x00"])
def test_words_for_a_command(words: list[str]) -> None:
    try:
        refused(lambda: parse(SearchOptions, words, "prog").check_typed())
    except SystemExit as end:
        assert end.code in (0, None)  # noqa: PT017 - help


@FEW
@given(st.text(max_size=40))
@example("[" * 5_000)
@example("population = 1979-05-27")
@example("a = 1\na = 2")
def test_text_for_a_file_of_options(folder: Path, text: str) -> None:
    (folder / "options.toml").write_text(text, encoding="utf-8", errors="surrogatepass")
    refused(lambda: parse(SearchOptions, ["--config", str(folder / "options.toml")], "prog"))


@FEW
@given(st.binary(max_size=300))
@example(b"index,key\n")
@example(b'"')
@example(b"\x00\n")
def test_bytes_for_tables(folder: Path, content: bytes) -> None:
    (folder / "table.csv").write_bytes(content)
    refused(lambda: read_csv(folder / "table.csv"))
    refused(lambda: read_ladder(folder / "table.csv"))
    assert LadderTable is not None


@FEW
@given(st.binary(max_size=300))
@example(DEEP + b"\n")
@example(b'{"sum": "0000000000000000"}\n')
@example(b'{"a": 1, "sum": "0000000000000000"}\n{"a": 1}\n')
def test_bytes_for_a_log(folder: Path, content: bytes) -> None:
    (folder / "evaluations.jsonl").write_bytes(content)
    refused(EvaluationLog(folder / "evaluations.jsonl").load)


@FEW
@given(st.dictionaries(st.text(max_size=8), st.none() | st.text() | st.integers(), max_size=4))
@example({})
@example({"sum": "0" * 16})
@example({"a": '", "sum": "0000000000000000"}'})
def test_a_signed_line_says_what_it_said(record: dict[str, Any]) -> None:
    body = json.dumps(record).encode()
    line, found = signed(NO_LINE, body)
    assert unsigned(line) == (body, found)
    assert json.loads(line) == {**record, "sum": found}


@FEW
@given(st.binary(max_size=300))
@example(DEEP)
def test_bytes_for_checksums(folder: Path, content: bytes) -> None:
    (folder / "checksums.json").write_bytes(content)
    try:
        assert refused(lambda: read_seal(folder))
    finally:
        (folder / "checksums.json").unlink()


@FEW
@given(JSON)
@example({"key": "0", "values": 3})
@example([])
def test_values_for_an_outcome(record: Any) -> None:
    try:
        Outcome.from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        assert error is not None  # noqa: PT017 - the log says which line


@FEW
@given(st.text(max_size=60))
@example("")
@example("3:zz")
@example("9" * 400)
def test_text_for_a_genome(text: str) -> None:
    try:
        Genome.of_text(text)
    except ValueError as error:
        assert error is not None  # noqa: PT017 - the manifest is named


@FEW
@given(st.text(max_size=30))
@example("flops<=" + "9" * 500)
@example("latency<=1e400ms")
@example("3," * 1000)
@example("²")
def test_text_for_a_pick(text: str) -> None:
    refused(lambda: check_choice(text))


@FEW
@given(st.text(max_size=20))
@example("1e999ms")
@example("²%")
@example("-")
def test_text_for_a_number_with_a_unit(text: str) -> None:
    for units in (SHARE, TIME):
        try:
            number_in("--x", text, units)
        except OptionError as error:
            assert "\n" not in str(error)  # noqa: PT017


@FEW
@given(st.text(max_size=20))
@example("front/..")
@example("/")
@example("a//b")
@example("a\n")
def test_text_for_a_path(text: str) -> None:
    try:
        assert not Path(inside(text)).is_absolute()
        assert ".." not in Path(text).parts
    except ValueError:
        assert text


@FEW
@given(st.binary(max_size=20))
@example(b"..")
@example(b"\x00")
@example(b"a/b")
def test_bytes_for_an_index(folder: Path, content: bytes) -> None:
    (folder / "00").write_bytes(content)
    if not refused(lambda: member_folder(folder / "00")):
        assert member_folder(folder / "00").parent == folder
