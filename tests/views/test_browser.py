"""Reports in a real browser: drawn, without an error or a request, at every width, in light and dark, for everybody.

Needs Chromium, as distributions package it; Playwright steers it, axe judges what is said to screen readers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gaprune.views.page import read_all, report_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

WIDTHS = (400, 700, 1000, 1600)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

Open = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(finished: Path, other_seed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of one run, of two, and of one without a front."""
    folder = tmp_path_factory.mktemp("pages")
    bare = folder / "bare"
    bare.mkdir()
    for name in ("manifest.json", "evaluations.jsonl"):
        shutil.copy(finished / name, bare / name)
    found = {"one": [finished], "two": [finished, other_seed], "unfinished": [bare]}
    for name, paths in found.items():
        (folder / f"{name}.html").write_text(report_page(*read_all(paths)))
    return {name: folder / f"{name}.html" for name in found}


@pytest.fixture
def opened(browser: Any) -> Open:
    """Opens a page, waits until it is drawn, and at the end sees that nothing was complained of or asked for."""

    @contextmanager
    def open_page(path: Path, width: int = 1000, scheme: str = "light", **options: Any) -> Iterator[Any]:
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme, **options)
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
        yield page
        assert said == [path.as_uri()]
        context.close()

    return open_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two", "unfinished"])
def test_it_is_drawn_at_every_width_without_an_error_or_a_request(
    name: str, scheme: str, pages: dict[str, Path], opened: Open
) -> None:
    with opened(pages[name], scheme=scheme) as page:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)
            figures = page.locator(".plot svg.main-svg:first-child")
            assert figures.count() == page.locator(".plot").count() >= 3
            for place in range(figures.count()):
                box = figures.nth(place).bounding_box()
                assert box is not None
                assert width / 2 < box["width"] <= width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('.plot text')).fill")
        assert _brightness(paper) > 200 if scheme == "light" else _brightness(paper) < 50
        assert abs(_brightness(paper) - _brightness(ink)) > 150


def test_it_follows_the_system_from_light_to_dark(pages: dict[str, Path], opened: Open) -> None:
    with opened(pages["one"]) as page:
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "Number(getComputedStyle(document.querySelector('.plot .xtick text')).fill.match(/\\d+/)[0]) > 200"
        )


def test_axe_finds_no_fault(pages: dict[str, Path], opened: Open) -> None:
    with opened(pages["one"], bypass_csp=True) as page:
        assert _faults(page, {"runOnly": RULES}) == []
        page.emulate_media(color_scheme="dark")
        contrast = {"runOnly": ["color-contrast"]}
        assert _faults(page, contrast) == []
        page.evaluate(
            "document.documentElement.style.setProperty('--ink', getComputedStyle(document.body).backgroundColor)"
        )
        assert _faults(page, contrast) == ["color-contrast"], "axe sees what is spoilt"


@pytest.mark.parametrize("name", ["two", "unfinished"])
def test_everything_has_a_name_where_runs_are_several_or_unfinished(
    name: str, pages: dict[str, Path], opened: Open
) -> None:
    with opened(pages[name], bypass_csp=True) as page:
        without = {"color-contrast": {"enabled": False}}
        assert _faults(page, {"runOnly": RULES, "rules": without}) == []


def test_axes_and_members_are_chosen_by_keyboard_and_kept(pages: dict[str, Path], opened: Open) -> None:
    with opened(pages["one"]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        reached = []
        for _ in range(24):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        controls = ["axis-x", "axis-y", "log-x", "log-y", "member"]
        assert list(dict.fromkeys(one for one in reached if one in controls)) == controls
        page.focus("#axis-x")
        page.keyboard.type("para")
        page.focus("#log-x")
        page.keyboard.press("Space")
        layout = page.evaluate("document.querySelector('#figure-front').layout.xaxis")
        title, kind = layout["title"]["text"], layout["type"]
        assert (title, kind) == ("parameters left (%)", "log")
        series = page.evaluate("JSON.parse(document.getElementById('data').textContent).series")
        assert page.evaluate("document.querySelector('#figure-front').data.map((one) => one.x)") == [
            one["params"] for one in series
        ]
        assert "parameters left (%)" in page.get_attribute("#figure-front", "aria-label")
        page.select_option("#member", "0")
        assert "member 0 (" in page.get_attribute("#figure-widths", "aria-label")


def test_hover_shows_the_numbers(pages: dict[str, Path], opened: Open) -> None:
    with opened(pages["one"]) as page:
        page.evaluate("Plotly.Fx.hover('figure-front', [{curveNumber: 1, pointNumber: 0}])")
        shown = page.locator("#figure-front .hoverlayer").text_content()
        assert "member 0 (" in shown
        assert "% of FLOPs" in shown


def test_fronts_are_told_apart_without_colour(pages: dict[str, Path], opened: Open) -> None:
    with opened(pages["two"]) as page:
        traces = page.evaluate("document.querySelector('#figure-front').data.map((one) => ({...one}))")
        marks = [(one["name"], one["marker"]["symbol"], one.get("line", {}).get("dash")) for one in traces]
        fronts = [tuple(rest) for name, *rest in marks if name.endswith("front, search images")]
        assert len(set(fronts)) == len(fronts) == 2
        assert len({mark for mark, _ in fronts}) == len({line for _, line in fronts}) == 2


def _faults(page: Any, asked: dict[str, Any]) -> list[str]:
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("(asked) => axe.run(document, asked)", asked)
    return [one["id"] for one in found["violations"]]


def _brightness(colour: str) -> float:
    """Of ``rgb(1, 2, 3)``, 0 to 255."""
    red, green, blue = (float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue
