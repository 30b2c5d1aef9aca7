"""Write the pages that come from the code and from the committed results; ``--check`` says which are out of date.

    python docs/generate.py            # writes docs/reference/options.md, docs/results/*.md, the README's table
    python docs/generate.py --check    # exit status 1, and the names, where writing would change something

The text above the tables of a results page is ``docs/results_text/NAME.md``; the numbers come from the JSON files in
``benchmarks/results/`` and ``experiments/results/``, and from the Markdown that the scripts wrote beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from results import GENERATED, index_page, networks_page, readme_table, results_page, results_pages
from tables import table

from gaprune.options.fields import Entry, entries

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
OPTIONS = ROOT / "docs" / "reference" / "options.md"
RELIABILITY = ROOT / "docs" / "explanation" / "reliability.md"
FAULTS = ROOT / "docs" / "explanation" / "faults.md"
COUNTS = ROOT / "tests" / "faults" / "counts.json"
KILLS = ROOT / "tests" / "faults" / "kills.json"
COUNTS_START, COUNTS_END = "<!-- counts: python docs/generate.py -->\n", "<!-- end of counts -->\n"
START, END = "<!-- results: python docs/generate.py -->\n", "<!-- end of results -->\n"

KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "switch",
    Path: "path",
    tuple[str, ...]: "texts, separated by commas",
    tuple[float, ...]: "numbers, separated by commas",
    tuple[Path, ...]: "paths",
}


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/generate.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in pages() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"out of date: {path.relative_to(ROOT)} (run python docs/generate.py)")
        return int(bool(stale))
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
    print(f"{len(stale)} pages changed")
    return 0


def pages() -> Iterator[tuple[Path, str]]:
    """Each generated file with its text."""
    yield OPTIONS, options_page()
    yield from keyword_modules()
    folder = ROOT / "docs" / "results"
    yield folder / "index.md", index_page()
    for name in results_pages():
        yield folder / f"{name}.md", results_page(name)
    yield ROOT / "docs" / "reference" / "networks.md", networks_page()
    yield README, with_table(README.read_text(encoding="utf-8"))
    yield RELIABILITY, with_damages(RELIABILITY.read_text(encoding="utf-8"))
    yield FAULTS, with_kills(FAULTS.read_text(encoding="utf-8"))


def with_table(readme: str) -> str:
    """The README with its table of results as the committed files have it."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{readme_table()}{END}{after}"


def with_damages(page: str) -> str:
    """The page on reliability with the counts that the long suite has committed."""
    counts = json.loads(COUNTS.read_text(encoding="utf-8"))
    header = ("kind of file", "damages", "through commands as well", "unnoticed")
    return _with_counts(
        page, header, [(kind, one["cases"], one["through commands"], one["unnoticed"]) for kind, one in counts.items()]
    )


def with_kills(page: str) -> str:
    """The page on faults with the kills that the long suite has committed."""
    counts = json.loads(KILLS.read_text(encoding="utf-8"))
    return _with_counts(
        page, ("kind of work", "kills", "runs"), [(kind, one["kills"], one["runs"]) for kind, one in counts.items()]
    )


