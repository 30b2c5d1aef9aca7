"""What the user reads is one line, whatever a stranger put into it."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.errors import GapruneError, ModelError, first_line, one_line

ANY = st.text(alphabet=st.characters())


@settings(max_examples=200)
@given(text=ANY)
def test_every_error_of_ours_is_one_line(text: str) -> None:
    shown = str(ModelError(f"no class named {text}"))
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1


@settings(max_examples=200)
@given(text=ANY)
def test_what_is_on_one_line_stays_as_it_is(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
    if text.isprintable():
        assert one_line(text) == text


@settings(max_examples=200)
@given(text=ANY)
def test_the_first_line_of_a_strangers_error_is_one_line(text: str) -> None:
    assert first_line(ValueError(text)).isprintable()


def test_errors_come_back_from_workers_as_they_were() -> None:
    error = pickle.loads(pickle.dumps(GapruneError("a\nb")))
    assert str(error) == "a b"
