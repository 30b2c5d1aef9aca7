"""Texts as they come to texts as they are learnt: cleaned, none twice, none in training and test alike."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Cleaned:
    """What is left of labelled texts.

    Attributes:
        texts: cleaned, none empty, none twice.
        labels: of each.
        empty: how many texts were dropped because nothing was left of them.
        repeated: how many because the same text had come before.
        contradicting: how many because the same text occurs with another label, all its copies.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    empty: int
    repeated: int
    contradicting: int


def clean(text: str) -> str:
    """A text in Unicode NFC, HTML entities resolved, control characters and runs of blanks made one blank."""
    text = unicodedata.normalize("NFC", html.unescape(text))
    text = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    return _BLANKS.sub(" ", text).strip()


def clean_labelled(texts: Sequence[str], labels: Sequence[str]) -> Cleaned:
    """Clean texts, and drop what is empty, repeated or contradicts itself. Case does not tell two texts apart."""
    cleaned = [clean(text) for text in texts]
    by_text: dict[str, set[str]] = {}
    for text, label in zip(cleaned, labels, strict=True):
        by_text.setdefault(text.casefold(), set()).add(label)
    kept: list[tuple[str, str]] = []
    seen: set[str] = set()
    empty = repeated = contradicting = 0
    for text, label in zip(cleaned, labels, strict=True):
        key = text.casefold()
        if not text:
            empty += 1
        elif len(by_text[key]) > 1:
            contradicting += 1
        elif key in seen:
            repeated += 1
        else:
            seen.add(key)
            kept.append((text, label))
    return Cleaned(tuple(t for t, _ in kept), tuple(label for _, label in kept), empty, repeated, contradicting)
