from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import gaprune
from gaprune.commands.search import SearchResult, main
from gaprune.data import ImageData, split
from gaprune.errors import GapruneError, RunError
from gaprune.evaluate import Candidate, measure
from gaprune.options.cli import Interrupted
from gaprune.progress import SILENT
from gaprune.prune.compensate.compensation import Compensator
from gaprune.runs import pick

SMALL = {
    "search_size": 60,
    "calibration_size": 45,
    "population": 6,
    "generations": 3,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}


def run(model: nn.Module, data: ImageData, path: Path, **options: object) -> SearchResult:
    return gaprune.search(model, data, output=path, **{**SMALL, **options})  # type: ignore[arg-type]


def table(path: Path) -> list[dict[str, str]]:
    with (path / "front.csv").open() as lines:
        return list(csv.DictReader(lines))


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (path / "evaluations.jsonl").read_text().splitlines()]


def test_the_front_trades_accuracy_for_flops_and_every_member_is_what_the_table_says(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    result = run(trained, square_data, tmp_path / "run")
    flops = [row.flops for row in result.rows]
    accuracy = [row.search_accuracy for row in result.rows]
    assert flops == sorted(flops)
    assert accuracy == sorted(accuracy)
    assert len(result.rows) >= 2
    assert result.rows[0].flops_share < 0.5
    for row in result.rows:
        network = result.load(row)
        found = measure(network, square_data_search(square_data), square_data.mean, square_data.std)
        assert found.accuracy == pytest.approx(row.search_accuracy, abs=1e-9)
        assert sum(p.numel() for p in network.parameters()) == row.params
        metrics = json.loads((result.path / row.path / "metrics.json").read_text())
        assert metrics["flops_fvcore_unmasked"] == row.flops


def square_data_search(data: ImageData) -> gaprune.data.ImageSet:  # type: ignore[name-defined]
    return split(data, search_size=60, calibration_size=45, seed=0).search


def test_a_run_directory_holds_what_the_design_promises(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    result = run(trained, square_data, tmp_path / "run")
    expected = {"manifest.json", "checksums.json", "evaluations.jsonl", "state", "front", "front.csv", "front.png"}
    expected |= {"ladder.csv", "report.html"}
    assert expected <= {entry.name for entry in result.path.iterdir()}
    member = result.path / result.rows[0].path
    names = {"config.json", "genome.json", "model.safetensors", "metrics.json", "checksums.json", "README.md"}
    assert {entry.name for entry in member.iterdir()} == names
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["options"]["population"] == 6
    assert manifest["data"]["splits"]["search_from"] == "train"
    assert manifest["environment"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert manifest["generations_done"] == 3
    evaluated = sum(
        json.loads(line)["seconds"] for line in (result.path / "evaluations.jsonl").read_text().splitlines()
    )
    assert manifest["wall_seconds"] > evaluated, "statistics, guesses and the front take time too"


def test_no_choice_reads_the_images_that_report(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    noise = torch.randint(0, 256, square_data.test.images.shape, dtype=torch.uint8)
    other = dataclasses.replace(
        square_data,
        test=dataclasses.replace(square_data.test, images=noise, labels=square_data.test.labels.flip(0)),
    )
    first = run(trained, square_data, tmp_path / "a")
    second = run(trained, other, tmp_path / "b")
    assert keys(first.path) == keys(second.path)
    assert [(r.key, r.search_accuracy) for r in first.rows] == [(r.key, r.search_accuracy) for r in second.rows]
    assert first.picked is not None
    assert second.picked is not None
    assert first.picked.index == second.picked.index
    assert [r.test_accuracy for r in first.rows] != [r.test_accuracy for r in second.rows]


def test_with_the_search_set_held_out_of_test_the_rest_of_test_only_reports(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    parts = split(square_data, search_from="test", search_size=60, calibration_size=45, seed=0)
    chosen = {image.numpy().tobytes() for image in parts.search.images}
    images = square_data.test.images.clone()
    for index, image in enumerate(images):
        if image.numpy().tobytes() not in chosen:
            images[index] = 255 - image
    other = dataclasses.replace(square_data, test=dataclasses.replace(square_data.test, images=images))
    first = run(trained, square_data, tmp_path / "a", search_from="test")
    second = run(trained, other, tmp_path / "b", search_from="test")
    assert [(r.key, r.search_accuracy) for r in first.rows] == [(r.key, r.search_accuracy) for r in second.rows]
    assert [r.test_accuracy for r in first.rows] != [r.test_accuracy for r in second.rows]


@pytest.mark.parametrize("algorithm", ["nsga2", "random"])
def test_a_run_in_two_parts_ends_like_one_in_a_single_part(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, algorithm: str
) -> None:
    whole = run(trained, square_data, tmp_path / "whole", algorithm=algorithm, generations=4)
    part = run(trained, square_data, tmp_path / "part", algorithm=algorithm, generations=2)
    options = {**SMALL, "algorithm": algorithm, "generations": 4}
    resumed = gaprune.search(trained, square_data, resume=part.path, **options)  # type: ignore[arg-type]
    assert (resumed.path / "front.csv").read_bytes() == (whole.path / "front.csv").read_bytes()
    assert keys(resumed.path) == keys(whole.path)


def test_a_finished_run_is_picked_from_again_without_evaluating(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(trained, square_data, tmp_path / "run")
    before = keys(first.path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the original was measured again")

    for module in ("gaprune.session.engine.measure", "gaprune.session.judging.measure"):
        monkeypatch.setattr(module, never)
    again = gaprune.search(trained, square_data, resume=first.path, **{**SMALL, "pick": "flops<=0.5"})  # type: ignore[arg-type]
    assert keys(again.path) == before
    assert again.picked == pick(first.rows, "flops<=0.5")


def test_what_may_not_change_on_resume_is_refused_and_shown(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    first = run(trained, square_data, tmp_path / "run", generations=1)
    with pytest.raises(GapruneError, match=r"population: 6 -> 8"):
        gaprune.search(trained, square_data, resume=first.path, **{**SMALL, "population": 8})  # type: ignore[arg-type]


def test_a_run_is_not_continued_with_other_weights(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    first = run(trained, square_data, tmp_path / "run", generations=1)
    with torch.no_grad():
        next(trained.parameters()).add_(1.0)
    with pytest.raises(RunError, match="other weights"):
        gaprune.search(trained, square_data, resume=first.path, **{**SMALL, "generations": 2})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"genes": "connections"},
        {"genes": "both"},
        {"genes": "both", "connection_groups": 2},
        {"round_to": 4},
        {"importance": "bn"},
        {"objectives": ("loss", "params")},
        {"objectives": ("accuracy", "flops", "size")},
    ],
)
def test_every_kind_of_genome_and_objective_comes_back_from_disk(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, options: dict[str, object]
) -> None:
    result = run(trained, square_data, tmp_path / "run", **options)
    images = square_data_search(square_data)
    for row in result.rows:
        found = measure(result.load(row), images, square_data.mean, square_data.std)
        assert found.accuracy == pytest.approx(row.search_accuracy, abs=1e-9)
        assert row.flops <= 1.0 * json.loads((result.path / "manifest.json").read_text())["original"]["flops"]


def test_the_callers_network_is_left_as_it_was(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    run(trained, square_data, tmp_path / "run", generations=1)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_callers_own_objective_is_searched(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    def depth(candidate: Candidate) -> float:
        return candidate.costs.params / candidate.original.params

    lean = gaprune.Objective("lean", "share of parameters", depth, depth)
    result = run(trained, square_data, tmp_path / "run", objectives=("accuracy", lean))
    assert all(row.objectives["lean"] == pytest.approx(row.params_share) for row in result.rows)


def test_a_candidate_that_fails_is_recorded_and_the_search_goes_on(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    def picky(candidate: Candidate) -> float:
        if candidate.costs.flops < 0.5 * candidate.original.flops:
            raise RuntimeError("too small for me")
        return candidate.costs.flops / candidate.original.flops

    objective = gaprune.Objective("picky", "fails below half the FLOPs", picky, picky)
    result = run(trained, square_data, tmp_path / "run", objectives=("accuracy", objective))
    lines = [json.loads(line) for line in (result.path / "evaluations.jsonl").read_text().splitlines()]
    failures = [line["failure"] for line in lines if line["failure"] is not None]
    assert failures
    assert set(failures) == {"RuntimeError: too small for me"}
    assert all(row.flops_share >= 0.5 for row in result.rows)


def test_a_search_in_which_everything_fails_says_why(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    def broken(candidate: Candidate) -> float:
        return float("nan")

    objective = gaprune.Objective("broken", "never a number", broken, broken)
    with pytest.raises(RunError, match=r"every candidate failed.*broken is not finite"):
        run(trained, square_data, tmp_path / "run", objectives=("accuracy", objective))


def test_a_network_with_another_head_is_refused(square_data: ImageData, tmp_path: Path) -> None:
    from tiny_factory import small_residual

    with pytest.raises(GapruneError, match=r"expected \(2, 3\): squares has 3 classes"):
        run(small_residual(5), square_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_objectives(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    first = run(trained, square_data, tmp_path / "run", objectives=("loss", "params"), generations=1)
    again = gaprune.search(trained, square_data, resume=first.path, generations=2, reporter=SILENT)
    assert all(set(row.objectives) == {"loss", "params"} for row in again.rows)
    with pytest.raises(GapruneError, match="cannot change on resume: objectives: loss,params -> accuracy,flops"):
        gaprune.search(
            trained, square_data, resume=first.path, objectives=("accuracy", "flops"), generations=3, reporter=SILENT
        )


def test_a_run_of_objects_is_resumed_with_objects_or_says_so_at_once(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(trained, square_data, tmp_path / "run", generations=1)
    assert main(["--resume", str(first.path)]) == 2
    captured = capsys.readouterr()
    assert "was given its model and data as objects: go on with gaprune.search(model, data, resume=" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(("name", "value"), [("checkpoint", "x.pt"), ("stem", "imagenet"), ("data_dir", "images")])
def test_options_that_objects_make_meaningless_are_refused(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(GapruneError, match=f"{name} has no meaning with (model|data) given as an object"):
        run(trained, square_data, tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_a_front_that_fvcore_counts_otherwise_is_not_handed_out(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaprune.front.members.count_flops", lambda network, image_shape: 1)
    with pytest.raises(RunError, match="fvcore counts 1 FLOPs, the formula"):
        run(trained, square_data, tmp_path / "run", generations=1)
    assert not (tmp_path / "run" / "front.csv").exists()


def test_a_full_disk_while_the_front_is_saved_is_one_line(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("gaprune.front.members.save_compact", full)
        with pytest.raises(RunError, match=r"cannot write in .*: No space left on device"):
            run(trained, square_data, tmp_path / "run", generations=1)
    again = gaprune.search(trained, square_data, resume=tmp_path / "run", reporter=SILENT)
    assert again.rows


def test_the_readmes_python_works_as_printed(trained: nn.Module, tmp_path: Path) -> None:
    import conftest

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    images, labels = conftest.squares(60, 0)
    test_images, test_labels = conftest.squares(40, 1)
    code = code.replace("generations=10", f'generations=2, output="{tmp_path}/run"').replace(
        "population=24", "population=6"
    )
    names = {"images": images, "labels": labels, "test_images": test_images, "test_labels": test_labels}
    scope: dict[str, object] = {**names, "my_trained_network": trained}
    exec(compile(code, "README.md", "exec"), scope)
    assert isinstance(scope["smaller"], nn.Module)
    assert isinstance(scope["again"], nn.Module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": "accuracy,flops"}, "objectives must be a list of names, got 'accuracy,flops'"),
        ({"popluation": 8}, "unknown option 'popluation': choose one of population"),
        ({"population": "8"}, "population must be a whole number, got '8'"),
    ],
)
def test_a_misspelt_call_is_told_what_would_be_right(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(GapruneError, match=message):
        run(trained, square_data, tmp_path / "run", **options)


def test_statistics_are_kept_with_the_run_and_not_collected_again_on_resume(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(trained, square_data, tmp_path / "run", generations=1)
    assert (result.path / "statistics.safetensors").is_file()
    monkeypatch.delattr("gaprune.session.engine.collect")
    monkeypatch.delattr("gaprune.session.engine.take_anchors")
    gaprune.search(trained, square_data, resume=result.path, generations=2, reporter=SILENT)
    whole = keys(result.path)
    monkeypatch.undo()
    assert keys(run(trained, square_data, tmp_path / "whole", generations=2).path) == whole


def test_polish_hands_out_the_best_way_of_each_member_and_says_what_it_added(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    lines: list[str] = []

    class Listening(type(SILENT)):  # type: ignore[misc]
        def say(self, text: str) -> None:
            lines.append(text)

    plain = run(trained, square_data, tmp_path / "run", compensation="none", recalibration="plain", fitness="accuracy")
    before = {row.key: row.search_accuracy for row in plain.rows}
    options = {"resume": plain.path, "polish": True, "reporter": Listening()}
    polished = gaprune.search(trained, square_data, **options)  # type: ignore[arg-type]
    assert all(row.search_accuracy >= before[row.key] for row in polished.rows)
    gains = []
    for row in polished.rows:
        metrics = json.loads((polished.path / row.path / "metrics.json").read_text())
        gains.append(metrics["polish_gain"])
        assert row.search_accuracy == pytest.approx(before[row.key] + metrics["polish_gain"])
        assert (metrics["made"] == "as cut") == (metrics["polish_gain"] == 0)
        found = measure(polished.load(row), square_data_search(square_data), square_data.mean, square_data.std)
        assert found.accuracy == pytest.approx(row.search_accuracy, abs=1e-9)
    assert max(gains) > 0
    assert [line for line in lines if line.startswith("polish brought ")]


def test_what_is_polished_is_judged_anew_by_every_objective(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    options = {"objectives": ("loss", "flops"), "compensation": "none", "polish": True}
    result = run(trained, square_data, tmp_path / "run", **options)
    images = square_data_search(square_data)
    losses = [row.objectives["loss"] for row in result.rows]
    assert losses == sorted(losses, reverse=True)
    for row in result.rows:
        found = measure(result.load(row), images, square_data.mean, square_data.std)
        assert found.loss == pytest.approx(row.objectives["loss"], rel=1e-5)


@pytest.mark.parametrize("compensation", ["taps", "channels", "none"])
def test_the_options_reach_the_engine(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, compensation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms: list[str] = []

    class Noted(Compensator):
        def __init__(self, *given: object, form: str, **options: object) -> None:
            forms.append(form)
            super().__init__(*given, form=form, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("gaprune.session.engine.Compensator", Noted)
    options = {"compensation": compensation, "importance": "taylor", "generations": 1}
    result = run(trained, square_data, tmp_path / "run", **options)
    assert forms == ([] if compensation == "none" else [compensation])
    with safe_open(result.path / "statistics.safetensors", framework="np") as kept:
        names = set(kept.keys())
    assert "taylor" in names
    assert any(name.startswith("patches/") for name in names) == (compensation == "taps")
    monkeypatch.delattr("gaprune.session.engine.neuron_taylor")
    again = gaprune.search(trained, square_data, resume=result.path, generations=2, reporter=SILENT)
    assert again.rows


def test_an_interrupted_resume_is_remembered_with_what_it_was_asked(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run(trained, square_data, tmp_path / "run", generations=1).path
    with monkeypatch.context() as broken:
        broken.setattr("gaprune.session.loop.evolve", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted, match=r"go on with: .*resume="):
            gaprune.search(trained, square_data, resume=path, generations=2, polish=True, reporter=SILENT)
    gaprune.search(trained, square_data, resume=path, reporter=SILENT)
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["generations_done"], manifest["polished"]) == (2, True)


def test_a_closed_output_is_no_full_disk(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    class Closed(type(SILENT)):  # type: ignore[misc]
        def task(self, name: str, total: int) -> object:
            if name == "search":
                raise BrokenPipeError
            return super().task(name, total)

    with pytest.raises(BrokenPipeError):
        run(trained, square_data, tmp_path / "run", reporter=Closed())


def test_the_front_that_is_handed_out_has_no_dominated_member(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    """Fitness in half precision ranks by other numbers than those that are reported."""
    result = run(trained, square_data, tmp_path / "run", precision="bfloat16", polish=True)
    divergence = [row.objectives["divergence"] for row in result.rows]
    assert divergence == sorted(set(divergence), reverse=True)
    polished = [json.loads((result.path / row.path / "metrics.json").read_text())["made"] for row in result.rows]
    names = [
        f"{row.key[:8]}{'-polished' * ('polished' in made)}" for row, made in zip(result.rows, polished, strict=True)
    ]
    assert [row.path for row in result.rows] == [f"front/{name}" for name in names]
    indices = {f"{index:02d}": name for index, name in enumerate(names)}
    assert {entry.name for entry in (result.path / "front").iterdir()} == {*names, *indices, "checksums.json"}
    for index, name in indices.items():
        assert (result.path / "front" / index).read_text() == f"{name}\n"
