"""Commands from dataclasses: a frozen dataclass of options becomes a command line with one-line errors."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import math
import os
import re
import shlex
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union

from gaprune.errors import GapruneError, OptionError, choice_error

Options = TypeVar("Options")

BAD_INPUT = 2
INTERRUPTED = 130
OUTPUT_CLOSED = 141
TERMINATED = 143


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, met by a command that knows what to tell its user: the message, one line."""


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
) -> Any:
    """A dataclass field that is an option of a command.

    The field's name becomes ``--kebab-case`` and its type says how it is read: ``str``, ``int``, ``float``,
    ``bool`` (``--name`` and ``--no-name``), ``Path``, any of these or None, and ``tuple[str, ...]`` and
    ``tuple[float, ...]`` (separated by commas).

    Args:
        default: value when the option is not given.
        help: what it does, for ``--help``; the default is added.
        choices: the valid strings, also for each item of a tuple.
        metavar: what stands for the value in ``--help``.
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})


def argument(help: str, *, metavar: str) -> Any:
    """A dataclass field that is given by its place on the command line and must be given; read as ``option`` says."""
    return dataclasses.field(metadata={"help": help, "choices": None, "metavar": metavar, "place": True})


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
    for field in _places(options_class):
        if field.name not in typed:
            raise OptionError(f"{field.metadata['metavar']} is missing: give {field.metadata['help']}")
    if any(field.name == GIVEN for field in dataclasses.fields(typing.cast(Any, options_class))):
        typed[GIVEN] = frozenset(typed)
    return options_class(**typed)


def run_command(
    command: Callable[[Options], None],
    options_class: type[Options],
    prog: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, call, and turn what can happen into an exit status.

    An error that the user can mend is one line on standard error and status 2; Ctrl-C is one line and 130
    (``Interrupted`` carries the command's own), SIGTERM the same and 143; a closed output such as ``| head`` is
    141. Any other exception is a bug and goes through with its traceback.
    """
    with _termination() as asked:
        try:
            command(parse(options_class, argv, prog))
            sys.stdout.flush()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
        except GapruneError as error:
            return fail(prog, error)
        except KeyboardInterrupt as interruption:
            line = f"{prog}: {_one_line(interruption) or 'interrupted'}"
            return _fail(line, TERMINATED if asked else INTERRUPTED)
        except BrokenPipeError:
            _discard_output()
            return OUTPUT_CLOSED
    return 0


def fail(prog: str, error: GapruneError) -> int:
    """Say in one line on standard error what the user can mend; the exit status of that."""
    return _fail(f"{prog}: error: {_one_line(error)}", BAD_INPUT)


@contextmanager
def _termination() -> Iterator[list[int]]:
    """Make SIGTERM, which batch systems send before they kill, do what Ctrl-C does; the list tells that it came.

    Where somebody has decided already what it does, and in threads, which get no signals, nothing changes.
    """
    asked: list[int] = []

    def stop(number: int, frame: types.FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut short what the first has begun
        asked.append(number)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield asked
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def typed_command(prog: str, options: Any) -> str:
    """The command line that gives ``options``, which have a field ``given``, those again that were typed."""
    words, places = [prog], [field.name for field in _places(type(options))]
    for name, value in options_record(options).items():
        if name in places:
            words.append(shlex.quote(str(value)))
        elif name in options.given and isinstance(value, bool):
            words.append(_flag(name if value else f"no_{name}"))
        elif name in options.given:
            words += [_flag(name), shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))]
    return " ".join(words)


def options_record(options: Any) -> dict[str, Any]:
    """The options as JSON values, by field name: paths as strings, tuples as lists."""
    names = [field.name for field in dataclasses.fields(options) if field.name != GIVEN]
    return {name: _jsonable(getattr(options, name)) for name in names}


def options_from_record(options_class: type[Options], record: dict[str, Any]) -> Options:
    """The options that ``options_record`` wrote. Fields that the record lacks take their defaults.

    Raises:
        OptionError: the record has options that the class does not.
    """
    hints = typing.get_type_hints(options_class)
    foreign = [name for name in record if name not in hints]
    if foreign:
        raise OptionError(f"recorded option {foreign[0]!r} is not one of this version's: {', '.join(hints)}")
    return options_class(**{name: _from_jsonable(value, hints[name]) for name, value in record.items()})


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

