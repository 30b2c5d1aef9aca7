"""Labelled texts, cleaned and split, from a name or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gaprune.data import complement, default_cache_dir, stratified
from gaprune.errors import DataError, OptionError
from gaprune.progress import SILENT, Reporter
from gaprune.text.cleaning import Cleaned, clean_labelled
from gaprune.text.download import SMS_FILE, SST2_FILES, sms_file, sst2_folder
from gaprune.text.options import SMS, SST2
from gaprune.text.reading import Table, find_columns, read_table

TEST_SHARE = 0.2
LEAST = 5
"""Texts that a class needs, so that there are some on both sides of a 4 : 1 split."""


@dataclass(frozen=True)
class Texts:
    """Labelled texts.

    Attributes:
        texts: cleaned.
        labels: (N,) int64, 0 or 1.
    """

    texts: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Tensor) -> Texts:
        """Those at ``indices`` ((n,) int64), in that order."""
        return Texts(tuple(self.texts[index] for index in indices.tolist()), self.labels[indices])


@dataclass(frozen=True)
class TextData:
    """A data set of two classes.

    Attributes:
        name: for folders and tables.
        source: where it came from and what was dropped, for reports.
        classes: names; the second is the positive one, which F1, precision and recall speak of.
        train: to learn from.
        test: to report on.
    """

    name: str
    source: str
    classes: tuple[str, str]
    train: Texts
    test: Texts


def load_texts(
    data: str,
    *,
    data_dir: Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
) -> TextData:
    """Read, clean and split a data set.

    Args:
        data: ``sst2`` (with its own split: train and test), ``sms-spam``, or a ``.tsv`` or ``.csv`` file.
        data_dir: a folder with the named set's files; downloaded where None.
        text_column: the name of the texts' column of a file; found where None.
        label_column: likewise of the labels'.
        seed: of the split, 4 : 1 by classes.
        cache_dir: where downloads are kept.
        reporter: told of progress.

    Raises:
        OptionError: an unknown name, or a column's name where ``data`` is no file.
        DataError: a file is missing or cannot be used; the columns found are named.
    """
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    if data in (SST2, SMS) and (text_column, label_column) != (None, None):
        raise OptionError(
            f"--text-column and --label-column are for a .tsv or .csv file; {data} has columns of its own"
        )
    if data == SST2:
        folder = _folder(data_dir, SST2_FILES) if data_dir else sst2_folder(cache_dir, reporter)
        return _own_split(SST2, folder)
    if data == SMS:
        file = _folder(data_dir, (SMS_FILE,)) / SMS_FILE if data_dir else sms_file(cache_dir, reporter)
        return _split(SMS, file, seed)
    path = Path(data).expanduser()
    if path.suffix.lower() not in (".tsv", ".csv"):
        raise OptionError(f"unknown data {data!r}: choose one of {SST2}, {SMS}, or a .tsv or .csv file")
    if data_dir is not None:
        raise OptionError(f"--data-dir is for {SST2} and {SMS}; {data} is a file of its own")
    return _split(path.stem, path, seed, text_column, label_column, may_be_named=True)


def labelled(path: Path, classes: tuple[str, str]) -> Texts:
    """All texts of a file whose labels are those of a data set, cleaned.

    Args:
        path: a ``.tsv`` or ``.csv`` file.
        classes: of the data set.

    Raises:
        DataError: the file cannot be used, or has other labels.
    """
    table = read_table(path)
    cleaned = _cleaned(table, *find_columns(table, may_be_named=True))
    if set(cleaned.labels) - set(classes):
        raise DataError(f"{path} has the labels {sorted(set(cleaned.labels))}, expected {' and '.join(classes)}")
    return _texts(cleaned, classes)


def _folder(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}: expected {', '.join(names)}")
    return folder


def _split(
    name: str, path: Path, seed: int, text: str | None = None, label: str | None = None, *, may_be_named: bool = False
) -> TextData:
    table = read_table(path, [name for name in (text, label) if name is not None])
    cleaned = _cleaned(table, *find_columns(table, text, label, may_be_named=may_be_named))
    classes = _classes(table, cleaned)
    whole = _texts(cleaned, classes)
    indices = stratified(whole.labels, round(TEST_SHARE * len(whole)), purpose="test", seed=seed, leave=1)
    train, test = whole.select(complement(indices, len(whole))), whole.select(indices)
    source = f"{path.name}, {len(table.rows):,} texts{_dropped(cleaned)}, split 4 : 1 by classes, seed {seed}"
    return TextData(name, source, classes, train, test)


def _own_split(name: str, folder: Path) -> TextData:
    """The set's own training and test texts; what stands in both stays in the test texts alone."""
    tables = {part: read_table(folder / f"{part}.tsv") for part in ("train", "test")}
    cleaned = {part: _cleaned(table, *find_columns(table, may_be_named=False)) for part, table in tables.items()}
    classes = _classes(tables["train"], cleaned["train"])
    if set(cleaned["test"].labels) - set(classes):
        raise DataError(f"{folder / 'test.tsv'} has other labels than train.tsv: {sorted(set(cleaned['test'].labels))}")
    whole, test = _texts(cleaned["train"], classes), _texts(cleaned["test"], classes)
    tested = {text.casefold() for text in test.texts}
    alone = [index for index, text in enumerate(whole.texts) if text.casefold() not in tested]
    train = whole.select(torch.tensor(alone, dtype=torch.int64))
    _check_counts(f"{folder / 'train.tsv'}, without the texts of test.tsv,", train, classes, LEAST)
    _check_counts(f"{folder / 'test.tsv'}", test, classes, 1)
    counts = f"{len(tables['train'].rows):,} and {len(tables['test'].rows):,} texts"
    source = (
        f"own split, {counts}{_dropped(cleaned['train'], cleaned['test'])}, "
        f"{len(whole) - len(train)} of the training texts are test texts and were left out"
    )
    return TextData(name, source, classes, train, test)


