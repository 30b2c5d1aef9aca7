from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listener import Listener
from resealing import resealed
from stopping import interrupted_after
from tiny_factory import small_residual
from torch import nn

import gaprune
from gaprune.campaigns import training
from gaprune.commands.search import Interrupted, SearchResult
from gaprune.data import ImageData, load_data, split
from gaprune.errors import GapruneError, OptionError, RunError, TrainingError
from gaprune.evaluate import Evaluator, Objective, measure
from gaprune.progress import SILENT
from gaprune.prune.cut.costs import count_flops
from gaprune.runs import read_csv
from gaprune.training import Recipe, fit
from gaprune.training import loop as training_loop

SMALL: dict[str, Any] = {
    "algorithm": "rounds",
    "rounds": 3,
    "round_generations": 2,
    "round_share": (0.1, 0.4),
    "population": 5,
    "selected": 3,
    "search_size": 60,
    "calibration_size": 45,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}
GENES = pytest.mark.parametrize("genes", ["neurons", "connections", "both"])

Run = Callable[..., SearchResult]
Resume = Callable[[Path], SearchResult]


@pytest.fixture
def search(trained: nn.Module, square_data: ImageData) -> Run:
    return lambda **options: gaprune.search(trained, square_data, **{**SMALL, **options})  # type: ignore[operator]


@pytest.fixture
def resume(trained: nn.Module, square_data: ImageData) -> Resume:
    """Go on with nothing said anew."""
    return lambda path: gaprune.search(trained, square_data, resume=path, reporter=SILENT)  # type: ignore[operator]


def convolutions(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: m.weight for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}


def table(path: Path, name: str = "rounds.csv") -> list[dict[str, str]]:
    with (path / name).open() as lines:
        return list(csv.DictReader(lines))


def timeless(path: Path) -> list[Any]:
    """All that a run has found, without the time that it took."""
    rounds = [{k: v for k, v in row.items() if "seconds" not in k} for row in table(path)]
    logs = sorted(path.glob("round-*/evaluations.jsonl"))
    lines = [{**json.loads(line), "seconds": 0, "sum": ""} for log in logs for line in log.read_text().splitlines()]
    return [rounds, lines, (path / "front.csv").read_bytes(), *weights(path)]


def weights(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(path.glob("front/*/model.safetensors"))]


@GENES
def test_each_round_works_on_the_network_that_the_one_before_left(search: Run, tmp_path: Path, genes: str) -> None:
    result = search(output=tmp_path / "run", genes=genes)
    original = json.loads((result.path / "manifest.json").read_text())["original"]
    networks = [result.load(row) for row in reversed(result.rows)]
    for network, smaller in itertools.pairwise(networks):
        for (name, weight), (other, less) in zip(
            convolutions(network).items(), convolutions(smaller).items(), strict=True
        ):
            assert name == other
            assert less.shape[0] <= weight.shape[0]
            assert less.shape[1] <= weight.shape[1]
            assert less.flatten(2).any(2).sum() <= weight.flatten(2).any(2).sum()
            if genes == "connections":  # nothing moves, so it can be seen kernel by kernel
                assert not (less.flatten(2).any(2) & ~weight.flatten(2).any(2)).any()
    flops = [row.flops for row in result.rows]
    assert flops == sorted(set(flops))
    for row, network in zip(reversed(result.rows), networks, strict=True):
        assert row.flops_share == row.flops / original["flops"]
        assert row.params_share == row.params / original["params"]
        kernels = sum(int(w.flatten(2).any(2).sum()) * w[0, 0].numel() for w in convolutions(network).values())
        others = sum(p.numel() for p in network.parameters() if p.ndim != 4)
        assert row.params == kernels + others
        if genes == "neurons":
            assert row.flops == count_flops(network, (3, 8, 8))


