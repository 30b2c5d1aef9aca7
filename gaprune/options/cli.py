"""Commands from dataclasses: a frozen dataclass of options becomes a command line with one-line errors."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import math
import re
import shlex
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from gaprune.errors import GapruneError, OptionError, OutputError, choice_error, first_line
from gaprune.options.config import read_config, write_config
from gaprune.options.edge import (
    BAD_INPUT,
    INTERRUPTED,
    OUTPUT_CLOSED,
    SIGNALS,
    discard_output,
    open_streams,
    out_of_memory,
    output_error,
    say_and_end,
    show,
    signals,
)
from gaprune.options.fields import (
    GIVEN,
    Entry,
    argument,
    entries,
    flag,
    made_of,
    option,
    options_from_record,
    options_record,
)
from gaprune.options.units import number_in

__all__ = [
    "BAD_INPUT",
    "GIVEN",
    "Interrupted",
    "argument",
    "differences",
    "fail",
    "option",
    "options_from_record",
    "options_record",
    "parse",
    "run_command",
    "typed_command",
]

Options = TypeVar("Options")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, met by a command that knows what to tell its user: the message, one line."""


def parse(options_class: type[Options], argv: Sequence[str] | None, prog: str) -> Options:
    """The options that a command line stands for.

    Args:
        options_class: a dataclass whose fields come from ``option``.
        argv: the arguments; those of the process when None.
        prog: how the command is called, for its help.

    Raises:
        OptionError: in one line, what is wrong and what would be right.
        SystemExit: after ``--help``.
    """
    parser = _parser(options_class, prog)
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        raise _unknown_argument(unknown[0], options_class, prog)
    typed = {name: value for name, value in vars(namespace).items() if value is not _UNTYPED}
    config, written = typed.pop(CONFIG, None), typed.pop(WRITE_CONFIG, None)
    if config is not None:
        typed = {**read_config(config, options_class, _read), **typed}
    if written is not None:
        write_config(written, options_class, typed, prog)
        raise SystemExit(show(f"wrote {written}: {prog} --config {shlex.quote(str(written))}", prog))
    for entry in _places(options_class):
        if entry.name not in typed:
            raise OptionError(f"{entry.field.metadata['metavar']} is missing: give {entry.help}")
    if any(field.name == GIVEN for field in dataclasses.fields(typing.cast(Any, options_class))):
        typed[GIVEN] = frozenset(typed)
    return made_of(options_class, typed)


