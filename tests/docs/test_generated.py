"""Pages that are written by ``python docs/generate.py`` are as it would write them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "docs/generate.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_writing_the_pages_again_would_change_nothing() -> None:
    made = generate("--check")
    assert (made.returncode, made.stdout) == (0, ""), made.stdout + made.stderr


def test_every_committed_result_stands_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    files = [file for room in ("benchmarks", "experiments") for file in (ROOT / room / "results").glob("*.json")]
    assert files
    assert [file.name for file in files if f"/{file.name}" not in pages] == []


def test_every_page_has_its_place_on_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page for page in (ROOT / "docs").rglob("*.md") if "results_text" not in page.parts]
    assert [str(page) for page in pages if f" {page.relative_to(ROOT / 'docs')}\n" not in nav] == []


def test_the_python_reference_has_every_public_name() -> None:
    import gaprune

    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    assert sorted(name.rpartition(".")[2] for name in documented) == sorted(
        [*gaprune.__all__, "Generation", "Reporter"]
    )
    assert len(gaprune.__all__) <= 15


def test_links_out_of_the_docs_are_pictures_or_names_on_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from hooks import outside_links

    text = "![one](../../benchmarks/results/a.png) [how](../../experiments/GPU.md) [in](../index.md) ![b](../b.png)"
    turned = "![one](figures/a.png) how (`experiments/GPU.md`) [in](../index.md) ![b](../b.png)"
    assert outside_links(text, "results/x.md") == turned
