"""What the site needs beyond ``docs/``: pictures and reports of committed results, and links that leave the folder.

Pages link to files of the repository as a reader of the repository would (``../../benchmarks/results/NAME.png``).
The site has no such places: pictures are taken into it, a committed run is shown by its report, which is made here, and
other files are named instead of linked.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURES = ("benchmarks/results", "experiments/results")
PLACE = "results/figures"
RUNS = "experiments/results/runs"
"""Runs without their weights, for their reports."""
REPORTS = "results/reports"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Take the pictures of the results, and the reports of the runs, into the site."""
    from mkdocs.structure.files import File

    for folder in PICTURES:
        for picture in sorted((ROOT / folder).glob("*.png")):
            files.append(File.generated(config, f"{PLACE}/{picture.name}", abs_src_path=str(picture)))
    for name in committed_runs():
        files.append(File.generated(config, f"{REPORTS}/{name}.html", content=report_of(name)))
    return files


def committed_runs() -> list[str]:
    """The names of the runs that reports are made of."""
    return sorted(manifest.parent.name for manifest in (ROOT / RUNS).glob("*/manifest.json"))


def report_of(name: str) -> str:
    """The report of a committed run, which names its place in the repository, wherever that lies."""
    from gaprune.views import read_record, report_page

    return report_page([dataclasses.replace(read_record(ROOT / RUNS / name), path=Path(RUNS, name))])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave ``docs/`` to what the site has."""
    return outside_links(markdown, page.file.src_uri)


def outside_links(markdown: str, page: str) -> str:
    """The page with every link out of ``docs/`` turned into a picture or report of the site, or a plain name.

    Args:
        markdown: the page's text.
        page: its path within ``docs/``, such as ``results/oneshot.md``.
    """
    folder = posixpath.dirname(page)

    def turned(match: re.Match[str]) -> str:
        picture, text, target, _ = match.groups()
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        if path.startswith("docs/"):
            return match[0]
        if posixpath.dirname(path) == RUNS and posixpath.basename(path) in committed_runs():
            return f"[{text}]({posixpath.relpath(f'{REPORTS}/{posixpath.basename(path)}.html', folder or '.')})"
        if picture:
            there = posixpath.relpath(f"{PLACE}/{posixpath.basename(path)}", folder or ".")
            return f"![{text}]({there})"
        return text if path in text else f"{text} (`{path}`)"

    return LINK.sub(turned, markdown)
