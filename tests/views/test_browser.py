"""Reports in a real browser: drawn, without an error or a request, at every width, in light and dark, for everybody.

Needs Chromium, as distributions package it; Playwright steers it, axe judges what is said to screen readers.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gaprune.views.page import read_all, report_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def _starts(browser: str) -> bool:
    """Some distributions install a script of that name that only says where to get it."""
    return subprocess.run([browser, "--version"], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


BROWSER = next((found for name in BROWSERS if (found := shutil.which(name)) and _starts(found)), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

WIDTHS = (400, 700, 1000, 1600)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NAMES = ("one", "two", "unfinished")

FITS = """(width) => document.documentElement.scrollWidth <= width
  && [...document.querySelectorAll('.plot')].map((one) => one.querySelector('svg.main-svg'))
    .every((one) => one && width / 2 < one.getBoundingClientRect().width && one.getBoundingClientRect().width <= width)
"""
"""Whether nothing is wider than the page, and every figure fills it."""

INK = "getComputedStyle(document.querySelector('.plot text')).fill"


@pytest.fixture(scope="module")
def paths(finished: Path, other_seed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of one run, of two, and of one without a front."""
    folder = tmp_path_factory.mktemp("pages")
    bare = folder / "bare"
    bare.mkdir()
    for name in ("manifest.json", "evaluations.jsonl"):
        shutil.copy(finished / name, bare / name)
    found = {"one": [finished], "two": [finished, other_seed], "unfinished": [bare]}
    for name, runs in found.items():
        (folder / f"{name}.html").write_text(report_page(*read_all(runs)))
    return {name: folder / f"{name}.html" for name in found}


@pytest.fixture(scope="module")
def opened(paths: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """Every report opened and drawn once, for all tests; at the end nothing was complained of or asked for."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        context = browser.new_context()
        pages = {name: _open(context, path, said) for name, path in paths.items()}
        yield pages
        browser.close()
    assert said == [path.as_uri() for path in paths.values()]


def _open(context: Any, path: Path, said: list[str]) -> Any:
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    return page


@pytest.fixture(params=NAMES)
def page(request: pytest.FixtureRequest, opened: dict[str, Any]) -> Any:
    """Each report in turn, as it is first seen."""
    return _fresh(opened[request.param])


@pytest.fixture
def one(opened: dict[str, Any]) -> Any:
    """The report of one run, as it is first seen."""
    return _fresh(opened["one"])


def _fresh(page: Any) -> Any:
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1000, "height": 800})
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    return page


def until(page: Any, condition: str, argument: object = None, seconds: float = 20) -> None:
    """Ask until it holds; older versions of Playwright wait by ``eval``, which a report forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def test_it_is_drawn_at_every_width(page: Any) -> None:
    assert page.evaluate("document.querySelectorAll('.plot').length") >= 3
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        until(page, FITS, width)


def test_it_is_read_in_light_and_dark_and_follows_the_system(page: Any) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        bright = "> 200" if scheme == "dark" else "< 100"
        until(page, f"() => Number({INK}.match(/\\d+/)[0]) {bright}")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate(INK)
        assert _brightness(paper) > 200 if scheme == "light" else _brightness(paper) < 50
        assert abs(_brightness(paper) - _brightness(ink)) > 150


def test_axe_finds_no_fault(page: Any, request: pytest.FixtureRequest) -> None:
    """Colours are the same ones in every report, and their contrast takes axe long: looked at in one."""
    contrast = {"runOnly": ["color-contrast"]}
    without = {"color-contrast": {"enabled": False}}
    assert _faults(page, {"runOnly": RULES, "rules": without}) == []
    if not request.node.name.endswith("[one]"):
        return
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert _faults(page, contrast) == []
    paper = "getComputedStyle(document.body).backgroundColor"
    page.evaluate(f"document.documentElement.style.setProperty('--ink', {paper})")
    assert _faults(page, contrast) == ["color-contrast"], "axe sees what is spoilt"
    page.evaluate("document.documentElement.style.removeProperty('--ink')")


def test_hover_shows_the_numbers(one: Any) -> None:
    one.evaluate("Plotly.Fx.hover('figure-front', [{curveNumber: 1, pointNumber: 0}])")
    shown = one.locator("#figure-front .hoverlayer").text_content()
    assert "member 0 (" in shown
    assert "% of FLOPs" in shown


def test_axes_and_members_are_chosen_by_keyboard_and_kept(one: Any) -> None:
    one.keyboard.press("Tab")
    assert one.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = []
    for _ in range(24):
        one.keyboard.press("Tab")
        reached.append(one.evaluate("document.activeElement.id"))
    controls = ["axis-x", "axis-y", "log-x", "log-y", "member"]
    assert list(dict.fromkeys(name for name in reached if name in controls)) == controls
    one.focus("#axis-x")
    one.keyboard.type("para")
    one.focus("#log-x")
    one.keyboard.press("Space")
    layout = one.evaluate("document.querySelector('#figure-front').layout.xaxis")
    title, kind = layout["title"]["text"], layout["type"]
    assert (title, kind) == ("parameters left (%)", "log")
    series = one.evaluate("JSON.parse(document.getElementById('data').textContent).series")
    assert one.evaluate("document.querySelector('#figure-front').data.map((one) => one.x)") == [
        values["params"] for values in series
    ]
    assert "parameters left (%)" in one.get_attribute("#figure-front", "aria-label")
    one.select_option("#member", "0")
    assert "member 0 (" in one.get_attribute("#figure-widths", "aria-label")


def test_fronts_are_told_apart_without_colour(opened: dict[str, Any]) -> None:
    traces = opened["two"].evaluate(
        "document.querySelector('#figure-front').data.map((one) => ({name: one.name, mark: one.marker.symbol, "
        "dash: one.line && one.line.dash}))"
    )
    fronts = [(one["mark"], one["dash"]) for one in traces if one["name"].endswith("front, search images")]
    assert len(set(fronts)) == len(fronts) == 2
    assert len({mark for mark, _ in fronts}) == len({line for _, line in fronts}) == 2


def _faults(page: Any, asked: dict[str, Any]) -> list[str]:
    import axe_playwright_python

    if not page.evaluate("'axe' in globalThis"):
        page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("(asked) => axe.run(document, asked)", asked)
    return [one["id"] for one in found["violations"]]


def _brightness(colour: str) -> float:
    """Of ``rgb(1, 2, 3)``, 0 to 255."""
    red, green, blue = (float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue
