"""Tables of texts as files: decoded, split into cells, and the two columns that matter found."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gaprune.errors import DataError

TEXT_NAMES = ("text", "sentence", "message", "sms", "review", "tweet", "comment", "content", "document", "v2")
LABEL_NAMES = ("label", "class", "target", "category", "sentiment", "polarity", "spam", "y", "v1")
_DELIMITERS = {".tsv": "\t", ".csv": ","}
_WORDS = {"\t": "tabs", ",": "commas"}
_LARGEST = 2**31 - 1
"""The most characters of a cell that the csv module can be told of on every system."""


@dataclass(frozen=True)
class Table:
    """A file's cells.

    Attributes:
        path: where they were read.
        columns: names of the header, or ``column 1``, ``column 2`` ... where there is none.
        rows: the cells below the header, all of one width.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def described(self) -> str:
        """The columns, for messages."""
        return f"columns found: {', '.join(self.columns)}"

    def cells(self, column: int) -> list[str]:
        """The cells of a column, by its index, stripped of blanks."""
        return [row[column].strip() for row in self.rows]


def read_table(path: Path, names: Collection[str] = ()) -> Table:
    """Read a ``.tsv`` (a quote is a character like others) or a ``.csv`` (quoted as spreadsheets do).

    Args:
        path: of the file.
        names: of columns that the caller knows: a first line that has one of them is a header.

    Raises:
        DataError: the file is missing, not UTF-8, empty, or its lines differ in width.
    """
    numbered = _numbered(path, _decoded(path))
    if len(numbered) < 2:
        problem = f"has a single line ({_shown(numbered[0][1])})" if numbered else "is empty"
        raise DataError(f"{path} {problem}: expected lines of a text and a label")
    return _with_header(path, _even(path, numbered), names)


def _numbered(path: Path, content: str) -> list[tuple[int, tuple[str, ...]]]:
    """The lines that are not blank, as cells, each with its number."""
    delimiter = _delimiter(path)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    lines = io.StringIO(content, newline="") if delimiter == "," else content.split("\n")
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    before = csv.field_size_limit(min(len(content) + 1, _LARGEST))  # long texts are cut later, and counted
    try:
        return [(reader.line_num, tuple(cells)) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(
            f"{path} is no table of cells separated by {_WORDS[delimiter]} at line {reader.line_num}: {error}"
        ) from error
    finally:
        csv.field_size_limit(before)


def find_columns(
    table: Table, text: str | None = None, label: str | None = None, *, may_be_named: bool = True
) -> tuple[int, int]:
    """The indices of the texts' and the labels' columns.

    A column is taken by its name where the caller gives one. Else the label is the column with two values (a known name
    decides between several), and the text the one with a known name, or the longest cells.

    Args:
        table: the cells.
        text: the name of the texts' column.
        label: likewise of the labels'.
        may_be_named: whether the user can name them, which errors then advise.

    Raises:
        DataError: no such column, no column with two values, or several that could be meant; all are listed.
    """
    if len(table.columns) < 2:
        separator = _WORDS[_delimiter(table.path)]
        raise DataError(
            f"{table.path} has one column, expected a text and a label separated by {separator}; {table.described()}"
        )
    at_label = _named(table, label, "label") if label is not None else _label_column(table, may_be_named)
    at_text = _named(table, text, "text") if text is not None else _text_column(table, at_label)
    if at_text == at_label:
        raise DataError(f"{table.path}: text and label are the same column; {table.described()}")
    return at_text, at_label


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no such file: {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    wide = _utf16(content)
    if wide is not None:
        raise DataError(
            f"{path} is UTF-16: convert it, as with iconv -f utf-16 -t utf-8; "
            f"columns found: {_shown(wide.split(chr(10), 1)[0].split(_delimiter(path)))}"
        )
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        first = content.splitlines()[0].decode(errors="replace").split(_delimiter(path))
        raise DataError(
            f"{path} is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}): convert it, as with "
            f"iconv -f latin1 -t utf-8; columns found: {_shown(first)}"
        ) from None


def _utf16(content: bytes) -> str | None:
    """The content where it is UTF-16: by its mark, or by a first character with a zero byte."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:2]:
        return content.decode("utf-16-be" if content[0] == 0 else "utf-16-le", errors="replace")
    return None


def _delimiter(path: Path) -> str:
    return _DELIMITERS.get(path.suffix.lower(), "\t")


def _shown(cells: Sequence[str]) -> str:
    """Cells of a first line, for messages."""
    return ", ".join(cell.strip()[:30] for cell in cells)


def _even(path: Path, numbered: list[tuple[int, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """The rows, after a check that they are of the first one's width."""
    first = numbered[0][1]
    for line, cells in numbered:
        if len(cells) != len(first):
            raise DataError(
                f"{path} has {len(cells)} columns in line {line} and {len(first)} before, separated by "
                f"{_WORDS[_delimiter(path)]}; columns found: {_shown(first)}"
            )
    return [cells for _, cells in numbered]


def _with_header(path: Path, rows: list[tuple[str, ...]], names: Collection[str]) -> Table:
    """Tell a header from a first row: names are known, or no cell occurs again where it would be a label."""
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    if _is_header(first, [{row[column].strip() for row in rest} for column in range(len(first))], names):
        return Table(path, tuple(cell or f"column {number}" for number, cell in enumerate(first, start=1)), rest)
    return Table(path, tuple(f"column {number}" for number in range(1, len(first) + 1)), rows)


def _is_header(first: Sequence[str], below: Sequence[set[str]], names: Collection[str]) -> bool:
    folded = {cell.casefold() for cell in first}
    if folded & {name.casefold() for name in names}:
        return True
    for cell, values in zip(first, below, strict=True):
        if len(values) == 2:
            return cell not in values
    if folded & {*TEXT_NAMES, *LABEL_NAMES}:
        return True
    return "" not in first and not any(cell in values for cell, values in zip(first, below, strict=True))


def _named(table: Table, name: str, what: str) -> int:
    lowered = [column.casefold() for column in table.columns]
    if name.casefold() not in lowered:
        raise DataError(f"{table.path} has no {what} column {name!r}; {table.described()}")
    return lowered.index(name.casefold())


def _label_column(table: Table, may_be_named: bool) -> int:
    values = [set(table.cells(column)) for column in range(len(table.columns))]
    two = [column for column, found in enumerate(values) if len(found) == 2 and "" not in found]
    named = [column for column, name in enumerate(table.columns) if name.casefold() in LABEL_NAMES]
    candidates = [column for column in named if column in two] or named or two
    if len(candidates) == 1:
        return candidates[0]
    if not candidates and len(table.rows) > 1 and (single := [c for c, found in enumerate(values) if len(found) == 1]):
        cell = table.rows[0][single[0]].strip()
        raise DataError(f"{table.path} has a single class, {cell!r}, expected two; {table.described()}")
    problem = "several columns that could be labels" if candidates else "no column of two values"
    advice = ": name it with --label-column" if may_be_named else ""
    raise DataError(f"{table.path} has {problem}{advice}; {table.described()}")


def _text_column(table: Table, label: int) -> int:
    others = [column for column in range(len(table.columns)) if column != label]
    named = [column for column in others if table.columns[column].casefold() in TEXT_NAMES]
    return max(named or others, key=lambda column: sum(len(row[column]) for row in table.rows))
