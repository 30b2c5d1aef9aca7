"""Options as frozen dataclasses of groups: fields with bounds, read by flat names, checked in one place.

A command's options are a dataclass (``Options`` is its base) whose fields are options, or groups of options that are
dataclasses themselves. On the command line, in manifests and from Python an option has a flat name, which is its own
wherever it stands; in the code it is read where it stands, ``options.evolution.population``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, Union

from gaprune.errors import OptionError, choice_error
from gaprune.kinds import shown

Made = TypeVar("Made")

GIVEN = "given"
"""A field of this name is no option: it takes the names of the options that were typed, whatever their values."""

LARGEST_SEED = 2**32 - 1


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    units: Mapping[str, str] | None = None,
    auto: bool = False,
) -> Any:
    """A dataclass field that is an option of a command.

    The field's name becomes ``--kebab-case`` and its type says how it is read: ``str``, ``int``, ``float``,
    ``bool`` (``--name`` and ``--no-name``), ``Path``, a ``Literal`` of words, any of these or None, and
    ``tuple[str, ...]`` and ``tuple[float, ...]`` (separated by commas).

    Args:
        default: value when the option is not given.
        help: what it does, for ``--help``; the default is added.
        choices: the valid strings, also for each item of a tuple; a ``Literal`` brings its own.
        metavar: what stands for the value in ``--help``.
        least: the smallest valid number.
        most: the largest valid number.
        above: what a number must be above.
        below: what a number must be below.
        units: what a number may end with, see ``units.py``.
        auto: whether the word ``auto`` may stand for None.
    """
    told = {"help": help, "choices": choices, "metavar": metavar, "units": units, "auto": auto}
    bounds = {"least": least, "most": most, "above": above, "below": below}
    return dataclasses.field(default=default, metadata={**told, **bounds})


def seed_option(help: str) -> Any:
    """The option ``seed``, which every command bounds alike."""
    return option(0, help, least=0, most=LARGEST_SEED)


def argument(help: str, *, metavar: str) -> Any:
    """A dataclass field that is given by its place on the command line and must be given; read as ``option`` says."""
    return dataclasses.field(metadata={"help": help, "choices": None, "metavar": metavar, "place": True})


def group(kind: type[Made], title: str) -> Made:
    """A dataclass field that holds a group of options.

    Args:
        kind: the dataclass of the group; every field of it has a default.
        title: what its options are about, for ``--help``.
    """
    made: Made = dataclasses.field(default_factory=kind, metadata={"group": title})
    return made


@dataclass(frozen=True)
class Entry:
    """An option of a command, wherever in the groups it stands.

    Attributes:
        name: its flat name.
        group: the field of the group that it stands in; ``None`` outside of groups.
        title: of that group.
        field: the dataclass field.
        hint: its type.
    """

    name: str
    group: str | None
    title: str | None
    field: dataclasses.Field[Any]
    hint: Any

    @property
    def flag(self) -> str:
        """As it is typed."""
        return flag(self.name)

    @property
    def help(self) -> str:
        """What it does."""
        return str(self.field.metadata["help"])

    @property
    def place(self) -> bool:
        """Whether it is given by its place."""
        return bool(self.field.metadata.get("place"))

    @property
    def kind(self) -> Any:
        """Its type when it is given: not ``None``, and ``str`` for a ``Literal``."""
        kind = _without_none(self.hint)
        return str if typing.get_origin(kind) is Literal else kind

    @property
    def choices(self) -> tuple[str, ...]:
        """The valid words; none where any will do."""
        kind = _without_none(self.hint)
        if typing.get_origin(kind) is Literal:
            return typing.get_args(kind)
        return tuple(self.field.metadata["choices"] or ())

    def is_auto(self, value: Any) -> bool:
        """Whether a value is the word that leaves the choice to us."""
        return bool(self.field.metadata.get("auto")) and value == "auto"

    @property
    def units(self) -> Mapping[str, str]:
        """What its number may end with."""
        return self.field.metadata.get("units") or {}

    def bound(self, which: str) -> Any:
        """A bound of ``option``, or ``None``."""
        return self.field.metadata.get(which)

    def of(self, options: Any) -> Any:
        """Its value."""
        return getattr(options if self.group is None else getattr(options, self.group), self.name)


def entries(options_class: type[Any]) -> dict[str, Entry]:
    """The options of a command by their flat names, in order."""
    return _entries(typing.cast(Hashable, options_class))


@functools.cache
def _entries(options_class: Any) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if "group" in field.metadata:
            inner = typing.get_type_hints(hints[field.name])
            for one in dataclasses.fields(hints[field.name]):
                assert one.name not in found, f"{one.name} stands in two groups"
                found[one.name] = Entry(one.name, field.name, field.metadata["group"], one, inner[one.name])
        elif field.name != GIVEN:
            found[field.name] = Entry(field.name, None, None, field, hints[field.name])
    return found


def names_of(options_class: type[Any]) -> tuple[str, ...]:
    """The flat names of a command's options, or the names of a group's."""
    return tuple(entries(options_class))


def with_values(options: Made, values: dict[str, Any]) -> Made:
    """The same options with other values, by flat names (or whole groups by theirs).

    Raises:
        TypeError: there is no such option.
    """
    known, outer, inner = entries(type(options)), dict[str, Any](), dict[str, dict[str, Any]]()
    for name, value in values.items():
        group = known[name].group if name in known else None
        if group is None:
            outer[name] = value
        else:
            inner.setdefault(group, {})[name] = value
    made = {name: dataclasses.replace(getattr(options, name), **changes) for name, changes in inner.items()}
    changed: Any = dataclasses.replace(typing.cast(Any, options), **{**outer, **made})
    return typing.cast(Made, changed)


def made_of(options_class: type[Made], values: dict[str, Any]) -> Made:
    """Options from values by flat names; the others take their defaults.

    Raises:
        TypeError: there is no such option, or one without a default is missing.
    """
    known = entries(options_class)
    outside = {name: value for name, value in values.items() if name not in known or known[name].group is None}
    return with_values(options_class(**outside), {k: v for k, v in values.items() if k not in outside})


class Options:
    """Base of the options of a command.

    >>> from gaprune.options import SearchOptions
    >>> options = SearchOptions.of(population=30, given=frozenset({"population"}))
    >>> options.evolution.population
    30
    >>> options.but(seed=3).evolution.seed
    3
    """

    DASHES: ClassVar[bool] = False
    """Whether errors name an option as it is typed."""
    NOUNS: ClassVar[bool] = False
    """Whether errors of bounds say ``a number`` and ``a whole number``."""
    EXAMPLES: ClassVar[tuple[str, ...]] = ()
    """Commands that ``--help`` ends with."""

    @classmethod
    def of(cls, **flat: Any) -> Self:
        """Options from values by flat names; the others take their defaults."""
        return made_of(cls, flat)

    def but(self, **flat: Any) -> Self:
        """The same options with other values, by flat names."""
        return with_values(self, flat)

    if not TYPE_CHECKING:  # a name that is known when the code is written is read in its group

        def __getattr__(self, name: str) -> Any:
            """An option by its flat name, for those that know it only at run time: records, tables."""
            entry = None if name.startswith("_") else entries(type(self)).get(name)
            if entry is None or entry.group is None:
                raise AttributeError(f"{type(self).__name__} has no option {name!r}")
            return entry.of(self)


def check_fields(options: Options) -> None:
    """Refuse values that are not of their option's type, none of its words or beyond its bounds.

    Raises:
        OptionError: one line that names the option, the rule and the value.
    """
    for entry in entries(type(options)).values():
        value = entry.of(options)
        if value is None and type(None) in typing.get_args(entry.hint):
            continue
        if value is not None:
            _check_words(entry, value)
        told = _wrong(entry, value, options.NOUNS)
        if told is not None:
            name = entry.flag if options.DASHES else entry.name.replace("_", "-")
            raise OptionError(f"{name} must be {told}")


def _check_words(entry: Entry, value: Any) -> None:
    """Raise ``OptionError`` where an option takes certain words, and this is none of them."""
    for word in value if isinstance(value, tuple) else (value,):
        if entry.choices and not (isinstance(word, str) and word in entry.choices):
            told = word if isinstance(word, (str, int, float)) else shown(word)
            raise choice_error(entry.name.replace("_", "-"), told, entry.choices)


def _wrong(entry: Entry, value: Any, nouns: bool) -> str | None:
    """What a number would have to be, and what it is; ``None`` where it is right."""
    if entry.kind is bool and not isinstance(value, bool):
        return f"True or False, got {value!r}"
    if entry.kind is int:
        return _wrong_count(entry, value, nouns)
    if entry.kind is float:
        return _wrong_number(entry, value, nouns)
    if entry.kind is str and not isinstance(value, str):
        return f"a text, got {shown(value)}"
    if entry.kind == tuple[str, ...] and not (isinstance(value, tuple) and all(isinstance(one, str) for one in value)):
        return f"names, got {shown(value)}"
    if entry.kind == tuple[float, ...]:
        if not isinstance(value, tuple) or not value:
            return f"one number or more, got {value!r}"
        return next((told for one in value if (told := _wrong_number(entry, one, nouns))), None)
    return None


def _wrong_count(entry: Entry, value: Any, nouns: bool) -> str | None:
    least, most = entry.bound("least"), entry.bound("most")
    whole = isinstance(value, int) and not isinstance(value, bool)
    if nouns and least is not None and not (whole and value >= least):
        return f"a whole number of at least {least}, got {value!r}"
    if not whole:
        return f"a whole number, got {value!r}"
    if least is not None and value < least:
        return f"at least {least}, got {value}"
    return f"at most {most}, got {value}" if most is not None and value > most else None


def _wrong_number(entry: Entry, value: Any, nouns: bool) -> str | None:
    least, most, above, below = (entry.bound(which) for which in ("least", "most", "above", "below"))
    if least is None and most is None and above is None and below is None:
        told = f"a number, got {shown(value)}"
        return None if isinstance(value, (int, float, str)) else told  # a limit says by itself what it takes
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    inside = (
        real
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if inside:
        return None
    got = f"{value:g}" if real and least is None else repr(value)
    if least is not None:
        return f"{least:g} to {most:g}, got {got}" if most is not None else f"at least {least:g}, got {got}"
    upper = f" and at most {most:g}" if most is not None else f" and below {below:g}" if below is not None else ""
    noun = "a number " if nouns and not upper else ""
    return f"{noun}above {above:g}{upper}, got {got}"


def flag(name: str) -> str:
    """An option's name as it is typed."""
    return "--" + name.replace("_", "-")


def options_record(options: Any) -> dict[str, Any]:
    """The options as JSON values, by flat name: paths as strings, tuples as lists."""
    return {name: _jsonable(entry.of(options)) for name, entry in entries(type(options)).items()}


def options_from_record(options_class: type[Made], record: dict[str, Any]) -> Made:
    """The options that ``options_record`` wrote. Fields that the record lacks take their defaults.

    Raises:
        OptionError: the record has options that the class does not.
    """
    known = entries(options_class)
    foreign = [name for name in record if name not in known]
    if foreign:
        raise OptionError(f"recorded option {foreign[0]!r} is not one of this version's: {', '.join(known)}")
    values = {}
    for name, value in record.items():
        try:
            values[name] = _from_jsonable(value, known[name].kind)
        except TypeError:
            raise OptionError(f"recorded option {name} has a value of another kind: {shown(value)}") from None
    return made_of(options_class, values)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    assert len(kinds) == 1, f"an option has one type, or None: {hint}"
    return kinds[0]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_jsonable(item) for item in value] if isinstance(value, tuple) else value


def _from_jsonable(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if kind is Path:
        return Path(value)
    return tuple(value) if typing.get_origin(kind) is tuple else value
