"""The runs that the repository keeps for their reports: whole, small, of no machine, shown wherever a clone lies."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gaprune.views import read_record

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "experiments" / "results" / "runs"
NAMES = ("efficientnet-lite0-imagenette", "resnet18-cifar10")
MOST_BYTES = 1_000_000
HEADINGS = ("Front", "Best within a budget", "Progress", "Layers", "Time and failures", "Settings", "Repeat and use")


def test_each_committed_run_is_tested() -> None:
    assert sorted(manifest.parent.name for manifest in RUNS.glob("*/manifest.json")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_clone_makes_the_report(name: str, tmp_path: Path) -> None:
    clone = tmp_path / name
    shutil.copytree(RUNS / name, clone)
    command = [sys.executable, "-m", "gaprune.report", str(clone)]
    made = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    text = html.unescape((clone / "report.html").read_text(encoding="utf-8"))
    assert re.findall(r"<h2[^>]*>([^<]+)</h2>", text) == ["What is not shown", *HEADINGS]
    record = read_record(clone)
    assert f"{len(record.rows)} networks on the front, {len(record.evaluated)} candidates" in text
    assert all(row.name in text for row in record.rows)
    assert record.ladder is not None
    assert f"--data-dir {record.options['data_dir']}" in text


@pytest.mark.parametrize("name", NAMES)
def test_all_but_the_weights_is_as_it_was_written(name: str) -> None:
    record = read_record(RUNS / name)
    assert record.finished
    assert record.damage == ()
    assert {row.name for row in record.rows} == record.weightless
    assert [note for note in record.notes if not note.startswith("the weights of the members are not here")] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_names_no_machine(name: str) -> None:
    files = [file for file in (RUNS / name).rglob("*") if file.is_file() and file.name != "report.html"]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    assert {file.suffix for file in files} <= {"", ".json", ".jsonl", ".csv"}
    rooted = re.compile(r"""(?<![\w.:/<])/(home|root|tmp|work|mnt|data|Users)/""")
    assert [file for file in files if rooted.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_site_has_the_report_where_pages_link_to_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from hooks import outside_links, report_of

    link = f"[one](../../experiments/results/runs/{name})"
    assert outside_links(link, "how-to/watch.md") == f"[one](../results/reports/{name}.html)"
    assert outside_links(link, "results/index.md") == f"[one](reports/{name}.html)"
    assert f"(../../experiments/results/runs/{name})" in (ROOT / "docs/how-to/watch.md").read_text(encoding="utf-8")
    text = report_of(name)
    assert f"experiments/results/runs/{name}: " in text
    assert str(ROOT) not in text
