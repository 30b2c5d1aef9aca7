"""The front door: a README that is read in two minutes, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "experiments/*.md", "gaprune/weights/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(page: Path) -> list[str]:
    """Links of a page to files, without those inside code."""
    found = LINK.findall(CODE.sub("", (ROOT / page).read_text(encoding="utf-8")))
    return [link for link in found if "://" not in link and not link.startswith("#")]


def slugs(page: Path) -> set[str]:
    """The anchors that the headings of a page have."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_narrow() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 120] == []


def test_the_readme_shows_a_picture_python_commands_and_results_on_its_first_pages() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("![") for line in lines[:12])
    start, end = lines.index("```python"), lines.index("```")
    assert start < 20
    assert end - start <= 12
    for command in ("pip install -e . && python -m gaprune.search --model vgg16", 'pip install -e ".[test]" && pytest'):
        assert any(line.startswith(command) for line in lines[:50])


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    folder = (ROOT / page).parent
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = folder / name
        assert target.exists(), f"{page} links to {link}"
        assert not anchor or anchor in slugs(target), f"{page} links to {link}"


def test_pages_that_the_code_names_exist() -> None:
    sources = [path for room in ("gaprune", "benchmarks", "experiments") for path in (ROOT / room).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"docs/[\w/-]+\.(?:md|png)", path.read_text("utf-8"))}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
