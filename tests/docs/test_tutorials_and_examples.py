"""What the tutorials and the examples show works as printed, with smaller numbers where they take long."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import matplotlib as mpl
import pytest
from forked import run_script
from torch import nn

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def blocks(page: str) -> list[str]:
    """The Python of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_all(codes: list[str], name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Run pieces of code one after the other in one scope and an empty folder."""
    monkeypatch.chdir(folder)
    scope: dict[str, object] = {"__name__": "shown"}
    for number, code in enumerate(codes):
        exec(compile(code, f"{name}, block {number}", "exec"), scope)
    return scope


@pytest.mark.slow
@pytest.mark.parametrize("page", ["first-search", "your-own-network"])
def test_the_tutorials_python_works_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run_all(blocks(f"tutorials/{page}.md"), page, tmp_path, monkeypatch)
    assert isinstance(scope["smaller"], nn.Module)


@pytest.mark.slow
def test_a_member_is_shipped_as_the_how_to_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    scope = run_all(blocks("how-to/deploy.md"), "deploy", tmp_path, monkeypatch)
    assert {path.suffix for path in (tmp_path / "runs" / "digits" / "exported").iterdir()} == {".onnx", ".pt2"}
    assert len(scope["logits"]) == 5  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif("GAPRUNE_IMAGENETTE" not in os.environ, reason="GAPRUNE_IMAGENETTE names no copy of Imagenette")
def test_the_tutorial_on_photographs_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPRUNE_CACHE", str(tmp_path / "cache"))
    some_of(Path(os.environ["GAPRUNE_IMAGENETTE"]), tmp_path / "imagenette", 16)
    codes = blocks("tutorials/photographs.md")
    for printed, shorter in {
        "image_size=160": "image_size=96",
        "search_size=500": "search_size=60",
        "statistics_size=1024": "statistics_size=64, calibration_size=64",
        "population=12": "population=4",
        "generations=4": "generations=1",
        "epochs=2, epoch_images=2000": "epochs=1, epoch_images=32",
    }.items():
        assert any(printed in code for code in codes)
        codes = [code.replace(printed, shorter) for code in codes]
    scope = run_all(codes, "photographs", tmp_path, monkeypatch)
    assert isinstance(scope["smaller"], nn.Module)


def some_of(whole: Path, part: Path, each: int) -> None:
    """A folder of the first photographs of each class of another."""
    for folder in sorted(whole.glob("*/*")):
        here = part / folder.relative_to(whole)
        here.mkdir(parents=True)
        for photograph in sorted(folder.iterdir())[:each]:
            (here / photograph.name).symlink_to(photograph)


def test_the_how_tos_python_is_python() -> None:
    for page in sorted((ROOT / "docs" / "how-to").glob("*.md")):
        for code in blocks(f"how-to/{page.name}"):
            compile(code, page.name, "exec")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((EXAMPLES / "first_search.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    codes = ["".join(cell["source"]) for cell in cells]
    codes = [code.replace("= 16, 8, ", "= 6, 2, ").replace("epochs = 10", "epochs = 4") for code in codes]
    mpl.use("agg")
    scope = run_all(codes, "first_search.ipynb", tmp_path, monkeypatch)
    assert isinstance(scope["smaller"], nn.Module)


def example(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints; it must end well."""
    made = run_script(EXAMPLES / name, *arguments, cwd=folder, env={"GAPRUNE_CACHE": str(folder / "cache")})
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.mark.slow
def test_a_network_is_searched_fine_tuned_and_loaded(tmp_path: Path) -> None:
    searched = example("own_network.py", tmp_path, "--population", "6", "--generations", "2")
    assert "of the FLOPs" in searched
    assert "parameters" in searched.splitlines()[-2]
    assert "members: 1 of 1" in example("finetune_member.py", tmp_path, "runs/example", "--epochs", "1")
    assert "of all test digits" in example("load_member.py", tmp_path, "runs/example", "--pick", "flops<=0.5")


@pytest.mark.slow
def test_a_segmenter_is_searched_by_its_mean_iou(tmp_path: Path) -> None:
    printed = example("own_task.py", tmp_path, "--steps", "8", "--population", "4", "--generations", "2")
    assert "mean IoU search" in printed
    assert "mean IoU on test pictures: original 0." in printed


@pytest.mark.slow
def test_methods_are_compared(tmp_path: Path) -> None:
    printed = example("compare_methods.py", tmp_path, "--methods", "none,prune:l1:keep=0.5:raw", "--threads", "1")
    assert "prune:l1:keep=0.5:raw" in printed
    assert (tmp_path / "comparisons" / "example" / "table.md").exists()


def test_every_example_is_listed_and_run() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")
    for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")):
        assert path.name in listed
        assert path.name in here or path.name == "digits_network.py"
