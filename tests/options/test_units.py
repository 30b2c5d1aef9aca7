"""Numbers with units: percentages of costs, times."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gaprune
from gaprune.errors import OptionError
from gaprune.options import SearchOptions, from_keywords
from gaprune.options.cli import parse
from gaprune.options.units import SHARE, TIME, number_in


@pytest.mark.parametrize("name", ["max_flops", "max_params", "max_size", "min_accuracy"])
def test_a_limit_may_be_a_percentage_wherever_it_is_given(name: str, tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text(f'{name} = "57%"\n')
    flag = f"--{name.replace('_', '-')}"
    for argv in ([flag, "57%"], [flag, "0.57"], [flag, " 57 % "], ["--config", str(file)]):
        assert getattr(parse(SearchOptions, argv, "prog"), name) == 0.57
    assert from_keywords(SearchOptions, {name: "57%"}) == {name: 0.57}
    assert from_keywords(SearchOptions, {name: 0.57}) == {name: 0.57}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("half", "must be a number, or such as 50%, got 'half'"),
        ("%", "must be a number, or such as 50%, got '%'"),
        ("5%%", "must be a number, or such as 50%, got '5%%'"),
        ("9e999999h", "must be a number, or such as 50%, got '9e999999h'"),
        ("9e999999", "must be a number, or such as 50%, got '9e999999'"),
        ("nan", "must be a number, or such as 50%, got 'nan'"),
        ("150%", "must be at most 100%, got '150%'"),
    ],
)
def test_what_is_no_share_is_one_line_wherever_it_is_given(text: str, message: str) -> None:
    with pytest.raises(OptionError) as typed:
        parse(SearchOptions, ["--max-flops", text], "prog")
    assert str(typed.value) == f"--max-flops {message}"
    with pytest.raises(OptionError) as called:
        gaprune.search("vgg16", "digits", max_flops=text)
    assert str(called.value) == f"max-flops {message}"


@given(st.integers(0, 1000))
def test_a_percentage_is_the_number_that_its_digits_say(permille: int) -> None:
    assert number_in("share", f"{permille / 10}%", SHARE) == permille / 1000


@settings(max_examples=50)
@given(st.text(alphabet="0123456789.e-+%smh n", max_size=12) | st.text(max_size=3))
def test_any_text_is_a_finite_number_or_one_line(text: str) -> None:
    for units in (SHARE, TIME):
        with suppress(OptionError):
            assert math.isfinite(number_in("it", text, units))


def test_a_table_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text('recover = "2m"\n[again]\niterations = 1\n')
    assert parse(SearchOptions, ["--config", str(file)], "prog").space.recover == 120
    file.write_text("[recover]\niterations = 2\n")
    assert parse(SearchOptions, ["--config", str(file)], "prog").again.iterations == 2
