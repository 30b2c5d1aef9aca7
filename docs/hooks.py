"""What the site needs beyond ``docs/``: pictures of committed results, and links that leave the folder.

Pages link to files of the repository as a reader of the repository would (``../../benchmarks/results/NAME.png``).
The site has no such places: pictures are taken into it, and other files are named instead of linked.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURES = ("benchmarks/results", "experiments/results")
PLACE = "results/figures"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Take the pictures of the results into the site."""
    from mkdocs.structure.files import File

    for folder in PICTURES:
        for picture in sorted((ROOT / folder).glob("*.png")):
            files.append(File.generated(config, f"{PLACE}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave ``docs/`` to what the site has."""
    return outside_links(markdown, page.file.src_uri)


def outside_links(markdown: str, page: str) -> str:
    """The page with every link out of ``docs/`` turned into a picture of the site or a plain name.

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
        if picture:
            there = posixpath.relpath(f"{PLACE}/{posixpath.basename(path)}", folder or ".")
            return f"![{text}]({there})"
        return text if path in text else f"{text} (`{path}`)"

    return LINK.sub(turned, markdown)