@GENES
def test_a_round_removes_its_share_of_the_genes(search: Run, tmp_path: Path, genes: str) -> None:
    result = search(output=tmp_path / "run", genes=genes, round_share=0.3)
    kinds = 2 if genes == "both" else 1
    for number in (1, 2, 3):
        (genome,) = (tmp_path / "run" / f"round-{number}" / "front").glob("*/genome.json")
        record = json.loads(genome.read_text())
        neurons = [part for part in record["sections"] if part["kind"] == "neurons"]
        if neurons:
            total = sum(part["genes"] for part in neurons)
            assert sum(part["kept"] for part in neurons) == round(total * 0.7 ** (1 / kinds))
    if genes == "connections":
        networks = [result.load(row) for row in reversed(result.rows)]
        left = [sum(int(w.flatten(2).any(2).sum()) for w in convolutions(n).values()) for n in networks]
        total = sum(w.shape[0] * w.shape[1] for w in convolutions(networks[0]).values())
        expected = []
        for _ in left:
            total = round(0.7 * total)
            expected.append(total)
        assert left == expected


@GENES
def test_what_is_handed_out_is_what_the_tables_say(
    search: Run, square_data: ImageData, tmp_path: Path, genes: str
) -> None:
    result = search(output=tmp_path / "run", genes=genes)
    parts = split(square_data, search_size=60, calibration_size=45, seed=0)
    rounds = table(result.path)
    assert [row["round"] for row in rounds] == ["0", "1", "2", "3"]
    assert read_csv(result.path / "front.csv") == result.rows
    for row, record in zip(reversed(result.rows), rounds[1:], strict=True):
        network = result.load(row)
        found = [measure(network, part, square_data.mean, square_data.std) for part in (parts.search, parts.test)]
        assert [one.accuracy for one in found] == pytest.approx([row.search_accuracy, row.test_accuracy])
        assert float(record["search_accuracy"]) == row.search_accuracy
        assert (int(record["flops"]), int(record["params"])) == (row.flops, row.params)
        assert row.objectives["loss"] == pytest.approx(found[0].loss, rel=1e-4)
        widths = {name: str(len(weight)) for name, weight in convolutions(network).items()}
        assert {f"neurons_{name}": width for name, width in widths.items()} == {
            name: value for name, value in record.items() if name.startswith("neurons_")
        }
        metrics = json.loads((result.path / row.path / "metrics.json").read_text())
        assert (metrics["flops"], metrics["round"]) == (row.flops, int(record["round"]))
    readable = (result.path / "rounds.md").read_text()
    assert "| conv2 | 16 |" in readable


def test_rounds_prune_a_network_that_knows_the_digits(tmp_path: Path) -> None:
    data = load_data("digits")
    torch.manual_seed(0)
    model = small_residual(10)
    recipe = Recipe(epochs=2, batch_size=64, lr=0.1, pad=1)
    fit(model, data.train, data.test, mean=data.mean, std=data.std, flip=False, recipe=recipe)
    for genes in ("neurons", "connections", "both"):
        result = gaprune.search(  # type: ignore[operator]
            model,
            data,
            output=tmp_path / genes,
            **{
                **SMALL,
                "genes": genes,
                "rounds": 2,
                "round_generations": 1,
                "search_size": 200,
                "calibration_size": 100,
            },
        )
        assert len(result.rows) == 2
        assert result.rows[0].flops_share < 0.75
        assert result.rows[1].search_accuracy > 0.3


