"""Write the pages that come from the code and from the committed results; ``--check`` says which are out of date.

    python docs/generate.py            # writes docs/reference/options.md, docs/results/*.md, the README's table
    python docs/generate.py --check    # exit status 1, and the names, where writing would change something

The text above the tables of a results page is ``docs/results_text/NAME.md``; the numbers come from the JSON files in
``benchmarks/results/`` and ``experiments/results/``, and from the Markdown that the scripts wrote beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results import GENERATED, index_page, readme_table, results_page, results_pages
from tables import table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
OPTIONS = ROOT / "docs" / "reference" / "options.md"
START, END = "<!-- results: python docs/generate.py -->\n", "<!-- end of results -->\n"

KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "switch",
    Path: "path",
    tuple[str, ...]: "texts, separated by commas",
    tuple[float, ...]: "numbers, separated by commas",
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
    folder = ROOT / "docs" / "results"
    yield folder / "index.md", index_page()
    for name in results_pages():
        yield folder / f"{name}.md", results_page(name)
    yield README, with_table(README.read_text(encoding="utf-8"))


def with_table(readme: str) -> str:
    """The README with its table of results as the committed files have it."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{readme_table()}{END}{after}"


def options_page() -> str:
    """Every option of every command, from the dataclasses that the commands are made of."""
    parts = [
        "# Options",
        GENERATED,
        "From Python an option has the same name with underscores: `--max-flops 0.5` is `max_flops=0.5` in\n"
        "`gaprune.search(...)` and `gaprune.finetune(...)`. `--help` prints the same lists. A switch is given as\n"
        "`--name`, and taken back as `--no-name`.",
    ]
    for command, options in commands():
        header = ("option", "value", "default", "meaning")
        parts += [f"## {command}", str(options.__doc__), table(header, rows(options))]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def commands() -> tuple[tuple[str, type[Any]], ...]:
    """Each command with the dataclass of its options."""
    from gaprune.commands.compare import Options as CompareOptions
    from gaprune.commands.finetune import FinetuneOptions
    from gaprune.commands.train import Options as TrainOptions
    from gaprune.session.options import SearchOptions
    from gaprune.text.compare import Options as TextOptions

    return (
        ("python -m gaprune.search", SearchOptions),
        ("python -m gaprune.finetune RUN", FinetuneOptions),
        ("python -m gaprune.train", TrainOptions),
        ("python -m gaprune.compare", CompareOptions),
        ("python -m gaprune.compare --model bert", TextOptions),
    )


def rows(options: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """One row an option: how it is typed, what it takes, its default, what it does."""
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        told = field.metadata
        if "help" not in told:
            continue
        name = f"`{told['metavar']}`" if told.get("place") else f"`--{field.name.replace('_', '-')}`"
        meaning = told["help"] if not told["choices"] else f"{told['help']}: {', '.join(told['choices'])}"
        yield name, kind(hints[field.name]), shown(field.default), meaning


def kind(hint: Any) -> str:
    """What an option takes, in words; ``or none`` is not said, as that is not giving it."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return KINDS[hint]


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
