from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_texts import reviews, write_tsv

from gaprune.errors import DataError, OptionError
from gaprune.text import download
from gaprune.text.cleaning import clean, clean_labelled
from gaprune.text.data import load_texts


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a\t b\x00c  ", "a b c"),
        ("&lt;#&gt; &amp; more", "<#> & more"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("Case Stays", "Case Stays"),
        (" \n ", ""),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.lists(st.tuples(st.sampled_from(["a", "A", " a", "b", "", "c&amp;", "c&"]), st.sampled_from("01"))))
def test_cleaned_texts_are_unique_and_all_are_accounted_for(rows: list[tuple[str, str]]) -> None:
    found = clean_labelled([text for text, _ in rows], [label for _, label in rows])
    folded = [text.casefold() for text in found.texts]
    assert len(set(folded)) == len(folded) == len(found.labels)
    assert "" not in folded
    assert len(folded) + found.empty + found.repeated + found.contradicting == len(rows)


def test_the_split_is_stratified_seeded_and_without_repetition(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "reviews.tsv", 100)
    path.write_text(path.read_text() + path.read_text().split("\n", 1)[1])
    data = load_texts(str(path), seed=3)
    assert (len(data.train), len(data.test)) == (80, 20)
    assert data.train.labels.sum() == 40
    assert data.test.labels.sum() == 10
    assert not set(data.train.texts) & set(data.test.texts)
    assert data.classes == ("neg", "pos")
    assert "200 texts (100 repeated left out), split 4 : 1" in data.source
    again, other = load_texts(str(path), seed=3), load_texts(str(path), seed=4)
    assert again.test.texts == data.test.texts != other.test.texts
    assert torch.equal(again.test.labels, data.test.labels)


def _sst2(folder: Path) -> Path:
    folder.mkdir()
    rows = [f"{text}\t{int(label == 'pos')}\n" for text, label in reviews(60)]
    (folder / "train.tsv").write_text("".join(rows[:45]))
    (folder / "test.tsv").write_text("".join(rows[40:]))
    return folder


def test_an_own_split_keeps_its_test_texts_out_of_training(tmp_path: Path) -> None:
    data = load_texts("sst2", data_dir=_sst2(tmp_path / "sst2"))
    assert (len(data.train), len(data.test)) == (40, 20)
    assert "5 of the training texts are test texts" in data.source


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (slice(0, 20), slice(0, 20), r"train.tsv, without the texts of test.tsv, has only 0 texts of class 0"),
        (slice(0, 20), slice(0, 20, 2), r"train.tsv, without the texts of test.tsv, has only 0 texts of class 0"),
        (slice(0, 20), slice(20, 40, 2), r"test.tsv has only 0 texts of class 1, expected at least 1"),
    ],
)
def test_an_own_split_needs_both_classes_on_both_sides(tmp_path: Path, train: slice, test: slice, message: str) -> None:
    rows = [f"{text}\t{int(label == 'pos')}\n" for text, label in reviews(60)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows[train]))
    (tmp_path / "test.tsv").write_text("sentence\tlabel\n" + "".join(rows[test]))
    with pytest.raises(DataError, match=message):
        load_texts("sst2", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["sst2", "sms-spam"])
def test_columns_of_a_named_set_are_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=f"are for a .tsv or .csv file; {name} has columns of its own"):
        load_texts(name, data_dir=tmp_path, text_column="sentence")
    for file in ("train.tsv", "test.tsv", "SMSSpamCollection"):
        (tmp_path / file).write_text("one\ttwo\na\tx\nb\ty\nc\tz\n")
    with pytest.raises(DataError, match=r"has no column of two values; columns found: one, two"):
        load_texts(name, data_dir=tmp_path)


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train.tsv: expected train.tsv, test.tsv"):
        load_texts("sst2", data_dir=tmp_path)


def test_named_sets_are_downloaded_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = _sst2(tmp_path / "served")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("SMSSpamCollection", "".join(f"{('ham', 'spam')[i % 2]}\tmessage {i}\n" for i in range(20)))
    (served / "sms.zip").write_bytes(archive.getvalue())
    monkeypatch.setattr(download, "SST2_URL", served.as_uri())
    monkeypatch.setattr(download, "SMS_URL", (served / "sms.zip").as_uri())
    monkeypatch.setattr(download, "SMS_TEXTS", 20)
    with pytest.raises(DataError, match=r"cannot be downloaded: what .*train.tsv sent is not the file that is known"):
        load_texts("sst2", cache_dir=tmp_path / "cache")
    sums = {name: hashlib.sha256((served / name).read_bytes()).hexdigest() for name in ("train.tsv", "test.tsv")}
    monkeypatch.setattr(download, "SST2_SHA256", sums)
    first = [load_texts(name, cache_dir=tmp_path / "cache") for name in ("sst2", "sms-spam")]
    for file in served.iterdir():
        file.unlink()
    again = [load_texts(name, cache_dir=tmp_path / "cache") for name in ("sst2", "sms-spam")]
    assert [data.train.texts for data in first] == [data.train.texts for data in again]
    assert first[1].classes == ("ham", "spam")


def test_what_cannot_be_downloaded_says_what_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SMS_URL", (tmp_path / "none.zip").as_uri())
    with pytest.raises(DataError, match=r"cannot be downloaded: .*--data-dir takes a folder with SMSSpamCollection"):
        load_texts("sms-spam", cache_dir=tmp_path / "cache")
