"""Texts as token ids: cut to a length, counted where that loses something, padded by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from gaprune.compress import Inputs
from gaprune.text.augment import MASK

PAD, UNKNOWN = "[PAD]", "[UNK]"


@dataclass(frozen=True)
class Encoded:
    """Texts as ids.

    Attributes:
        ids: of each text, at least one.
        cut: how many texts were longer than the limit.
        padding: the id that fills a batch up.
    """

    ids: tuple[tuple[int, ...], ...]
    cut: int
    padding: int

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int]) -> Inputs:
        """Ids and mask, (n, L) int64 each, of some texts, L the longest one's length."""
        return padded([self.ids[index] for index in indices], self.padding)

    def batches(self, size: int, indices: Sequence[int] | None = None) -> Iterator[tuple[list[int], Inputs]]:
        """Batches of texts of like length, and which they are: all texts, or those of ``indices``, each once."""
        chosen = range(len(self)) if indices is None else indices
        order = sorted(chosen, key=lambda index: (len(self.ids[index]), index))
        for start in range(0, len(order), size):
            part = order[start : start + size]
            yield part, self.batch(part)


class Encoder(Protocol):
    """What turns texts into ids."""

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Texts as ids."""
        ...


class BertTokens:
    """An encoder's own tokenizer.

    Args:
        tokenizer: of the library.
        limit: the most ids that a text keeps, special ones included.
    """

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit = limit

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Texts as ids, cut where they are too long."""
        whole = self.tokenizer(list(texts), truncation=False, add_special_tokens=False, verbose=False)["input_ids"]
        special = self.tokenizer.num_special_tokens_to_add()
        found = self.tokenizer(list(texts), truncation=True, max_length=self.limit)["input_ids"]
        cut = sum(len(ids) + special > self.limit for ids in whole)
        return Encoded(tuple(tuple(ids) for ids in found), cut, int(self.tokenizer.pad_token_id))


class StudentTokens:
    """The student's own small vocabulary: the most frequent words of the training texts, and characters for others.

    The library's trainers of vocabularies end differently in each process, and what is saved must be read the same way.

    Args:
        texts: that it is learnt from.
        size: the most entries.
        limit: the most ids that a text keeps.
    """

    def __init__(self, texts: Sequence[str], size: int, limit: int) -> None:
        self.limit = limit
        normalizer = normalizers.BertNormalizer(lowercase=True)
        digits = pre_tokenizers.Digits(individual_digits=True)
        splitter = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), digits])
        counts = Counter(
            word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
        )
        numbers = {entry: number for number, entry in enumerate(_entries(counts, size))}
        self.tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=UNKNOWN))
        self.tokenizer.normalizer, self.tokenizer.pre_tokenizer = normalizer, splitter
        self.tokenizer.add_special_tokens([PAD, UNKNOWN, MASK])

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(self.tokenizer.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Texts as ids, cut where they are too long; a text of none is one unknown."""
        found = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        padding, unknown = (int(self.tokenizer.token_to_id(token) or 0) for token in (PAD, UNKNOWN))
        ids = tuple(tuple(ids[: self.limit]) or (unknown,) for ids in found)
        return Encoded(ids, sum(len(ids) > self.limit for ids in found), padding)


def _entries(counts: Mapping[str, int], size: int) -> list[str]:
    """At most ``size`` entries: special ones, then characters and words that occur twice, frequent ones first."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        characters[word[0]] += count
        for character in word[1:]:
            characters[f"##{character}"] += count
    found = dict.fromkeys((PAD, UNKNOWN, MASK))
    for entries in (characters, counts):
        ranked = sorted(entries.items(), key=lambda item: (-item[1], item[0]))
        found |= dict.fromkeys(entry for entry, count in ranked if count > 1)
    return list(found)[:size]


def padded(ids: Sequence[Sequence[int]], padding: int) -> Inputs:
    """Ids and mask, (n, L) int64 each, L the longest row's length."""
    longest = max(len(row) for row in ids)
    values = torch.full((len(ids), longest), padding, dtype=torch.int64)
    mask = torch.zeros_like(values)
    for number, row in enumerate(ids):
        values[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return (values, mask)