def run_command(
    command: Callable[[Options], None],
    options_class: type[Options],
    prog: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, call, and turn what can happen into an exit status.

    An error that the user can mend is one line on standard error and status 2, and so is memory that is too short and
    an output that takes no more; Ctrl-C is one line and 130 (``Interrupted`` carries the command's own), SIGTERM the
    same and 143, SIGHUP 129; a closed output such as ``| head`` is 141. Any other exception is a bug and goes through
    with its traceback.
    """
    open_streams()
    with signals() as asked:
        try:
            command(parse(options_class, argv, prog))
            sys.stdout.flush()
        except SystemExit as end:
            lost = output_error()
            return _lost_output(prog, lost) if lost else end.code if isinstance(end.code, int) else 0
        except BrokenPipeError:
            discard_output()
            return SIGNALS + asked[0] if asked else OUTPUT_CLOSED
        except GapruneError as error:
            status = fail(prog, error)
            return SIGNALS + asked[0] if asked else status
        except KeyboardInterrupt as interruption:
            line = f"{prog}: {_one_line(interruption) or 'interrupted'}"
            return say_and_end(line, SIGNALS + asked[0] if asked else INTERRUPTED)
        except Exception as error:
            lost = output_error()
            if lost is not None:
                return SIGNALS + asked[0] if asked else _lost_output(prog, lost)
            if out_of_memory(error):
                return fail(prog, GapruneError(f"memory is too short: {first_line(error)}"))
            raise
    return 0


def _lost_output(prog: str, error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        return OUTPUT_CLOSED
    return fail(prog, OutputError.of(error))


def fail(prog: str, error: GapruneError) -> int:
    """Say in one line on standard error what the user can mend; the exit status of that."""
    return say_and_end(f"{prog}: error: {_one_line(error)}", BAD_INPUT)


def typed_command(prog: str, options: Any) -> str:
    """The command line that gives ``options``, which have a field ``given``, those again that were typed."""
    words, places = [prog], [entry.name for entry in _places(type(options))]
    for name, value in options_record(options).items():
        if name in places:
            words += [shlex.quote(str(one)) for one in (value if isinstance(value, list) else [value])]
        elif name in options.given and isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        elif name in options.given:
            words += [flag(name), shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))]
    return " ".join(words)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What changed between two records, one ``name: old -> new`` each, nested names joined by dots."""
    lines = []
    for name in [*a, *(name for name in b if name not in a)]:
        old, new = a.get(name, _MISSING), b.get(name, _MISSING)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [f"{name}.{line}" for line in differences(old, new)]
        elif old != new:
            lines.append(f"{name}: {_readable(old)} -> {_readable(new)}")
    return lines


_MISSING = object()
_UNTYPED = object()

CONFIG, WRITE_CONFIG = "config", "write_config"
"""Options that every command has: a file of options to read, and one to write."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message.removeprefix("argument "))

    def _print_message(self, message: str, file: Any = None) -> None:
        """The library's own passes over an output that takes nothing."""
        try:
            print(message, file=file, end="", flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError.of(error) from error


def _parser(options_class: type[Any], prog: str) -> _Parser:
    places = _places(options_class)
    examples = getattr(options_class, "EXAMPLES", ())
    parser = _Parser(
        prog=prog,
        usage=" ".join(["%(prog)s", *(entry.field.metadata["metavar"] for entry in places), "[--option value ...]"]),
        description=inspect.cleandoc(options_class.__doc__ or "").split("\n\nAttributes:")[0],
        epilog="\n".join(("examples:", *(f"  {example}" for example in examples))) if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for entry in entries(options_class).values():
        title = entry.title
        if title is not None and title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_option(parser if title is None else groups[title], entry)
    _add_config(parser.add_argument_group("file of options"))
    return parser


def _add_config(parser: argparse._ArgumentGroup) -> None:
    def path(name: str) -> Callable[[str], Any]:
        return lambda value: _read_as(flag(name), Path, (), value)

    text = "a TOML file of options, by their names; what is typed wins over it"
    parser.add_argument(flag(CONFIG), type=path(CONFIG), default=_UNTYPED, metavar="FILE", help=text)
    text = "write a file for --config with every option and its meaning, and do no more"
    parser.add_argument(flag(WRITE_CONFIG), type=path(WRITE_CONFIG), default=_UNTYPED, metavar="FILE", help=text)


def _add_option(parser: argparse._ActionsContainer, entry: Entry) -> None:
    metavar = entry.field.metadata["metavar"]
    read = _reader(entry)
    if entry.place:
        _add_place(parser, entry)
        return
    text = f"{entry.help} (default: {_readable(entry.field.default)})"
    if entry.kind is bool:
        action, escaped = argparse.BooleanOptionalAction, text.replace("%", "%%")
        parser.add_argument(entry.flag, dest=entry.name, action=action, default=_UNTYPED, help=escaped)
        return
    if any(not re.search(rf"\b{re.escape(choice)}\b", entry.help) for choice in entry.choices):
        text = f"{text}; one of {', '.join(entry.choices)}"
    parser.add_argument(
        entry.flag,
        dest=entry.name,
        type=read,
        default=_UNTYPED,
        metavar=metavar or _metavar(entry.kind),
        help=text.replace("%", "%%"),
    )


class _Several(argparse.Action):
    """Keeps the values of a place that takes several, as a tuple; none is as if it had not been typed."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is not _UNTYPED and values:
            setattr(namespace, self.dest, tuple(values))


def _add_place(parser: argparse._ActionsContainer, entry: Entry) -> None:
    metavar, text = entry.field.metadata["metavar"], entry.help.replace("%", "%%")
    if entry.kind == tuple[Path, ...]:
        parser.add_argument(
            entry.name,
            nargs="*",
            action=_Several,
            default=_UNTYPED,
            type=lambda value: _read_as(entry.flag, Path, (), value),
            metavar=metavar.removesuffix("..."),
            help=text,
        )
        return
    parser.add_argument(entry.name, nargs="?", default=_UNTYPED, type=_reader(entry), metavar=metavar, help=text)


def _places(options_class: type[Any]) -> list[Entry]:
    """The options that are given by their place."""
    return [entry for entry in entries(options_class).values() if entry.place]


def _reader(entry: Entry) -> Callable[[str], Any]:
    return lambda value: _read(entry, value)


def _read(entry: Entry, value: str) -> Any:
    """What a text stands for as the value of an option.

    Raises:
        OptionError: one line that names the option and says what it takes.
    """
    if entry.is_auto(value):
        return None
    if entry.units:
        return number_in(entry.flag, value, entry.units)
    return _read_as(entry.flag, entry.kind, entry.choices, value)


def _read_as(typed: str, kind: Any, choices: Sequence[str], value: str) -> Any:
    """What a text stands for as a value of a kind.

    Raises:
        OptionError: one line that names the option and says what it takes.
    """
    if kind in (int, float):
        return _number(typed, kind, value)
    if kind is Path:
        if not value:
            raise OptionError(f"{typed} must be a path, got ''")
        return Path(value).expanduser()
    if kind == tuple[float, ...]:
        return _numbers(typed, value)
    if kind == tuple[Path, ...]:
        return tuple(_read_as(typed, Path, (), item.strip()) for item in value.split(","))
    if typing.get_origin(kind) is not tuple:
        return _checked(typed, choices, value)
    items = tuple(item.strip() for item in value.split(","))
    if "" in items:
        raise OptionError(f"{typed} must be names separated by commas, got {value!r}")
    return tuple(_checked(typed, choices, item) for item in items)


def _checked(typed: str, choices: Sequence[str], value: str) -> str:
    if choices and value not in choices:
        raise choice_error(typed.removeprefix("--"), value, tuple(choices))
    return value


def _number(typed: str, kind: Any, value: str) -> int | float:
    try:
        result: int | float = kind(value)
    except ValueError:
        result = math.nan
    if isinstance(result, float) and not math.isfinite(result):
        wanted = "a whole number" if kind is int else "a number"
        raise OptionError(f"{typed} must be {wanted}, got {value!r}")
    return result


def _numbers(typed: str, value: str) -> tuple[float, ...]:
    try:
        items = tuple(float(item) for item in value.split(","))
    except ValueError:
        items = (math.nan,)
    if not all(map(math.isfinite, items)):
        raise OptionError(f"{typed} must be numbers separated by commas, got {value!r}")
    return items


def _unknown_argument(argument: str, options_class: type[Any], prog: str) -> OptionError:
    given = argument.split("=")[0]
    if not given.startswith("-"):
        return OptionError(f"unexpected argument {given!r}: options are --name value, see {prog} --help")
    flags = [entry.flag for entry in entries(options_class).values() if not entry.place]
    flags += [flag(CONFIG), flag(WRITE_CONFIG)]
    close = difflib.get_close_matches(given, flags, n=1)
    advice = f"did you mean {close[0]}?" if close else f"see {prog} --help"
    return OptionError(f"unknown option {given!r}: {advice}")


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return "X,..." if kind == tuple[float, ...] else "NAME,..."
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "NAME")


def _readable(value: Any) -> str:
    if value is _MISSING or value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value)
    return str(value)


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s*[\r\n]\s*", " ", str(error)).strip()  # no further: a command may quote spaces
