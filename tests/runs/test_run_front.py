from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.errors import RunError
from gaprune.runs import FrontRow, read_csv, write_csv

ROW = FrontRow(
    index=3,
    key="ab" * 16,
    objectives={"accuracy": -0.93, "flops": 0.3},
    search_accuracy=0.93,
    test_accuracy=0.92,
    flops=94_000_000,
    flops_share=0.3,
    params=4_400_000,
    params_share=0.31,
    size_mb=17.6,
    path="front/03",
    widths=(48, 64),
)

shares = st.floats(0, 1)
rows_strategy = st.lists(
    st.builds(
        FrontRow,
        index=st.integers(0, 99),
        key=st.text("0123456789abcdef", min_size=32, max_size=32),
        objectives=st.fixed_dictionaries({"loss": st.floats(allow_nan=False), "flops": shares}),
        search_accuracy=shares,
        test_accuracy=st.none() | shares,
        flops=st.integers(0, 10**12),
        flops_share=shares,
        params=st.integers(0, 10**12),
        params_share=shares,
        size_mb=st.floats(0, 1e6),
        path=st.sampled_from(["", "front/3fa9c2e1", "front/3fa9c2e1-polished/finetuned", "works/tucker+q-size=0.5@1"]),
        widths=st.lists(st.integers(1, 2048), max_size=4).map(tuple),
        trained_epochs=st.just(0),
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(rows_strategy)
def test_rows_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[FrontRow]) -> None:
    path = tmp_path_factory.mktemp("front") / "front.csv"
    write_csv(rows, path)
    assert read_csv(path) == rows


trained_rows = rows_strategy.flatmap(
    lambda rows: st.tuples(
        *(
            st.builds(
                replace,
                st.just(row),
                trained_epochs=st.integers(1, 99),
                search_accuracy_before=shares,
                test_accuracy_before=st.none() | shares,
            )
            | st.just(row)
            for row in rows
        )
    ).map(list)
)


@settings(max_examples=50, deadline=None)
@given(trained_rows)
def test_rows_of_fine_tuned_members_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[FrontRow]
) -> None:
    path = tmp_path_factory.mktemp("front") / "front.csv"
    write_csv(rows, path)
    assert read_csv(path) == rows


def test_the_table_is_plain_csv_under_a_header(tmp_path: Path) -> None:
    write_csv([ROW], tmp_path / "front.csv")
    header, line = (tmp_path / "front.csv").read_text().splitlines()
    assert header.startswith("index,key,search_accuracy,test_accuracy,flops,")
    assert header.endswith(",objective_accuracy,objective_flops")
    assert line == f"3,{'ab' * 16},0.93,0.92,94000000,0.3,4400000,0.31,17.6,front/03,48 64,-0.93,0.3"


@pytest.mark.parametrize(
    ("old", "new"), [(",0.92,", ",none,"), (",48 64,-0.93,0.3", ""), (",0.3\n", ",0.3,7\n"), (",0.93,", ",,")]
)
def test_a_damaged_line_is_named(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "front.csv"
    write_csv([ROW, ROW], path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2].replace(old, new)]))
    with pytest.raises(RunError, match=r"front\.csv is damaged at line 3: "):
        read_csv(path)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "front.csv").write_bytes(content)
    with pytest.raises(RunError, match=r"front\.csv"):
        read_csv(tmp_path / "front.csv")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        read_csv(tmp_path / "front.csv")


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "front.csv"
    write_csv([ROW], path)
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_csv([replace(ROW, index=4)], path)
    assert os.listdir(tmp_path) == ["front.csv"]
    assert read_csv(path) == [ROW]


def test_accuracies_under_attack_are_columns_of_a_front_that_was_attacked(tmp_path: Path) -> None:
    rows = [replace(ROW, attacked={"fgsm_2": 0.25, "pgd_8": 0.0}), ROW]
    write_csv(rows, tmp_path / "front.csv")
    assert read_csv(tmp_path / "front.csv") == rows
    assert (tmp_path / "front.csv").read_text().splitlines()[0].endswith(",under_fgsm_2,under_pgd_8")
    write_csv([ROW], tmp_path / "front.csv")
    assert "under_" not in (tmp_path / "front.csv").read_text()