GIVEN = "given"
"""A field of this name is no option: it takes the names of the options that were typed, whatever their values."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message.removeprefix("argument "))


def _parser(options_class: type[Any], prog: str) -> _Parser:
    description = inspect.cleandoc(options_class.__doc__ or "").split("\n\nAttributes:")[0]
    places = _places(options_class)
    parser = _Parser(
        prog=prog,
        usage=" ".join(["%(prog)s", *(field.metadata["metavar"] for field in places), "[--option value ...]"]),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if field.name != GIVEN:
            _add_option(parser, field, hints[field.name])
    return parser


def _add_option(parser: _Parser, field: dataclasses.Field[Any], hint: Any) -> None:
    kind, flag = _without_none(hint), _flag(field.name)
    if field.metadata.get("place"):
        reader, metavar = _converter(field.name, kind, None), field.metadata["metavar"]
        parser.add_argument(
            field.name, nargs="?", default=_UNTYPED, type=reader, metavar=metavar, help=field.metadata["help"]
        )
        return
    text = f"{field.metadata['help']} (default: {_readable(field.default)})".replace("%", "%%")
    if kind is bool:
        action = argparse.BooleanOptionalAction
        parser.add_argument(flag, dest=field.name, action=action, default=_UNTYPED, help=text)
        return
    choices = field.metadata["choices"]
    if choices:
        text = f"{text}; one of {', '.join(choices)}".replace("%", "%%")
    parser.add_argument(
        flag,
        dest=field.name,
        type=_converter(field.name, kind, choices),
        default=_UNTYPED,
        metavar=field.metadata["metavar"] or _metavar(kind),
        help=text,
    )


def _places(options_class: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields that are given by their place."""
    return [field for field in dataclasses.fields(options_class) if field.metadata.get("place")]


def _converter(name: str, kind: Any, choices: Sequence[str] | None) -> Callable[[str], Any]:
    def checked(value: str) -> str:
        if choices and value not in choices:
            raise choice_error(name.replace("_", " "), value, tuple(choices))
        return value

    def number(value: str) -> int | float:
        try:
            result: int | float = kind(value)
        except ValueError:
            result = math.nan
        if not math.isfinite(result):
            wanted = "a whole number" if kind is int else "a number"
            raise OptionError(f"{_flag(name)} must be {wanted}, got {value!r}")
        return result

    def names(value: str) -> tuple[str, ...]:
        items = tuple(item.strip() for item in value.split(","))
        if "" in items:
            raise OptionError(f"{_flag(name)} must be names separated by commas, got {value!r}")
        return tuple(checked(item) for item in items)

    def numbers(value: str) -> tuple[float, ...]:
        try:
            items = tuple(float(item) for item in value.split(","))
        except ValueError:
            items = (math.nan,)
        if not all(map(math.isfinite, items)):
            raise OptionError(f"{_flag(name)} must be numbers separated by commas, got {value!r}")
        return items

    def path(value: str) -> Path:
        if not value:
            raise OptionError(f"{_flag(name)} must be a path, got ''")
        return Path(value).expanduser()

    if kind in (int, float):
        return number
    if kind is Path:
        return path
    if kind == tuple[float, ...]:
        return numbers
    return names if typing.get_origin(kind) is tuple else checked


def _unknown_argument(argument: str, options_class: type[Any], prog: str) -> OptionError:
    given = argument.split("=")[0]
    if not given.startswith("-"):
        return OptionError(f"unexpected argument {given!r}: options are --name value, see {prog} --help")
    flags = [_flag(field.name) for field in dataclasses.fields(options_class) if not field.metadata.get("place")]
    close = difflib.get_close_matches(given, flags, n=1)
    advice = f"did you mean {close[0]}?" if close else f"see {prog} --help"
    return OptionError(f"unknown option {given!r}: {advice}")


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    assert len(kinds) == 1, f"an option has one type, or None: {hint}"
    return kinds[0]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


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


def _jsonable(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _from_jsonable(value: Any, hint: Any) -> Any:
    kind = _without_none(hint)
    if value is None:
        return None
    if kind is Path:
        return Path(value)
    return tuple(value) if typing.get_origin(kind) is tuple else value


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s*[\r\n]\s*", " ", str(error)).strip()  # no further: a command may quote spaces


def _fail(line: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    print(line, file=sys.stderr)  # noqa: T201 - the command's edge
    return status


def _discard_output() -> None:
    """Point standard output at nothing, or Python complains again when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
