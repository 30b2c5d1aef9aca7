from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gaprune.data import ImageData, load_data
from gaprune.data.fit import Fit
from gaprune.data.folder import load_folder
from gaprune.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    """Writes ``photos/labels.csv`` beside twelve flat images ``photos/images/N.png`` whose red is N."""
    (tmp_path / "photos" / "images").mkdir(parents=True)
    for number in range(12):
        Image.new("RGB", (6, 5), (number, 0, 0)).save(tmp_path / "photos" / "images" / f"{number}.png")

    def write(text: str) -> Path:
        path = tmp_path / "photos" / "labels.csv"
        path.write_text(text)
        return path

    return write


def rows(parts: str = "train,train,train,train,test,test,train,train,train,train,test,test") -> str:
    lines = [
        f"images/{number}.png,{'dog' if number > 5 else 'cat'},{part}" for number, part in enumerate(parts.split(","))
    ]
    return "\n".join(["Filename,Label,Split", *lines])


def load(path: Path, fit: Fit | None = None) -> ImageData:
    return load_folder(path, cache_dir=path.parent.parent / "cache", fit=fit)


@pytest.mark.parametrize("fit", [None, Fit(8, 8)])
def test_classes_and_parts_are_the_tables(table: Callable[[str], Path], fit: Fit | None) -> None:
    data = load(table(rows()), fit)
    assert data.name == "labels"
    assert data.classes == ("cat", "dog")
    assert [sorted({int(x) for x in part.loaded().images[:, 0, 0, 0]}) for part in (data.train, data.test)] == [
        [0, 1, 2, 3, 6, 7, 8, 9],
        [4, 5, 10, 11],
    ]
    assert data.test.labels.tolist() == [0, 0, 1, 1]


def test_a_changed_table_is_read_anew_where_the_images_are_the_same(table: Callable[[str], Path]) -> None:
    load(table(rows()))
    swapped = load(table(rows().replace("cat", "x").replace("dog", "cat").replace("x", "dog")))
    assert swapped.test.labels.tolist() == [1, 1, 0, 0]


def test_validation_rows_report_where_none_are_for_test(table: Callable[[str], Path]) -> None:
    data = load(table(rows().replace(",test", ",val")))
    assert (len(data.test), data.validation) == (4, None)
    assert any("labels.csv (part validation) reports" in note for note in data.notes)


def test_without_parts_a_share_is_split_off(table: Callable[[str], Path]) -> None:
    text = "\n".join(line.rpartition(",")[0] for line in rows().splitlines())
    data = load_data(data_dir=table(text), test_share=0.25, cache_dir=table(text).parent.parent / "cache")
    assert (len(data.train), len(data.test)) == (9, 3)


def test_an_image_listed_twice_alike_counts_twice(table: Callable[[str], Path]) -> None:
    assert len(load(table(rows() + "\nimages/7.png,dog,train")).train) == 9


def test_numbers_are_sorted_as_numbers(table: Callable[[str], Path]) -> None:
    text = rows().replace("cat", "10").replace("dog", "9")
    assert load(table(text)).classes == ("9", "10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column for the file: its header must have one of file, path"),
        ("file,split\nimages/0.png,train", "has no column for the class: its header must have one of class, label"),
        ("file,class", "lists no image"),
        (rows().replace("train", "test"), "lists no training image"),
        (rows().replace("dog", "cat"), "lists training images of 1 class: at least 2"),
        (rows().replace("test", "tset", 1), "line 6: part 'tset' is none of train, training, test"),
        (rows().replace("4.png", "40.png"), "line 6: no such file: .*40.png"),
        (rows().replace("images/4.png", "notes.txt"), r"line 6: 'notes.txt' is no name of an image \(.bmp"),
        (rows().replace("images/4.png", "../../4.png"), "line 6: ../../4.png lies outside"),
        (rows() + "\nimages/../images/4.png,cat,train", "line 14: images/4.png is listed in line 6 with another part"),
        (rows() + "\nimages/7.png,cat,train", "line 14: images/7.png is listed in line 9 with another class"),
        (rows().replace("images/4.png,cat", "images/4.png,cow"), "line 6: class 'cow' has no training image"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    table: Callable[[str], Path], text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(table(text))
    assert "\n" not in str(caught.value)
