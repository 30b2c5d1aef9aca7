from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from listener import Listener
from resealing import resealed
from torch import nn

import gaprune
from gaprune.commands.search import Interrupted, SearchResult
from gaprune.data import ImageData
from gaprune.errors import RunError
from gaprune.evaluate import Evaluator, Floor, Floors, Measurement, Objective, Outcome
from gaprune.genome import Genome
from gaprune.progress import SILENT
from gaprune.runs import RunDirectory
from gaprune.session.logged import logged_outcomes
from gaprune.session.loop import _known, _restore

SMALL: dict[str, Any] = {
    "search_size": 60,
    "calibration_size": 45,
    "batch_size": 10,
    "population": 8,
    "generations": 5,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}

Run = Callable[..., SearchResult]


@pytest.fixture
def search(trained: nn.Module, square_data: ImageData) -> Run:
    return lambda **options: gaprune.search(trained, square_data, **{**SMALL, **options})  # type: ignore[operator]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]


def timeless(path: Path) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0, "sum": ""} for line in lines(path)]


def stopped(path: Path) -> set[str]:
    return {line["key"] for line in lines(path) if line["bound"]}


@pytest.mark.parametrize("algorithm", ["nsga2", "random"])
@pytest.mark.parametrize("objectives", [("accuracy", "flops"), ("params", "accuracy", "flops")])
def test_what_is_stopped_early_is_dominated_by_an_earlier_generation_and_never_on_the_front(
    search: Run, tmp_path: Path, algorithm: str, objectives: tuple[str, ...]
) -> None:
    more = {"generations": 8} if algorithm == "random" else {}  # which seldom asks for what an earlier one dominates
    result = search(output=tmp_path / "run", algorithm=algorithm, objectives=objectives, **more)
    log = lines(result.path)
    bounds = [line for line in log if line["bound"]]
    assert bounds
    for line in bounds:
        earlier = [x["minimised"] for x in log if x["generation"] < line["generation"] and not x["bound"]]
        assert any(
            all(known[name] <= line["minimised"][name] for name in objectives)
            and known["accuracy"] < line["minimised"]["accuracy"]
            for known in earlier
        )
        assert line["failure"] is None
        assert set(line["values"]) == {"accuracy", "flops", "params", "size"}
    assert not {row.key for row in result.rows} & stopped(result.path)
    with (result.path / "front.csv").open() as table:
        assert {row["key"] for row in csv.DictReader(table)} == {row.key for row in result.rows}


