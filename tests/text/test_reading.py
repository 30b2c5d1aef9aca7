from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gaprune.errors import DataError, OptionError
from gaprune.text.data import load_texts
from gaprune.text.reading import find_columns, read_table

ROWS = "".join(f"text number {index}{{0}}{index % 2}\n" for index in range(20))
TABS, COMMAS = ROWS.format("\t"), ROWS.format(",")


@pytest.mark.parametrize(
    ("name", "content", "columns", "found"),
    [
        ("a.tsv", TABS, ("column 1", "column 2"), (0, 1)),
        ("a.tsv", "sentence\tlabel\n" + TABS, ("sentence", "label"), (0, 1)),
        ("a.csv", "what,how\n" + COMMAS, ("what", "how"), (0, 1)),
        ("a.csv", 'ham,"a, b"\nspam,c\nham,d\n', ("column 1", "column 2"), (1, 0)),
        ("a.tsv", 'ham\t"a\nspam\tc\nham\td\n', ("column 1", "column 2"), (1, 0)),
        ("a.csv", "id,v1,v2\n1,ham,long text here\n2,spam,another\n3,ham,x\n", ("id", "v1", "v2"), (2, 1)),
        ("a.tsv", "﻿text\tlabel\r\n" + TABS.replace("\n", "\r\n"), ("text", "label"), (0, 1)),
        ("a.csv", 'text,label\n"two\nlines",0\nb,1\nc,1\n', ("text", "label"), (0, 1)),
    ],
)
def test_columns_are_found(
    tmp_path: Path, name: str, content: str, columns: tuple[str, ...], found: tuple[int, int]
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    table = read_table(tmp_path / name)
    assert table.columns == columns
    assert find_columns(table) == found


def test_a_quote_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('ham\t"say "x"\nspam\tc\nham\td\n')
    assert read_table(tmp_path / "a.tsv").cells(1) == ['"say "x"', "c", "d"]


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\f", "\x1c", "\v"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_line_ends_where_the_csv_module_says_and_nowhere_else(tmp_path: Path, name: str, character: str) -> None:
    separator = "," if name == "a.csv" else "\t"
    rows = [f"ham{separator}one{character}text", f"spam{separator}c", f"ham{separator}d"]
    (tmp_path / name).write_bytes("\r\n".join(rows).encode())
    assert read_table(tmp_path / name).cells(1) == [f"one{character}text", "c", "d"]


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("one,two,three,four\nlong text,0,short,1\nother text,1,tiny,0\nmore text,1,x,1\n")
    table = read_table(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"several columns that could be labels.*found: one, two, three, four"):
        find_columns(table)
    assert find_columns(table, text="Three", label="four") == (2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected lines"),
        (b"text\tlabel\n", r"has a single line \(text, label\): expected lines of a text and a label"),
        (b"only\nthis\n", "one column, expected a text and a label separated by tabs; columns found: only"),
        (b"text;how\na;0\n", "one column, expected a text and a label separated by tabs; columns found: text;how"),
        (b"text\tlabel\na\t0\nb\n", "1 columns in line 3 and 2 before, separated by tabs; columns found: text, label"),
        (b"text\tlabel\nb\xe9t\xe9\t0\n", "not UTF-8 .byte 0xe9 in line 2.: convert it.*columns found: text, label"),
        (b"text\tlabel\n" + b"same\t0\nother\t0\nmore\t0\n", "single class, '?0'?.*columns found: text, label"),
        (b"text\tlabel\n" + b"a\t0\nb\t1\nc\t2\n" * 5, "3 classes .0, 1, 2. where two.*columns found: text, label"),
        (
            b"one\ttwo\n" + b"a\tx\nb\ty\nc\tz\n",
            "no column of two values: name it with --label-column; columns found: one, two",
        ),
        (b"a\t0\nb\t1\nc\t2\n" * 2, "no column of two values: .*; columns found: column 1, column 2"),
        ("text\tlabel\na\t0\n".encode("utf-16"), "is UTF-16: convert it, as with iconv -f utf-16 .*found: text, label"),
        ("text\tlabel\na\t0\n".encode("utf-16-le"), "is UTF-16: convert it, .*columns found: text, label"),
        ("text\tlabel\na\t0\n".encode("utf-16-be"), "is UTF-16: convert it, .*columns found: text, label"),
        (b"text\tlabel\n" + b" \t0\n \t1\n \t1\n", "no texts in column text: all are empty; columns found"),
        (b"text\tlabel\n" + b"a\t0\na\t1\n" * 5, "no texts in column text: each occurs with two labels; columns found"),
        (b"text\tlabel\na\t0\na\t1\n \t1\n", "no texts in column text: 1 are empty and 2 occur with two labels"),
        (b"text\tlabel\na\t0\nb\t1\nc\t\n", "no label in text 3, column label; columns found: text, label"),
        (b"text\tlabel\n" + TABS.replace("\t1", "\t0", 9).encode(), "only 1 texts of class 1, expected at least 5"),
    ],
)
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_texts(str(tmp_path / "a.tsv"))
    assert "\n" not in str(caught.value)


def test_a_header_of_unknown_names_is_found_by_a_name_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("what,how\n" + "".join(f"text {number},{number % 3}\n" for number in range(30)))
    with pytest.raises(DataError, match=r"no column of two values: name it with --label-column; .*: what, how"):
        load_texts(str(path))
    with pytest.raises(DataError, match=r"3 classes \(0, 1, 2\) where two were expected; columns found: what, how"):
        load_texts(str(path), label_column="HOW")
    path.write_text("0,1\n" + COMMAS)
    assert read_table(path).columns == ("column 1", "column 2")
    assert len(load_texts(str(path), label_column="1").train) == 16


def test_a_semicolon_is_no_separator_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, message in (
        ("what;how\na;0\nb;1\n", "one column, expected .* separated by commas; columns found: what;how"),
        ("what;how\na, or b;0\n", "2 columns in line 2 and 1 before, separated by commas; columns found: what;how"),
        ('"what";"how"\na;0\n', "is no table of cells separated by commas at line 1"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            load_texts(str(path))


def test_a_cell_may_be_longer_than_the_csv_module_takes_by_itself(tmp_path: Path) -> None:
    limit, long = csv.field_size_limit(), "long " * 40_000
    (tmp_path / "a.csv").write_text(f"text,label\n{long},0\n" + COMMAS)
    assert read_table(tmp_path / "a.csv").cells(0)[0] == long.strip()
    assert csv.field_size_limit() == limit < len(long)


def test_a_wrong_column_name_lists_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + TABS)
    with pytest.raises(DataError, match=r"has no label column 'lable'; columns found: text, label"):
        load_texts(str(tmp_path / "a.tsv"), label_column="lable")


@pytest.mark.parametrize("name", ["imdb", "data.txt", "missing.tsv"])
def test_an_unknown_data_set_is_refused(name: str) -> None:
    with pytest.raises((OptionError, DataError), match=r"choose one of sst2, sms-spam, or a|no such file: missing.tsv"):
        load_texts(name)