def _cleaned(table: Table, text: int, label: int) -> Cleaned:
    labels = table.cells(label)
    if "" in labels:
        row = labels.index("") + 1
        raise DataError(f"{table.path} has no label in text {row}, column {table.columns[label]}; {table.described()}")
    cleaned = clean_labelled(table.cells(text), labels)
    if not cleaned.texts:
        column, reason = table.columns[text], _nothing_left(cleaned)
        raise DataError(f"{table.path} has no texts in column {column}: {reason}; {table.described()}")
    return cleaned


def _nothing_left(cleaned: Cleaned) -> str:
    """Why no text is left."""
    if not cleaned.contradicting:
        return "all are empty"
    if not cleaned.empty:
        return "each occurs with two labels"
    return f"{cleaned.empty:,} are empty and {cleaned.contradicting:,} occur with two labels"


def _classes(table: Table, cleaned: Cleaned) -> tuple[str, str]:
    """The two classes in alphabetical order: 0 and 1, ham and spam, negative and positive."""
    counts = {label: cleaned.labels.count(label) for label in sorted(set(cleaned.labels))}
    if len(counts) != 2:
        found = ", ".join(list(counts)[:6]) + (" ..." if len(counts) > 6 else "")
        problem = f"a single class, {found}," if len(counts) == 1 else f"{len(counts)} classes ({found})"
        raise DataError(f"{table.path} has {problem} where two were expected; {table.described()}")
    negative, positive = counts
    _check_counts(f"{table.path}", _texts(cleaned, (negative, positive)), (negative, positive), LEAST)
    return negative, positive


def _check_counts(where: str, texts: Texts, classes: tuple[str, str], least: int) -> None:
    """Raise ``DataError`` where a class has fewer texts than ``least``."""
    for label, count in zip(classes, texts.labels.bincount(minlength=2).tolist(), strict=True):
        if count < least:
            raise DataError(f"{where} has only {count} texts of class {label}, expected at least {least}")


def _texts(cleaned: Cleaned, classes: tuple[str, str]) -> Texts:
    return Texts(cleaned.texts, torch.tensor([classes.index(label) for label in cleaned.labels], dtype=torch.int64))


def _dropped(*parts: Cleaned) -> str:
    """What cleaning left out, in words."""
    counts = {
        "empty": sum(part.empty for part in parts),
        "repeated": sum(part.repeated for part in parts),
        "of two labels": sum(part.contradicting for part in parts),
    }
    words = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f" ({', '.join(words)} left out)" if words else ""
