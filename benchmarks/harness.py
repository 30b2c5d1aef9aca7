"""What every benchmark and experiment shares: goals that check themselves, results with how they were made.

A script states its goals in one table, runs with one command (``--quick`` for a smoke run), writes
``results/<name>-<data>-<device>.json``, and with ``--check`` compares the committed results with its goals.
"""

from __future__ import annotations

import argparse
import json
import operator
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gaprune.device import card_names
from gaprune.errors import GapruneError, OptionError
from gaprune.runs import environment
from gaprune.runs.files import write_json

COMPARISONS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}

DONE = "done"

Measure = Callable[[argparse.Namespace], dict[str, Any]]
"""Runs the benchmark. Returns ``data`` and ``device`` (for the file's name), ``figures`` (by goal name),
``rows`` and whatever else the result should keep; under ``DONE`` what to call once the result is written."""


@dataclass(frozen=True)
class Goal:
    """One claim.

    Attributes:
        name: the figure in the result that it speaks of.
        comparison: ``>=`` or ``<=``.
        number: what the figure is compared with.
        unit: of both.
    """

    name: str
    comparison: str
    number: float
    unit: str

    def line(self, figure: float | None) -> tuple[bool, str]:
        """Whether a figure holds the goal, and one line that says by how much."""
        claim = f"{self.name} {self.comparison} {self.number:g} {self.unit}"
        if figure is None:
            return False, f"missed: {claim}: not measured"
        held = COMPARISONS[self.comparison](figure, self.number)
        return held, f"{'held' if held else 'missed'}: {claim}: {figure:.4g} ({figure - self.number:+.3g})"


def run(
    script: str,
    goals: tuple[Goal, ...],
    measure: Measure,
    *,
    arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Run or check a benchmark; the exit status.

    1 where a checked goal is missed, 2 where the input cannot be used, 130 after Ctrl-C.

    Args:
        script: the script's ``__file__``.
        goals: its claims.
        measure: does the work.
        arguments: adds the script's own options.
    """
    path = Path(script)
    parser = argparse.ArgumentParser(prog=f"python {path.parent.name}/{path.name}")
    parser.add_argument("--quick", action="store_true", help="a smoke run, small and meaningless")
    parser.add_argument("--check", action="store_true", help="compare the committed results with the goals")
    parser.add_argument("--output", type=Path, default=path.parent / "results", help="folder of results")
    if arguments is not None:
        arguments(parser)
    options = parser.parse_args()
    if options.check:
        return _check(path.stem, goals, options.output)
    try:
        result = measure(options)
    except GapruneError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; what is finished is kept, go on with the same command", file=sys.stderr)
        return 130
    suffix = "-quick" if options.quick else ""
    file = options.output / f"{path.stem}-{result['data']}-{result['device']}{suffix}.json"
    options.output.mkdir(parents=True, exist_ok=True)
    done = result.pop(DONE, None)
    write_json(file, _described(result))
    print(f"written: {file}")
    if done is not None:
        done()
    for goal in goals:
        if goal.name in result["figures"]:
            print(goal.line(result["figures"][goal.name])[1])
    return 0


def at_least(options: argparse.Namespace, **least: int) -> None:
    """Refuse a number, or one of a list, that is below its least value; ``None`` is not given.

    Raises:
        OptionError: which, and what would be right.
    """
    for name, number in least.items():
        for value in _each(getattr(options, name)):
            if value < number:
                raise OptionError(f"{name.replace('_', '-')} must be at least {number}, got {value}")


def are_shares(options: argparse.Namespace, name: str) -> None:
    """Refuse a number, or one of a list, that is no share of something.

    Raises:
        OptionError: which, and what would be right.
    """
    for value in _each(getattr(options, name)):
        if not 0 < value <= 1:
            raise OptionError(f"{name.replace('_', '-')} must be shares above 0 and at most 1, got {value:g}")


def _each(given: Any) -> Sequence[Any]:
    if given is None:
        return ()
    return given if isinstance(given, (list, tuple)) else (given,)


def pathless(text: str) -> str:
    """Without the paths of this machine."""
    return re.sub(r",? (in|from) /[^\s,]+", "", text)


def _described(result: dict[str, Any]) -> dict[str, Any]:
    script = Path(sys.argv[0]).parent.name + "/" + Path(sys.argv[0]).name
    given = [_placeless(word) for word in sys.argv[1:]]
    command = " ".join(["python", script, *given])
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "environment": environment(card_names()),
        **result,
    }


def _placeless(word: str) -> str:
    """A word of a command without the machine's folders."""
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{Path(value).name}" if Path(value).is_absolute() else word


def _check(name: str, goals: tuple[Goal, ...], folder: Path) -> int:
    files = [file for file in sorted(folder.glob(f"{name}-*.json")) if not file.stem.endswith("-quick")]
    kept = total = 0
    measured = {file.name: json.loads(file.read_text())["figures"] for file in files}
    for goal in goals:
        speaking = {file: figures for file, figures in measured.items() if goal.name in figures}
        for file, figures in (speaking or {"no result": {}}).items():
            held, line = goal.line(figures.get(goal.name))
            print(f"{file}: {line}")
            kept, total = kept + held, total + 1
    print(f"{kept} of {total} goals held")
    return 0 if kept == total else 1
