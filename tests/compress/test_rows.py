from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gaprune.compress import Session, Work, parse_chain
from gaprune.compress.prune import Prune
from gaprune.compress.rows import Comparison, Row, slug, unmatched
from gaprune.compress.sitting import TURNS
from gaprune.compress.storage import load_runner, shipped_bytes
from gaprune.compress.table import CSV, JSON, MARKDOWN, markdown, verdict, write_tables
from gaprune.compress.timing import median_seconds
from gaprune.errors import CheckpointError, MethodError
from gaprune.progress import SILENT

SIZES = (1, 4)


def row(chain: str, size: float, accuracy: float) -> Row:
    metrics = {"accuracy": accuracy, "f1": accuracy}
    seconds = {"cpu 1": 0.001, "cpu 4": 0.004}
    return Row(chain, size, metrics, 1000, 5_000_000, "PyTorch", 2, seconds, 1.25)


@pytest.fixture
def comparison(original: Work, tmp_path: Path) -> Comparison:
    return Comparison(tmp_path, original, 1, SILENT, SIZES)


def test_a_row_holds_what_ships(comparison: Comparison, original: Work, tmp_path: Path) -> None:
    made = comparison.row(parse_chain("prune:l1:raw"))
    assert made.size_mb == shipped_bytes(tmp_path / made.path) / 1e6
    network = load_runner(tmp_path / made.path, trust=True)
    assert network.kind == "torch"
    assert made.params == sum(p.numel() for p in network.model.parameters()) < original.params  # type: ignore[attr-defined]
    assert made.metrics.keys() == {"accuracy", "f1"}