def _with_counts(page: str, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """The page with a table of counts between its marks, and their sums below."""
    before, _, rest = page.partition(COUNTS_START)
    _, _, after = rest.partition(COUNTS_END)
    total = ("all", *(sum(row[column] for row in rows) for column in range(1, len(header))))
    return f"{before}{COUNTS_START}{table(header, [*rows, total])}{COUNTS_END}{after}"


def options_page() -> str:
    """Every option of every command, from the dataclasses that the commands are made of."""
    parts = [
        "# Options",
        GENERATED,
        "From Python an option has the same name with underscores: `--max-flops 0.5` is `max_flops=0.5` in\n"
        "`gaprune.search(...)` and `gaprune.finetune(...)`. `--help` prints the same lists. A switch is given as\n"
        "`--name`, and taken back as `--no-name`. Every command also takes `--config FILE` and `--write-config FILE`:\n"
        "[options in a file](../how-to/options-file.md), in the groups of this page.",
    ]
    for command, options in commands():
        header = ("option", "value", "default", "meaning")
        parts += [f"## {command}", str(options.__doc__)]
        for title, found in by_group(options):
            parts += [] if title is None else [f"### {title[0].upper()}{title[1:]}"]
            parts.append(table(header, rows(found)))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def commands() -> tuple[tuple[str, type[Any]], ...]:
    """Each command with the dataclass of its options."""
    from gaprune.options import (
        CompareOptions,
        ExportOptions,
        FinetuneOptions,
        ReportOptions,
        SearchOptions,
        StatusOptions,
        TrainOptions,
    )
    from gaprune.text.options import TextOptions, TextSearchOptions

    return (
        ("python -m gaprune.search", SearchOptions),
        ("python -m gaprune.search --model bert", TextSearchOptions),
        ("python -m gaprune.finetune RUN", FinetuneOptions),
        ("python -m gaprune.train", TrainOptions),
        ("python -m gaprune.report RUN...", ReportOptions),
        ("python -m gaprune.status RUN", StatusOptions),
        ("python -m gaprune.export RUN", ExportOptions),
        ("python -m gaprune.compare", CompareOptions),
        ("python -m gaprune.compare --model bert", TextOptions),
    )


def keyword_modules() -> Iterator[tuple[Path, str]]:
    """The types of the keyword arguments of ``gaprune.search`` and its sisters."""
    from gaprune.options import CompareOptions, ExportOptions, FinetuneOptions, SearchOptions

    package = ROOT / "gaprune"
    search = keywords("gaprune.search", "SearchKeywords", SearchOptions, ("model", "data", "objectives"))
    finetune = keywords("gaprune.finetune", "FinetuneKeywords", FinetuneOptions, ("run", "model"))
    export = keywords("gaprune.export", "ExportKeywords", ExportOptions, ("run", "model"))
    yield package / "options" / "export_keywords.py", export
    yield package / "options" / "search_keywords.py", search
    yield package / "options" / "finetune_keywords.py", finetune
    compare = keywords("gaprune.compare", "CompareKeywords", CompareOptions, ("model", "data"))
    yield package / "options" / "compare_keywords.py", compare


def keywords(function: str, name: str, options: type[Any], but: tuple[str, ...]) -> str:
    """A module with a ``TypedDict`` of options by their flat names, as a caller may give them."""
    from gaprune.options import choices

    taken = {
        one: str(entry.field.type).replace("float", "float | str" if entry.units else "float")
        for one, entry in entries(options).items()
        if one not in but
    }
    lines = [f"    {one}: {as_argument(annotation)}" for one, annotation in taken.items()]
    kinds = {kind for annotation in taken.values() for kind in annotation.split(" | ")}
    used = sorted(kind for kind in kinds if hasattr(choices, kind))
    imports = ["from typing import TypedDict"]
    if any("Path" in line for line in lines):
        imports.insert(0, "from pathlib import Path")
    if any("Sequence" in line for line in lines):
        imports.insert(0, "from collections.abc import Sequence")
    names = ", ".join(used)
    words = f"from gaprune.options.choices import {names}"
    if len(words) > 120:
        words = "\n".join(("from gaprune.options.choices import (", *(f"    {one}," for one in used), ")"))
    head = f'"""Keyword arguments of ``{function}``, written by ``python docs/generate.py`` from the options."""'
    body = (f"class {name}(TypedDict, total=False):", f'    """Options of ``{function}``, by name."""', "", *lines)
    future = "from __future__ import annotations"
    return "\n".join((head, "", future, "", *imports, "", words, "", "", *body)) + "\n"


def as_argument(annotation: str) -> str:
    """A field's type as a caller may give it: a path as text, numbers in any sequence, or one alone."""
    numbers = annotation.replace("tuple[float, ...]", "Sequence[float] | float")
    found = numbers.replace("tuple[str, ...]", "Sequence[str]").replace("Path", "Path | str")
    return found.replace(" | None", "") + " | None" if " | None" in found else found  # None comes last


def by_group(options: type[Any]) -> Iterator[tuple[str | None, list[Entry]]]:
    """A command's options, those of a group together, with what it is about."""
    for title, found in groupby(entries(options).values(), key=lambda entry: entry.title):
        yield title, list(found)


def rows(options: Iterable[Entry]) -> Iterator[tuple[str, str, str, str]]:
    """One row an option: how it is typed, what it takes, its default, what it does."""
    for entry in options:
        name = f"`{entry.field.metadata['metavar']}`" if entry.place else f"`{entry.flag}`"
        unnamed = [word for word in entry.choices if word not in entry.help]
        meaning = f"{entry.help}: {', '.join(entry.choices)}" if unnamed else entry.help
        yield name, KINDS[entry.kind], shown(entry.field.default), meaning


def shown(default: Any) -> str:
    """A default as one would type it."""
    if default is dataclasses.MISSING:
        return "must be given"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{default}`"


if __name__ == "__main__":
    raise SystemExit(main())