def test_stopping_early_does_not_change_what_is_found(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random search asks for the same genomes whatever they are worth."""
    early = search(output=tmp_path / "early", algorithm="random", generations=8)
    monkeypatch.setattr(Floors, "__call__", lambda self, genomes: None)
    whole = search(output=tmp_path / "whole", algorithm="random", generations=8)
    assert stopped(early.path)
    assert not stopped(whole.path)
    assert (early.path / "front.csv").read_bytes() == (whole.path / "front.csv").read_bytes()
    accuracy = {line["key"]: line["values"]["accuracy"] for line in lines(whole.path)}
    for line in lines(early.path):
        if line["bound"]:
            assert line["values"]["accuracy"] >= accuracy[line["key"]]
        else:
            assert line["values"]["accuracy"] == accuracy[line["key"]]


def test_a_generation_that_was_interrupted_goes_on_as_it_began(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(output=tmp_path / "whole", fitness="accuracy")
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "fitness", interrupted_after(21))
        with pytest.raises(Interrupted):
            search(output=tmp_path / "part", fitness="accuracy")
    assert len(lines(tmp_path / "part")) == 21
    part = search(resume=tmp_path / "part")
    assert timeless(part.path) == timeless(whole.path)
    assert stopped(part.path)


def test_wherever_state_and_log_end_each_candidate_is_given_the_floor_that_it_was_given(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may go beyond the state, by whole generations too, and end in the midst of one."""
    given: dict[str, Floor] = {}
    floors = Floors.__call__

    def noted(self: Floors, genomes: Sequence[Genome]) -> list[Floor] | None:
        found = floors(self, genomes)
        given.update(zip([genome.key for genome in genomes], found or [], strict=True))
        return found

    monkeypatch.setattr(Floors, "__call__", noted)
    monkeypatch.setattr("gaprune.runs.states.KEPT", 99)
    for seed in range(20):  # until there is one
        given.clear()
        whole = search(output=tmp_path / f"whole{seed}", algorithm="random", seed=seed).path
        generation, index = misleading(lines(whole), given)
        if generation >= 2:
            break
    assert generation >= 2
    expected, log = dict(given), (whole / "evaluations.jsonl").read_text().splitlines(keepends=True)
    for state, logged in ((generation, index), (generation - 1, index), (0, index), (0, 13), (0, 40)):
        path = shutil.copytree(whole, tmp_path / f"{state}-{logged}")
        for file in (path / "state").iterdir():
            if int(file.stem) > state:
                file.unlink()
        (path / "evaluations.jsonl").write_text("".join(log[:logged]))
        resealed(path)
        given.clear()
        search(resume=path)
        assert given == {line["key"]: expected[line["key"]] for line in lines(whole)[logged:]}
        assert timeless(path) == timeless(whole)


def misleading(log: list[dict[str, Any]], floors: dict[str, Floor]) -> tuple[int, int]:
    """The last candidate (generation, line) that an outcome of its own generation would have given a higher floor."""
    found = (
        (line["generation"], index)
        for index, line in enumerate(log)
        for earlier in log[:index]
        if earlier["generation"] == line["generation"]
        and not earlier["bound"]
        and earlier["minimised"]["flops"] <= line["minimised"]["flops"]
        and earlier["values"]["accuracy"] > floors[line["key"]].accuracy
    )
    return max(found, default=(-1, -1))


@pytest.mark.parametrize(("generation", "settled"), [(0, []), (1, ["a"]), (2, ["a", "b"])])
def test_what_the_interrupted_generation_has_found_does_not_decide_when_its_rest_is_stopped(
    tmp_path: Path, generation: int, settled: list[str]
) -> None:
    with RunDirectory.create(tmp_path / "run", {}) as run:
        for key, logged in (("a", 0), ("b", 1)):
            run.log.append({"generation": logged, **Outcome(key, {}, {}, 0.0).record()})
        known, earlier = _known(logged_outcomes(run.path / "evaluations.jsonl"), generation)
    assert set(known) == {"a", "b"}
    assert [outcome.key for outcome in earlier] == settled


def interrupted_after(count: int) -> Callable[..., Measurement]:
    fitness, calls = Evaluator.fitness, []

    def interrupted(self: Evaluator, *arguments: Any) -> Measurement:
        calls.append(arguments)
        if len(calls) > count:
            raise KeyboardInterrupt
        return fitness(self, *arguments)

    return interrupted


def test_a_candidate_is_measured_to_the_end_where_an_objective_is_not_understood(search: Run, tmp_path: Path) -> None:
    lean = Objective("lean", "share of parameters", *[lambda c: c.costs.params / c.original.params] * 2)
    own = search(output=tmp_path / "own", objectives=("accuracy", lean))
    loss = search(output=tmp_path / "loss", objectives=("loss", "flops"))
    assert not stopped(own.path) | stopped(loss.path)


def test_progress_shows_how_many_were_stopped_early(search: Run, tmp_path: Path) -> None:
    reporter = Listener()
    result = search(output=tmp_path / "run", fitness="accuracy", reporter=reporter)
    assert reporter.figures["stopped early"] == str(len(stopped(result.path)))


def test_a_log_must_have_the_rungs_that_a_search_hands_out_from_as_well_as_its_front(tmp_path: Path) -> None:
    class Standing:
        def front(self) -> tuple[list[Genome], None]:
            return [Genome(b"\x01")], None

        def rungs(self) -> list[Genome]:
            return [Genome(b"\x01"), Genome(b"\x02")]

        def restore(self, state: object) -> None:
            pass

    both = [(0, Outcome(Genome(packed).key, {}, {}, 0.0)) for packed in (b"\x01", b"\x02")]
    algorithm: Any = Standing()
    with RunDirectory.create(tmp_path / "run", {}) as run:
        run.save_state(1, {}, {})
        _restore(algorithm, run, both)
        with pytest.raises(RunError, match="lacks 1 evaluations that the run's state rests on"):
            _restore(algorithm, run, both[:1])