@pytest.mark.parametrize("genes", ["neurons", "both"])
def test_training_between_rounds_starts_the_next_round_and_keeps_masks(
    search: Run, square_data: ImageData, tmp_path: Path, genes: str
) -> None:
    result = search(output=tmp_path / "run", genes=genes, round_epochs=2, rounds=2)
    for number in (1, 2):
        place = result.path / f"round-{number}"
        found, trained = (result.load(replace_path(result, place / name)) for name in ("front/00", "trained"))
        for (name, before), after in zip(convolutions(found).items(), convolutions(trained).values(), strict=True):
            assert before.shape == after.shape, name
            assert not torch.equal(before, after)
            assert torch.equal(before.flatten(2).any(2), after.flatten(2).any(2))
        assert not (place / "training").exists()
    networks = [result.load(row) for row in reversed(result.rows)]
    for network, number in zip(networks, (1, 2), strict=True):
        trained = result.load(replace_path(result, result.path / f"round-{number}" / "trained"))
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), trained.parameters(), strict=True))
    assert [row["training_seconds"] > "0" for row in table(result.path)[1:]] == [True, True]
    assert "trained for 2 epochs" in (result.path / result.rows[0].path / "README.md").read_text()


def replace_path(result: SearchResult, path: Path) -> Any:
    """A row that stands for the network in a folder of the run."""
    return type(result.rows[0])(**{**vars(result.rows[0]), "path": str(path.relative_to(result.path))})


