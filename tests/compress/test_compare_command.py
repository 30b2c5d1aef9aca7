from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resealing import resealed
from safetensors.torch import save_file

import gaprune
from gaprune.commands.compare import METHODS, CompareOptions, _chains, _usual, compare_as, default_methods, main
from gaprune.commands.search import main as search
from gaprune.compress import parse_chain
from gaprune.compress.ours import Front
from gaprune.compress.rows import Comparison
from gaprune.compress.storage import load_runner
from gaprune.data import ImageData
from gaprune.errors import ModelError, OptionError
from gaprune.progress import SILENT
from gaprune.runs import read_csv, write_csv

TESTS = Path(__file__).parents[1]
TINY = "--model tiny_factory:small_residual"
FAST = ["--device", "cpu", "--threads", "1", "--search-size", "15"]


@pytest.fixture
def arguments(
    square_folder: Path, trained: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.syspath_prepend(str(TESTS))
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    places = ["--data-dir", str(square_folder), "--cache-dir", str(tmp_path / "cache")]
    network = [*TINY.split(), "--checkpoint", str(tmp_path / "trained.safetensors")]
    return [*network, *places, *FAST]


@pytest.fixture
def run(arguments: list[str], tmp_path: Path) -> Path:
    fast = ["--population", "4", "--generations", "2", "--calibration-size", "30", "--statistics-size", "30"]
    assert search([*arguments, *fast, "--output", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def _no_data(*arguments: object) -> None:
    raise AssertionError("data was read")


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m gaprune.compare: error: ")
    return line


def test_one_command_makes_the_table_and_the_pictures(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    methods = "none,prune:l1:raw,prune:magnitude:raw+sparse,tucker:size=0.6"
    assert main([*arguments, "--methods", methods, "--epochs", "1", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "| prune:l1:raw |" in printed
    assert "rows: 4 of 4" in printed
    assert sorted(path.name for path in output.iterdir() if path.is_file() and path.name[0] != ".") == [
        "accuracy-size.png",
        "accuracy-time.png",
        "checksums.json",
        "manifest.json",
        "table.csv",
        "table.json",
        "table.md",
        "times.json",
    ]
    before = {file.name: file.read_text() for file in (output / "rows").iterdir()}
    more = [*methods.split(","), "distill:thin=0.5"]
    assert main(["--trust", "--resume", str(output), "--methods", "distill:thin=0.5,none"]) == 0
    rows = json.loads((output / "table.json").read_text())["rows"]
    kept = {name: (output / "rows" / name).read_text() for name in before}
    assert kept == before, "rows that are there stay, and are not made again"
    assert [row["chain"] for row in rows] == more
    assert all(f"| {chain} |" in (output / "table.md").read_text() for chain in more)
    assert [line.split(",")[0] for line in (output / "table.csv").read_text().splitlines()[1:]] == more
    assert json.loads((output / "manifest.json").read_text())["options"]["methods"] == more, (
        "another resume has them all"
    )


def test_a_chain_that_cannot_be_is_not_added_to_the_list(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    assert main([*arguments, "--methods", "none", "--output", str(output)]) == 0
    capsys.readouterr()
    before = (output / "manifest.json").read_text()
    assert main(["--trust", "--resume", str(output), "--quiet", "--log-level", "error"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert (output / "manifest.json").read_text() == before
    line = error_of(["--trust", "--resume", str(output), "--methods", "quantize:embeddings"], capsys)
    assert "applies to embeddings, and the network has none" in line
    assert (output / "manifest.json").read_text() == before
    fresh = tmp_path / "fresh"
    error_of([*arguments, "--methods", "quantize:embeddings", "--output", str(fresh)], capsys)
    assert not fresh.exists()


def test_members_of_a_run_stand_beside_the_others(run: Path, tmp_path: Path, arguments: list[str]) -> None:
    front = Front(run)
    smallest = front.spread(2)[0]
    methods = ("none", f"ours:{smallest}:raw", f"ours:{smallest}+tucker:size=0.8", f"distill:ours:{smallest}")
    options = CompareOptions.of(
        run=run, trust=True, methods=methods, epochs=2, device="cpu", threads=1, output=tmp_path / "table"
    )
    rows = {row.chain: row for row in compare_as(options)}
    original, raw, factored, distilled = (rows[chain] for chain in methods)
    member = next(row for row in front.rows if row.index == int(smallest))
    assert raw.metrics["accuracy"] == pytest.approx(member.test_accuracy)
    assert (raw.params, raw.flops) == (member.params, member.flops)
    assert raw.passes == 0
    assert distilled.params == raw.params < original.params
    assert distilled.passes == factored.passes == 2
    assert factored.params < raw.params
    manifest = json.loads((tmp_path / "table" / "manifest.json").read_text())
    assert manifest["options"]["model"] == "tiny_factory:small_residual", "taken from the run"
    (short,) = compare_as(options.but(methods=(methods[2],), epoch_images=30, output=tmp_path / "short"))
    images = manifest["data"]["splits"]["train"]["images"]
    assert short.passes == pytest.approx(2 * 30 / images, abs=1e-3), "passes are over all training images"


def test_members_of_another_front_are_not_added_to_a_table(
    run: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    fast = ["--device", "cpu", "--threads", "1"]
    assert main(["--trust", "--run", str(run), "--methods", "none,ours:00:raw", *fast, "--output", str(output)]) == 0
    moved = shutil.copytree(run, tmp_path / "moved")
    assert main(["--trust", "--resume", str(output), "--run", str(moved)]) == 0
    rows = read_csv(moved / "front.csv")
    write_csv([replace(row, key=row.key[::-1]) for row in rows], moved / "front.csv")
    capsys.readouterr()
    line = error_of(["--trust", "--resume", str(output), "--run", str(moved), "--methods", "ours:01:raw"], capsys)
    assert f"compares members of another front than that of {moved}" in line


def test_a_member_is_written_by_its_index_whatever_named_it(
    run: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    front, output = Front(run), tmp_path / "table"
    knee, picked = (f"{front.row(rule).index:02d}" for rule in ("knee", ""))
    assert front.canonical("ours:raw+quantize") == f"ours:{picked}:raw+quantize"
    assert front.canonical("distill:ours:knee+quantize") == f"distill:ours:{knee}+quantize"
    assert front.canonical("tucker:size=0.5+quantize") == "tucker:size=0.5+quantize"
    fast = ["--device", "cpu", "--threads", "1"]
    assert main(["--trust", "--run", str(run), "--methods", "none,ours:raw", *fast, "--output", str(output)]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    other = next(row.index for row in front.rows if row.index != int(picked))
    (run / "manifest.json").write_text(json.dumps({**manifest, "picked": other}))
    resealed(run)
    capsys.readouterr()
    assert main(["--trust", "--resume", str(output), "--methods", "ours:raw"]) == 0
    printed = capsys.readouterr().out
    assert f"| ours:{picked}:raw |" in printed, "what was measured stays what it was"
    assert f"| ours:{other:02d}:raw |" in printed


@pytest.mark.parametrize(("name", "value"), [("iterations", 2), ("round_epochs", 3)])
def test_a_run_that_trained_between_its_searches_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], name: str, value: int
) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["options"][name] = value
    (run / "manifest.json").write_text(json.dumps(manifest))
    resealed(run)
    assert "trained networks between its searches" in error_of(["--trust", "--run", str(run)], capsys)


def test_a_run_that_held_out_other_images_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(["--trust", "--run", str(run), "--methods", "none", "--seed", "1"], capsys)
    assert f"{run} held out other train and search images: compare with its --seed" in line


def test_another_machine_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "table"
    assert main([*arguments, "--methods", "none", "--output", str(output)]) == 0
    monkeypatch.setattr("gaprune.commands.compare.environment", lambda names: {"cpu": "another", "cuda_devices": []})
    capsys.readouterr()
    assert "hardware.cpu: " in error_of(["--trust", "--resume", str(output), "--methods", "onnx"], capsys)


def test_default_chains_can_be_and_are_written_once(run: Path) -> None:
    front = Front(run)
    texts = default_methods(front)
    assert len(set(texts)) == len(texts)
    more = {"ours": "gaprune.compress.ours:Ours"}
    assert [parse_chain(text, more, front).text for text in texts] == list(texts)
    assert default_methods(None) == METHODS


def test_chains_added_to_a_comparison_that_named_none_come_after_the_usual_ones(run: Path) -> None:
    front, named = Front(run), CompareOptions.of(methods=("none",))
    there = CompareOptions.of(run=run, trust=True)
    assert _usual(CompareOptions(), named) == METHODS
    assert _usual(CompareOptions(), there) == METHODS, "a run that is new brings what was typed alone"
    assert _usual(CompareOptions.of(run=Path("moved")), there) == default_methods(front)


def test_ctrl_c_prints_the_command_that_goes_on(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Comparison, chain: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "table"
    with monkeypatch.context() as patched:
        patched.setattr(Comparison, "row", interrupted)
        assert main([*arguments, "--methods", "none", "--output", str(output)]) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f"stopped; nothing is lost, go on with: python -m gaprune.compare --resume {output} {TINY}")
    assert main(["--trust", "--resume", str(output)]) == 0


def test_a_resume_that_is_stopped_early_is_typed_again_with_its_new_rows(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "table"
    assert main([*arguments, "--methods", "none", "--output", str(output)]) == 0
    monkeypatch.setattr("gaprune.commands.compare.load_images", interrupted)
    assert main(["--trust", "--resume", str(output), "--methods", "prune:l1:raw"]) == 130
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].split("go on with: ")[1])
    assert words[:3] == ["python", "-m", "gaprune.compare"]
    assert sorted(words[3:]) == sorted(["--trust", "--resume", str(output), "--methods", "prune:l1:raw"])


def test_a_resumed_comparison_keeps_the_threads_that_it_found(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = arguments.index("--threads")
    output, begun = tmp_path / "table", [*arguments[:at], *arguments[at + 2 :]]
    assert main([*begun, "--methods", "none", "--output", str(output)]) == 0
    made = json.loads((output / "manifest.json").read_text())
    assert made["options"]["threads"] == made["identity"]["threads"] == torch.get_num_threads()
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    assert main(["--trust", "--resume", str(output)]) == 0
    assert main(["--trust", "--resume", str(output), "--threads", str(made["threads"])]) == 0
    assert "cannot change on resume: threads" in error_of(
        ["--trust", "--resume", str(output), "--threads", "98"], capsys
    )


def test_a_run_of_objects_is_refused_on_resume_too(
    arguments: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    assert main([*arguments, "--methods", "none", "--output", str(output)]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "objects": {"model": True, "data": False}}))
    resealed(run)
    line = error_of(["--trust", "--resume", str(output), "--run", str(run), "--methods", "ours:00"], capsys)
    assert f'was given its model as objects: go on with gaprune.compare(model, run="{run}")' in line


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["--model", "vgg17"], "unknown model 'vgg17': choose one of vgg16, resnet18"),
        (["--methods", "shrink"], "unknown method 'shrink': choose one of none, quantize, tucker, distill, prune"),
        (["--methods", "none,quantize+tucker"], "tucker cannot follow quantize"),
        (["--methods", "distill:gru"], "unknown student 'gru'"),
        (["--methods", "distill:thin=2"], "thin must be a share above 0 and up to 1, got 'thin=2'"),
        (["--methods", "distill:nowhere:network"], "nowhere:network cannot be imported: ModuleNotFoundError"),
        (["--methods", "distill:ours:03+tucker"], "the student ours:03 is a front member: give --run RUN"),
        (["--methods", "ours:03"], "ours:03 is a member of a search's front: give --run RUN"),
        (["--methods", "quantize:embeddings"], "applies to embeddings, and the network has none"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--threads", "0"], "threads must be at least 1, got 0"),
        (["--run", "nowhere"], "nowhere is not a run directory: there is no such directory"),
        (["--search-from", "where"], "unknown search-from 'where': choose one of auto, train, test"),
    ],
)
def test_a_wrong_option_is_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], expected: str
) -> None:
    output = tmp_path / "table"
    assert expected in error_of([*arguments, "--output", str(output), *extra], capsys)
    assert not (output / "works").exists()


@pytest.mark.parametrize("student", ["thin=0.5", "resnet18", "tiny_factory:tiny_cnn"])
def test_a_student_that_there_is_is_not_refused(arguments: list[str], student: str) -> None:
    (chain,) = _chains(CompareOptions.of(methods=(f"distill:{student}",)), None)
    assert chain.text == f"distill:{student}"


def test_a_wrong_student_is_told_before_data_is_read(
    arguments: list[str], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaprune.commands.compare.load_images", _no_data)
    assert "unknown student 'gru'" in error_of([*arguments, "--methods", "none,distill:gru"], capsys)
    line = error_of(["--trust", "--run", str(run), "--methods", "distill:ours:99"], capsys)
    assert "has no member 99" in line


def test_a_run_of_other_weights_is_refused(
    run: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: torch.nn.Module
) -> None:
    other = {name: tensor + 0 for name, tensor in trained.state_dict().items()}
    other["head.bias"] += 1
    save_file(other, tmp_path / "other.safetensors")
    given = ["--trust", "--run", str(run), "--checkpoint", str(tmp_path / "other.safetensors"), "--methods", "none"]
    assert "searched another network" in error_of(given, capsys)


def test_resume_goes_on_with_a_comparison_only_and_as_it_was_begun(
    run: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is no comparison" in error_of(["--trust", "--resume", str(run)], capsys)
    nowhere = tmp_path / "nowhere"
    assert f"{nowhere} is not a run directory: there is no such" in error_of([f"--resume={nowhere}"], capsys)
    output = tmp_path / "table"
    assert main([*arguments, "--methods", "none", "--output", str(output)]) == 0
    capsys.readouterr()
    line = error_of(["--trust", "--resume", str(output), "--epochs", "7"], capsys)
    assert "cannot change on resume: epochs: 10 -> 7" in line
    assert f"{output} already holds a run" in error_of(
        [*arguments, "--methods", "none", "--output", str(output)], capsys
    )


def test_a_member_that_is_not_there_is_told_with_those_that_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    indices = [row.index for row in Front(run).rows]
    line = error_of(["--trust", "--run", str(run), "--methods", "ours:99"], capsys)
    assert f"has no member 99: choose {min(indices)} to {max(indices)}" in line


def test_from_python_a_callers_own_network_and_data_are_compared(
    trained: torch.nn.Module, square_data: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast: dict[str, Any] = {"device": "cpu", "threads": 1, "search_size": 15, "reporter": SILENT}
    searched = gaprune.search(
        trained, square_data, output=tmp_path / "run", population=4, generations=2, calibration_size=30, **fast
    )
    member = searched.rows[0]
    fast |= {"epochs": 1, "run": searched.path}
    methods = ["none", f"ours:{member.index}:raw", "distill:thin=0.5", "prune:l1:raw"]
    output = tmp_path / "table"
    rows = gaprune.compare(trained, square_data, methods=methods, output=output, **fast)
    assert [row.chain for row in rows][::2] == methods[::2]
    original, own, thin, _ = rows
    assert own.metrics["accuracy"] == pytest.approx(member.test_accuracy)
    assert thin.params < original.params
    pixels = torch.rand(2, *square_data.image_shape)
    loaded: Any = load_runner(output / original.path, trained)
    assert torch.equal(loaded.model(pixels), trained.eval()(pixels))
    with pytest.raises(ModelError, match="was given as an object: give model=network"):
        load_runner(output / original.path)
    more = gaprune.compare(trained, square_data, resume=output, methods=["tucker:size=0.6:raw"], reporter=SILENT)
    assert [row.chain for row in more] == [*(row.chain for row in rows), "tucker:size=0.6:raw"]
    wanted = f'was given its model and data as objects: go on with gaprune.compare(model, data, resume="{output}")'
    assert wanted in error_of(["--trust", "--resume", str(output)], capsys)
    wanted = f'go on with gaprune.compare(model, data, run="{searched.path}")'
    assert wanted in error_of(["--run", str(searched.path)], capsys)
    with pytest.raises(OptionError, match=r"was given its data as objects: go on with gaprune.compare\(data, run="):
        gaprune.compare(trained, "digits", **fast)


def test_from_python_a_run_that_was_made_with_names_needs_no_objects(run: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"methods": ["none"], "device": "cpu", "reporter": SILENT}
    with pytest.raises(OptionError, match="nothing is imported because a file says so"):
        gaprune.compare(run=run, output=tmp_path / "table", **more)
    (row,) = gaprune.compare(run=run, trust=True, output=tmp_path / "table", **more)
    assert row.chain == "none"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "compare needs a network and its data, or run= or resume= that was made with names"),
        ((torch.nn.ReLU, "digits"), "model must be a trained network, .*; got the class ReLU"),
        ((torch.nn.ReLU(), None), "data must be gaprune.image_data"),
        ((torch.nn.ReLU(), {"a": 1}), "data must be gaprune.image_data"),
    ],
)
def test_from_python_what_is_no_network_or_data_is_one_line(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        gaprune.compare(*given)