def test_a_row_is_made_once(original: Work, comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    first = comparison.row(parse_chain("prune:l1:raw"))
    monkeypatch.setattr(Prune, "apply", forbidden)
    assert comparison.row(parse_chain("prune:l1:raw")) == first


def test_a_row_whose_model_is_gone_is_made_again(comparison: Comparison, tmp_path: Path) -> None:
    made = comparison.row(parse_chain("prune:l1:raw"))
    shutil.rmtree(tmp_path / made.path)
    assert comparison.row(parse_chain("prune:l1:raw")) == made
    assert load_runner(tmp_path / made.path, trust=True).kind == "torch"


def test_chains_that_begin_alike_share_the_beginning(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison.row(parse_chain("prune:magnitude"))
    monkeypatch.setattr(Prune, "apply", forbidden)
    assert comparison.row(parse_chain("prune:magnitude+sparse")).passes == 2


def test_a_beginning_that_was_trained_for_longer_is_not_shared(comparison: Comparison, tmp_path: Path) -> None:
    comparison.row(parse_chain("prune:magnitude"))
    made = comparison.row(parse_chain("prune:magnitude+prune:l1"))
    assert made.passes == 2  # one each
    assert {"prune-magnitude", "prune-magnitude@0.5"} <= {
        path.name.rsplit("-", 1)[0] for path in (tmp_path / "works").iterdir()
    }


def test_an_interrupted_training_goes_on_with_its_epochs(
    original: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping:
        """Stops after the first epoch."""

        def say(self, line: str) -> None:
            if line.startswith("epoch 1/"):
                raise KeyboardInterrupt

        @contextmanager
        def task(self, name: str, total: int) -> Iterator[Stopping]:
            yield self

        def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
            pass

    chain = parse_chain("prune:l1")
    with pytest.raises(KeyboardInterrupt):
        Comparison(tmp_path / "a", original, 1, Stopping(), SIZES).row(chain)
    assert list((tmp_path / "a").glob("works/*/training/*.json"))
    stopped = Comparison(tmp_path / "a", original, 1, SILENT, SIZES).row(chain)
    assert not list((tmp_path / "a").glob("works/*/training"))
    whole = Comparison(tmp_path / "b", original, 1, SILENT, SIZES).row(chain)
    files = [tmp_path / place / made.path / "model.safetensors" for place, made in (("a", stopped), ("b", whole))]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_damaged_works_are_made_again(comparison: Comparison, tmp_path: Path) -> None:
    made = comparison.row(parse_chain("prune:l1:raw"))
    (tmp_path / made.path / "model.safetensors").write_bytes(b"torn")
    (tmp_path / "rows" / f"{slug(made.chain)}.json").unlink()
    with pytest.raises(CheckpointError, match="is not as it was written"):
        load_runner(tmp_path / made.path, trust=True)
    again = comparison.row(parse_chain("prune:l1:raw"))
    assert (again.metrics, again.size_mb) == (made.metrics, made.size_mb)


def test_a_chain_that_cannot_be_made_costs_its_row_only(comparison: Comparison) -> None:
    chains = [parse_chain(text) for text in ("tucker:energy=1:raw", "none")]
    rows, failures = comparison.rows(chains)
    assert [made.chain for made in rows] == ["none"]
    assert "no layer gets smaller" in failures["tucker:energy=1:raw"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("it is full"), CheckpointError("it is full")])
def test_what_one_chain_meets_costs_its_row_only(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(self: Prune, work: Work, session: Session) -> Work:
        raise error

    monkeypatch.setattr(Prune, "apply", fails)
    rows, failures = comparison.rows([parse_chain(text) for text in ("prune:l1:raw", "none")])
    assert [made.chain for made in rows] == ["none"]
    assert failures == {"prune:l1:raw": "it is full"}


def test_all_rows_are_timed_in_turn_and_again_when_one_joins(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[tuple[str, int]] = []

    def seconds(work: Work, device: str, batch: int, threads: int) -> float:
        timed.append((work.steps[-1].method if work.steps else "none", batch))
        return float(len(timed))

    monkeypatch.setattr("gaprune.compress.sitting.seconds_of", seconds)
    chains = [parse_chain(text) for text in ("none", "prune:l1:raw")]
    first, _ = comparison.rows(chains)
    assert timed == [("none", 1), ("none", 4), ("prune:l1:raw", 1), ("prune:l1:raw", 4)] * TURNS
    assert [made.seconds for made in first] == [{"cpu 1": 5, "cpu 4": 6}, {"cpu 1": 7, "cpu 4": 8}]  # of 1, 5, 9, ...
    assert [made.spread for made in first] == [9, 11 / 3]
    assert comparison.rows(chains) == (first, {})
    assert len(timed) == 4 * TURNS
    comparison.rows([*chains, parse_chain("prune:magnitude:raw")])
    assert len(timed) == 4 * TURNS + 6 * TURNS


def test_times_of_another_batch_are_taken(comparison: Comparison, original: Work, tmp_path: Path) -> None:
    chains = [parse_chain("none")]
    comparison.rows(chains)
    ((made,), _) = Comparison(tmp_path, original, 1, SILENT, (1, 8)).rows(chains)
    assert set(made.seconds) == {"cpu 1", "cpu 8"}
    assert all(seconds is not None and seconds > 0 for seconds in made.seconds.values())
    assert made.spread is not None
    assert made.spread >= 1


@pytest.mark.parametrize("error", [MethodError("no kernel"), torch.OutOfMemoryError("no kernel\nfor it")])
def test_a_row_that_cannot_be_timed_is_named(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def seconds(work: Work, device: str, batch: int, threads: int) -> float:
        if work.steps:
            raise error
        return 1.0

    monkeypatch.setattr("gaprune.compress.sitting.seconds_of", seconds)
    rows, failures = comparison.rows([parse_chain(text) for text in ("none", "prune:l1:raw")])
    assert [made.chain for made in rows] == ["none"]
    assert failures == {"prune:l1:raw": "no kernel"}


def test_quantized_rows_say_whose_kernels_ran_and_leave_the_gpu_out(original: Work, tmp_path: Path) -> None:
    made = Comparison(tmp_path, original, 1, SILENT, SIZES).row(parse_chain("quantize"))
    assert made.runtime == "ONNX Runtime"
    table = markdown([replace(made, seconds={**made.seconds, "cuda 1": None})], threads=1, sizes=SIZES)
    cells = [cell.strip() for cell in table.splitlines()[2].split("|")][1:-1]
    assert cells[0] == "quantize"
    assert cells[6:8] == ["-", "-"]
    assert cells[10] == "ONNX Runtime"


def test_names_of_chains_do_not_collide() -> None:
    texts = ["ours:flops<=0.1", "ours:flops>=0.1", "ours-flops-=0.1", "none", "quantize", "prune:l1+quantize"]
    assert len({slug(text) for text in texts}) == len(texts)
    assert slug("quantize") == "quantize"


def test_a_chain_is_matched_by_one_of_ours_that_is_no_larger_and_as_accurate() -> None:
    rows = [
        row("none", 50, 0.95),
        row("quantize", 10, 0.90),
        row("distill", 5, 0.80),
        row("tucker", 20, 0.91),
        row("ours:03", 9, 0.90),
        row("distill:ours:03", 6, 0.85),
    ]
    assert [missed.chain for missed in unmatched(rows)] == ["distill", "tucker"]
    (line,) = verdict(rows)
    assert line.startswith("Of 3 chains without gaprune's network 1 are matched")
    assert line.endswith("Not matched: `distill`, `tucker`.")
    assert verdict(rows[:4]) == []


def test_tables_hold_every_row_and_every_failure(tmp_path: Path) -> None:
    rows = [row("none", 50, 0.95), row("tucker", 20, 0.91)]
    options: dict[str, Any] = {"failures": {"distill": "why"}, "threads": 2, "sizes": SIZES, "about": {"epochs": 3}}
    text = write_tables(tmp_path, rows, processor="Some CPU (AVX2)", **options)
    assert "2 CPU threads of Some CPU (AVX2), of 3 rounds through all rows: a row's slowest took at most 1.25" in text
    assert "`distill` has no row: why" in text
    assert (tmp_path / MARKDOWN).read_text() == text
    assert [line.split(",")[0] for line in (tmp_path / CSV).read_text().splitlines()] == ["method", "none", "tucker"]
    record = json.loads((tmp_path / JSON).read_text())
    assert [one["chain"] for one in record["rows"]] == ["none", "tucker"]
    assert record["epochs"] == 3
    assert record["failures"] == {"distill": "why"}


def test_warm_up_does_not_count() -> None:
    import time

    calls = []

    def call() -> None:
        calls.append(1)
        time.sleep(0.2 if len(calls) == 1 else 0.002)

    assert 0.002 <= median_seconds(call, torch.device("cpu")) < 0.1


def forbidden(self: Prune, work: Work, session: Session) -> Work:
    raise MethodError("made again")