def test_training_between_rounds_never_sees_the_search_or_the_test_images(
    search: Run, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    step = training_loop.train_step

    def watched(state: Any, course: Any, indices: Any, generator: Any) -> Any:
        seen.update(image.numpy().tobytes() for image in course.train.images)
        return step(state, course, indices, generator)

    monkeypatch.setattr(training_loop, "train_step", watched)
    search(output=tmp_path / "run", round_epochs=1, rounds=1)
    parts = split(square_data, search_size=60, calibration_size=45, seed=0)
    held_out = {image.numpy().tobytes() for part in (parts.search, parts.test) for image in part.images}
    assert seen
    assert not seen & held_out


def test_a_round_whose_training_diverges_keeps_the_network_that_it_found(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(*arguments: Any, **options: Any) -> None:
        raise TrainingError("diverged in epoch 1")

    plain, listener = search(output=tmp_path / "plain", rounds=2), Listener()
    monkeypatch.setattr(training, "recover", diverging)
    result = search(output=tmp_path / "run", round_epochs=1, rounds=2, reporter=listener)
    assert [row.key for row in result.rows] == [row.key for row in plain.rows]
    assert [row.search_accuracy for row in result.rows] == [row.search_accuracy for row in plain.rows]
    told = [line for line in listener.lines if line.startswith("training failed, the round keeps")]
    assert len(told) == 2


@pytest.mark.parametrize(("genes", "epochs"), [("neurons", 0), ("both", 2)])
@pytest.mark.parametrize("evaluations", [3, 8, 15])
def test_stopped_at_any_round_and_resumed_it_ends_as_if_never_stopped(
    search: Run,
    resume: Resume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    genes: str,
    epochs: int,
    evaluations: int,
) -> None:
    whole = search(output=tmp_path / "whole", genes=genes, round_epochs=epochs, rounds=2)
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "fitness", interrupted_after(Evaluator.fitness, evaluations))
        with pytest.raises(Interrupted, match="nothing is lost"):
            search(output=tmp_path / "part", genes=genes, round_epochs=epochs, rounds=2)
    part = resume(tmp_path / "part")
    assert timeless(part.path) == timeless(whole.path)
    assert part.rows == whole.rows


def test_a_rounds_wall_time_is_that_of_its_search_over_all_sessions(
    search: Run, resume: Resume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(path: Path) -> float:
        found: float = json.loads((path / "manifest.json").read_text())["wall_seconds"]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", interrupted_after(training_loop.train_step, 0))
        with pytest.raises(Interrupted):
            search(output=tmp_path / "run", round_epochs=1, rounds=2)
    first = seconds(tmp_path / "run" / "round-1")
    assert first > 0
    result = resume(tmp_path / "run")
    original, *rounds = table(result.path)
    assert original["wall_seconds"] == "0.0"
    for row in rounds:
        place = result.path / f"round-{row['round']}"
        evaluated = [json.loads(line)["seconds"] for line in (place / "evaluations.jsonl").read_text().splitlines()]
        assert float(row["seconds"]) == pytest.approx(sum(evaluated), abs=1e-3)
        assert float(row["wall_seconds"]) == seconds(place) > float(row["seconds"])
    assert float(rounds[0]["wall_seconds"]) > first
    whole = seconds(result.path)
    assert resume(result.path).rows == result.rows
    assert seconds(result.path) == whole, "to look at a finished run takes no time of its search"


def test_a_round_of_a_version_that_kept_no_wall_time_has_none(search: Run, resume: Resume, tmp_path: Path) -> None:
    search(output=tmp_path / "run", rounds=1)
    file = tmp_path / "run" / "round-1" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["result"]["wall_seconds"]
    file.write_text(json.dumps(manifest))
    resealed(tmp_path / "run")
    assert [row["wall_seconds"] for row in table(resume(tmp_path / "run").path)] == ["0.0", ""]


def test_stopped_while_training_it_goes_on_from_the_last_epoch(
    search: Run, resume: Resume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(output=tmp_path / "whole", round_epochs=3, rounds=2)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", interrupted_after(training_loop.train_step, 17))
        with pytest.raises(Interrupted):
            search(output=tmp_path / "part", round_epochs=3, rounds=2)
    assert (tmp_path / "part" / "round-2" / "training").exists()
    assert timeless(resume(tmp_path / "part").path) == timeless(whole.path)


@pytest.mark.parametrize(
    "what", ["session.loop.evolve", "campaigns.campaign.save_front", "campaigns.campaign.of_the_original"]
)
def test_stopped_between_the_steps_of_a_round_it_goes_on(
    search: Run, resume: Resume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    whole = search(output=tmp_path / "whole", rounds=1)
    with monkeypatch.context() as patch:
        patch.setattr(f"gaprune.{what}", stop)
        with pytest.raises(Interrupted):
            search(output=tmp_path / "part", rounds=1)
    if what == "session.loop.evolve":  # as if killed while the manifest was written
        manifest = tmp_path / "part" / "round-1" / "manifest.json"
        manifest.rename(manifest.with_name(".manifest.json.1.tmp"))
    assert timeless(resume(tmp_path / "part").path) == timeless(whole.path)


def test_a_finished_run_takes_more_rounds_and_picks_without_evaluating(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(output=tmp_path / "whole", rounds=3)
    part = search(output=tmp_path / "part", rounds=2)
    assert len(part.rows) == 2
    more = search(resume=tmp_path / "part", rounds=3)
    assert timeless(more.path) == timeless(whole.path)
    monkeypatch.setattr(Evaluator, "fitness", None)
    again = search(resume=tmp_path / "part", rounds=2, pick="flops<=0.9")
    assert again.rows == whole.rows
    assert again.picked is not None
    assert again.picked.flops_share <= 0.9


def test_what_rounds_may_not_change_on_resume_is_refused(search: Run, tmp_path: Path) -> None:
    search(output=tmp_path / "run", rounds=1)
    for changed in ({"round_share": (0.2,)}, {"polish": True}, {"round_epochs": 1}, {"generations": 3}):
        with pytest.raises(OptionError, match=f"cannot change on resume: {next(iter(changed))}"):
            search(resume=tmp_path / "run", rounds=1, **changed)


@pytest.mark.parametrize("genes", ["neurons", "both"])
def test_rounds_end_early_where_nothing_is_left_that_could_go(
    search: Run, resume: Resume, tmp_path: Path, genes: str
) -> None:
    reporter = Listener()
    result = search(output=tmp_path / "run", genes=genes, round_share=0.9, rounds=9, reporter=reporter)
    assert result.rows[0].widths == (1, 1, 1)
    assert len(result.rows) < 9
    assert f"every layer is down to one neuron: the rounds end after {len(result.rows)}" in reporter.lines
    assert resume(result.path).rows == result.rows


def test_a_round_alone_is_not_resumed(search: Run, tmp_path: Path) -> None:
    search(output=tmp_path / "run", rounds=1)
    with pytest.raises(RunError, match=rf"is a round of a run: go on with --resume {tmp_path / 'run'}"):
        gaprune.search(small_residual(3), "digits", resume=tmp_path / "run" / "round-1")  # type: ignore[operator]


def test_rounds_select_by_another_measured_objective(search: Run, tmp_path: Path) -> None:
    own = Objective("twice", "twice the loss", *[lambda c: 2 * c.measured.loss] * 2)
    for objective in ("accuracy", own):
        result = search(output=tmp_path / getattr(objective, "name", "x"), objectives=(objective,), rounds=1)
        log = (result.path / "round-1" / "evaluations.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in log]
        assert not any(record["bound"] for record in records)
        name = getattr(objective, "name", "accuracy")
        least = min(record["minimised"][name] for record in records)
        best = {record["values"]["flops"] for record in records if record["minimised"][name] == least}
        assert result.rows[0].flops in best


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ("loss", "flops")}, "that is measured: loss, accuracy or divergence, got loss, flops"),
        ({"objectives": ("flops",)}, "must be one that is measured: loss, accuracy or divergence, got flops"),
        ({"generations": 4}, "generations has no meaning with --algorithm rounds: use --rounds"),
        ({"genes": "both", "connection_groups": 2}, "connection-groups has no meaning with --algorithm rounds"),
        ({"max_flops": 0.5}, "max-flops has no meaning with --algorithm rounds: --round-share says"),
        ({"min_accuracy": 0.5}, "min-accuracy has no meaning with --algorithm rounds: --round-share says"),
        ({"selected": 9}, "selected must be at most the population of 5, got 9"),
        ({"round_share": (0.2, 1.0)}, "round-share must be below 1, got 1"),
        ({"round_share": ()}, r"round-share must be one number or more, got \(\)"),
        ({"cut": 2.0}, "cut must be 0 to 1, got 2.0"),
        ({"mutation_rate": "0.5"}, "mutation-rate must be 0 to 1, got '0.5'"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"algorithm": "random"}, "rounds has no meaning without --algorithm rounds"),
    ],
)
def test_options_without_meaning_are_refused_in_one_line(
    search: Run, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GapruneError, match=message):
        search(output=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_round_in_which_everything_fails_says_why(search: Run, tmp_path: Path) -> None:
    broken = Objective("broken", "never a number", *[lambda c: float("nan")] * 2)
    with pytest.raises(RunError, match=r"every candidate failed.*round-1.*broken is not finite"):
        search(output=tmp_path / "run", objectives=(broken,))


def test_the_papers_numbers_are_the_defaults_and_what_is_given_wins(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    few = {"search_size": 15, "calibration_size": 15, "device": "cpu", "threads": 1, "reporter": SILENT}
    given = {"algorithm": "rounds", "round_generations": 1, "rounds": 1}
    gaprune.search(trained, square_data, output=tmp_path / "a", **given, **few)  # type: ignore[operator]
    gaprune.search(trained, square_data, output=tmp_path / "b", **given, **few, population=24)  # type: ignore[operator]
    gaprune.search(trained, square_data, output=tmp_path / "c", **given, **few, population=4)  # type: ignore[operator]
    found = [json.loads((tmp_path / name / "manifest.json").read_text())["options"] for name in "abc"]
    assert [options["population"] for options in found] == [30, 24, 4]
    assert [options["selected"] for options in found] == [5, 5, 4]
    assert {(options["cut"], options["mutation_rate"]) for options in found} == {(0.6, 0.6)}
    assert found[0]["objectives"] == ["loss"]
    assert len((tmp_path / "a" / "round-1" / "evaluations.jsonl").read_text().splitlines()) == 30
    assert np.prod(1 - np.array(found[0]["round_share"])) == pytest.approx(515 / 4224, abs=0.01)  # table 5, VGG16
