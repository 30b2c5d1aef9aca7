"""The page that a search ends with: what it shows, that it loads nothing, that it never spoils a search."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from plotly.graph_objects import Figure

import gaprune
from gaprune.commands import result as result_module
from gaprune.commands.lines import report_main
from gaprune.data import ImageData
from gaprune.errors import OptionError, RunError
from gaprune.runs import read_csv, read_ladder, write_csv
from gaprune.views.axes import axes_of
from gaprune.views.front_figure import front_figure
from gaprune.views.page import report_page
from gaprune.views.progress import best_accuracies, hypervolume_figure, hypervolumes
from gaprune.views.record import read_record
from gaprune.views.repeat import export_command, repeat_command
from gaprune.views.tables import budgets_table, members_table

MOST_BYTES = 5_000_000


class Page(HTMLParser):
    """What a page links to, and the text of its parts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.headings: list[str] = []
        self.labels: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for name in ("src", "href") if (value := given.get(name)) is not None]
        self.labels += [label for label in [given.get("aria-label")] if label is not None]
        self._in_heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_search_ends_with_a_page_that_loads_nothing(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert len(text) < MOST_BYTES
    assert all(link.startswith("#") for link in page.links)
    assert "default-src 'none'" in text
    first = ["Front", "Best within a budget", "Progress", "Layers"]
    assert page.headings == [*first, "Time and failures", "Settings", "Repeat and use"]
    assert "import gaprune\nnetwork = gaprune.load(" in text.replace("&#39;", "'")
    assert "gaprune.export(" in text
    assert "gaprune.search(model, data, " in text


def test_its_numbers_are_the_runs(finished: Path) -> None:
    rows, data = read_csv(finished / "front.csv"), data_of((finished / "report.html").read_text())
    front = next(one for one in data["figures"] if one["id"] == "figure-front")["figure"]["data"]
    traces = {one["name"]: one for one in front}
    assert traces["front, search images"]["x"] == pytest.approx([100 * row.flops_share for row in rows], abs=1e-3)
    assert traces["front, search images"]["y"] == pytest.approx([100 * row.search_accuracy for row in rows], abs=1e-3)
    tested = [100 * (row.test_accuracy or 0) for row in rows]
    assert traces["front, test images"]["y"] == pytest.approx(tested, abs=1e-3)
    assert {"original, search images", "original, test images", "picked"} <= set(traces)
    assert len(data["members"]) == len(rows)
    assert len(data["series"]) == len(front)
    for one, trace in zip(data["series"], front, strict=True):
        assert (one["flops"], one["accuracy"]) == (trace["x"], trace["y"])
        assert {len(values) for values in one.values()} == {len(trace["text"])}


def test_latency_and_accuracy_under_attack_are_shown_where_they_were_measured(copied: Path) -> None:
    rows = read_csv(copied / "front.csv")
    measured: dict[str, Any] = {"latency": 0.00125, "latency_share": 0.5, "attacked": {"fgsm_2": 0.25, "pgd_8": 0.0}}
    write_csv([replace(row, **measured) for row in rows[:-1]] + rows[-1:], copied / "front.csv")
    manifest = json.loads((copied / "manifest.json").read_text())
    how = {"runtime": "onnxruntime", "batch": 4, "threads": 1, "device": "cpu", "original_seconds": 0.0025}
    (copied / "manifest.json").write_text(json.dumps({**manifest, "latency": how}))
    record = read_record(copied)
    text = report_page([record])
    data = data_of(text)
    front = next(one for one in data["series"] if len(one["latency"]) == len(rows) and any(one["latency"]))
    assert front["latency"] == [pytest.approx(1.25)] * (len(rows) - 1) + [None]
    assert front["fgsm_2"] == [pytest.approx(25.0)] * (len(rows) - 1) + [None]
    (drawn,) = (one["figure"]["data"] for one in data["figures"] if one["id"] == "figure-front")
    assert any("1.25 ms" in text and "fgsm_2 0.25" in text for trace in drawn for text in trace["text"])
    assert "runtime onnxruntime, batch 4, threads 1, device cpu; the original takes 2.5 ms" in text
    headings = members_table(record).headings
    assert headings[-3:] == ("latency ms", "FGSM 2/255 %", "PGD 8/255 %")
    assert members_table(record).rows[0][-3:] == ("1.25", "25.00", "0.00")
    assert members_table(record).rows[-1][-3:] == ("-", "-", "-")
    assert budgets_table([record]).headings[-3:] == headings[-3:]
    assert "latency" not in {axis.name for axis in axes_of([replace(record, rows=record.rows[-1:])])}


def test_every_figure_is_one_that_plotly_takes_and_has_words(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    figures = data_of(text)["figures"]
    assert len(figures) == 6
    for one in figures:
        Figure(one["figure"])
        assert f'id="{one["id"]}" role="img" aria-label="' in text


def test_progress_only_rises_and_ends_where_the_search_does(finished: Path) -> None:
    record = read_record(finished)
    curve = hypervolumes(record)
    assert list(curve.values) == sorted(curve.values)
    assert curve.evaluations[-1] == len(record.evaluated)
    best = best_accuracies(record, 1.0)
    assert best.values[-1] == max(one.values["accuracy"] for one in record.evaluated if one.counts)


def test_the_ladder_goes_from_one_neuron_a_group_to_the_whole_network(finished: Path) -> None:
    ladder = read_ladder(finished / "ladder.csv")
    record = read_record(finished)
    assert ladder.shares[-1] == 1.0
    assert ladder.sizes == tuple(layer.size for layer in record.layers)
    assert set(ladder.widths[0]) == {1}
    assert list(ladder.shares) == sorted(ladder.shares)
    assert all(width <= size for width, size in zip(ladder.at(0.3), ladder.sizes, strict=True))


def test_what_a_stranger_names_things_cannot_leave_the_page(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["model"]["name"] = '</script><script>alert("x")</script>'
    manifest["options"]["pick"] = '"><img src=x>'
    (copied / "manifest.json").write_text(json.dumps(manifest))
    text = report_page([read_record(copied)])
    assert "<script>alert" not in text
    assert "<img" not in text


def test_what_a_stranger_names_things_is_neither_a_link_in_a_figure_nor_a_command(copied: Path) -> None:
    named = copied.rename(copied.with_name("<a href='x'>run"))
    manifest = json.loads((named / "manifest.json").read_text())
    manifest["options"]["x; touch mine"] = 3
    manifest["objects"] = {"model": False, "data": False}
    (named / "manifest.json").write_text(json.dumps(manifest))
    record = read_record(named)
    shown = json.dumps([front_figure([record, record]), hypervolume_figure([record, record])])
    assert "&lt;a href='x'>run: front" in shown
    assert "<a " not in shown
    assert "touch" not in str(repeat_command(record))
    assert "%{text}<extra></extra>" in shown


def test_a_member_is_exported_with_the_objects_that_its_search_was_given(finished: Path) -> None:
    record = read_record(finished)
    row = record.picked
    assert row is not None
    call = f"gaprune.export({str(finished)!r}, pick={row.name!r}, "
    assert export_command(record) == f"{call}model=your_original_network, data=your_data)"
    of_names = replace(record, manifest={**record.manifest, "objects": {}})
    assert export_command(of_names) == f"gaprune export {finished} --pick {row.name}"


def test_a_table_with_no_numbers_is_drawn_without_them(copied: Path) -> None:
    rows = read_csv(copied / "front.csv")
    write_csv([replace(rows[0], search_accuracy=float("nan")), *rows[1:]], copied / "front.csv")
    text = report_page([read_record(copied)])
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1], parse_constant=pytest.fail)["figures"]


def test_a_report_that_fails_is_told_and_takes_nothing_from_the_search(
    original: torch.nn.Module,
    faint: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*args: object) -> None:
        raise ValueError("no ink\nat all")

    monkeypatch.setattr(result_module, "write_report", broken)
    options = {"population": 4, "generations": 1, "search_size": 30, "threads": 1, "output": tmp_path / "run"}
    found = gaprune.search(original, faint, **options)  # type: ignore[operator]
    assert found.rows
    assert not (found.path / "report.html").exists()
    assert "no report was written: ValueError: no ink\n" in capsys.readouterr().out


def test_the_command_writes_where_it_is_told_and_never_over_a_strangers_file(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert report_main([str(copied), "--output", str(page)]) == 0
    assert capsys.readouterr().out == f"report: {page}\n"
    assert report_main([str(copied), "--output", str(page)]) == 0
    page.write_text("<p>mine</p>")
    assert report_main([str(copied), "--output", str(page)]) == 2
    assert "page.html is no report of gaprune's: choose another file" in capsys.readouterr().err
    assert page.read_text() == "<p>mine</p>"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "RUN... is missing: give one run directory or more, finished or not"),
        (["nowhere"], "nowhere is not a run directory: there is no such directory"),
        (["RUN", "RUN"], "RUN is given twice"),
        (["RUN", "--output", "nowhere/page.html"], "cannot write nowhere/page.html: there is no directory nowhere"),
        (["RUN", "--output", "RUN"], "RUN is a directory: give --output a file, such as RUN/report.html"),
        (["RUN", "--live", "--output", "a.html"], "output has no meaning with --live"),
        (["RUN", "--port", "80"], "port says nothing without --live"),
        (["RUN", "--live", "--port", "70000"], "port must be at most 65535, got 70000"),
        (["HERE"], "HERE is not a run directory: it has no manifest.json, front.csv or evaluations.jsonl to read"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "something").write_text("mine")
    places = {"RUN": str(finished), "HERE": str(tmp_path)}
    assert report_main([places.get(word, word) for word in words]) == 2
    said = capsys.readouterr().err
    for name, place in places.items():
        message = re.sub(rf"\b{name}\b(?!\.\.\.)", lambda _, place=place: place, message)
    assert message in said
    assert said.count("\n") == 1


def test_a_run_is_frames_and_figures_in_a_notebook(finished: Path) -> None:
    run = gaprune.Run(finished)
    assert [row.name for row in run.rows] == [row.name for row in read_csv(finished / "front.csv")]
    assert len(run.evaluated) == run.manifest["evaluations"]
    figures = [
        run.plot(),
        run.plot("params", "flops", log=True, beside=(gaprune.Run(finished),)),
        run.plot_progress(),
        run.plot_budgets(),
        run.plot_time(),
        run.plot_layers(),
        run.plot_layers(run.rows[0]),
    ]
    assert all(isinstance(one, Figure) and len(one.data) for one in figures)
    assert figures[1].layout.xaxis.type == "log"
    with pytest.raises(OptionError, match="unknown axis 'beauty': choose one of accuracy, flops, params, size, loss"):
        run.plot("beauty")
    assert (
        repr(run)
        == f"<Run {str(finished)!r}: {len(run.rows)} networks on the front, {len(run.evaluated):,} candidates>"
    )
    with pytest.raises(RunError, match="is not a run directory"):
        gaprune.Run(finished / "front")


def test_several_runs_are_one_page_with_bands_and_differences(finished: Path, other_seed: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert report_main([str(finished), str(other_seed), "--output", str(page)]) == 0
    text = page.read_text()
    parsed = Page(text)
    assert "Over seeds" in parsed.headings
    assert "Layers" not in parsed.headings
    rows = re.findall(r'<tr class="marked"><th scope="row">([^<]*)</th>', text)
    assert "seed" in rows
    assert "population" not in rows
    names = {trace["name"] for trace in data_of(text)["figures"][0]["figure"]["data"]}
    assert {"first: front, search images", "second: front, search images"} <= names
