"""Files of options: TOML, by flat names, in the tables of the groups or without."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gaprune.errors import OptionError
from gaprune.options.fields import Entry, entries

RENAMED = {"recover": "again"}
"""Tables that files of earlier versions may have, by the names that they have now."""

Read = Callable[[Entry, str], Any]
"""What a text stands for as the value of an option."""


def read_config(path: Path, options_class: type[Any], read: Read) -> dict[str, Any]:
    """The options that a file gives, by flat names.

    Args:
        path: a TOML file. An option stands by its name, at the top or in the table of its group.
        options_class: the command's options.
        read: how the command line reads a value, which a file's is read as.

    Raises:
        OptionError: one line with the file: it cannot be read, names no option, or a value is of no use.
    """
    known = entries(options_class)
    found: dict[str, Any] = {}
    for name, value in _flat(path, _loaded(path), options_class):
        if name in found:
            raise OptionError(f"{path}: {name} is given twice")
        try:
            found[name] = _value(known[name], value, read)
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from None
    return found


def write_config(path: Path, options_class: type[Any], given: Mapping[str, Any], prog: str) -> None:
    """Write every option of a command with its meaning; those that are not given as comments, with their defaults.

    Args:
        path: the new file.
        options_class: the command's options.
        given: values by flat names.
        prog: how the command is called.

    Raises:
        OptionError: the file is there already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(_lines(options_class, given, prog)) + "\n")
    except FileExistsError:
        raise OptionError(f"{path} is there already: choose another name for --write-config") from None
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror or error}") from error


def _loaded(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror or error}") from error
    except RecursionError:
        raise OptionError(f"{path} is no TOML file of options: it is nested too deep") from None
    except ValueError as error:  # of TOML and of UTF-8
        raise OptionError(f"{path} is no TOML file: {error}") from error


def _flat(path: Path, content: Mapping[str, Any], options_class: type[Any]) -> Iterator[tuple[str, Any]]:
    """Every option of a file; ``OptionError`` for a name that is none, or stands in another group's table."""
    known = entries(options_class)
    groups = [field.name for field in dataclasses.fields(options_class) if "group" in field.metadata]
    for name, value in content.items():
        if isinstance(value, dict):
            name = RENAMED.get(name, name)
        if name in groups and isinstance(value, dict):
            for inner, one in value.items():
                if inner in known and known[inner].group != name:
                    where = f"in [{known[inner].group}]" if known[inner].group else "at the top"
                    raise OptionError(f"{path}: {inner} stands in [{name}], its place is {where}")
                if inner not in known:
                    raise _unknown(f"{path}, [{name}]", inner, list(known))
                yield inner, one
        elif name in known:
            yield name, value
        else:
            raise _unknown(str(path), name, [*known, *groups])


def _unknown(where: str, name: str, valid: Sequence[str]) -> OptionError:
    close = difflib.get_close_matches(name.replace("-", "_"), valid, n=1)
    advice = f"did you mean {close[0]}?" if close else "--write-config writes a file with all of them"
    return OptionError(f"{where}: unknown option {name!r}: {advice}")


def _value(entry: Entry, value: Any, read: Read) -> Any:
    """A TOML value as the command line would have it."""
    if isinstance(value, dict):
        raise OptionError(f"{entry.name} is an option, not a table")
    if entry.kind is bool:
        if not isinstance(value, bool):
            raise OptionError(f"{entry.name} must be true or false, got {value!r}")
        return value
    if isinstance(value, bool):
        value = str(value).lower()
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return read(entry, text)


def _lines(options_class: type[Any], given: Mapping[str, Any], prog: str) -> Iterator[str]:
    yield f"# Options of: {prog} --config FILE"
    yield "# A line that begins with # is a comment; those with a value hold the default: take the # away to change it."
    group = None
    for name, entry in entries(options_class).items():
        yield ""
        if entry.group != group:
            group = entry.group
            yield f"[{group}]  # {entry.title}"
        choices = f" ({', '.join(entry.choices)})" if entry.choices else ""
        yield f"# {entry.help}{choices}"
        if name in given:
            yield f"{name} = {_toml(given[name])}"
        else:
            default = entry.field.default
            yield f"# {name} =" if default in (None, dataclasses.MISSING) else f"# {name} = {_toml(default)}"


def _toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False)


def peek(path: Path, name: str) -> str | None:
    """What a file says of one option, at the top or in any table; ``None`` where it does not, or is of no use."""
    with suppress(OptionError):
        content = _loaded(path)
        for table in (content, *(part for part in content.values() if isinstance(part, dict))):
            if isinstance(table.get(name), str):
                return str(table[name])
    return None
