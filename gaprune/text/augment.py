"""More texts for a student to ask its teacher about (arXiv 1903.12136, section 3.4).

Of each text, copies in which words are masked or exchanged for words of the same kind, and of which sometimes only
a run of one to five words is kept. The paper tells kinds by a part-of-speech tagger, which would be a download; kinds
here are clusters of words with alike neighbours, which is how parts of speech are induced from text (Schuetze 1995).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

MASK = "[MASK]"
MASKED, EXCHANGED, RUN = 0.1, 0.1, 0.25
LONGEST_RUN = 5
KINDS = 40
NEIGHBOURS = 200
"""The most frequent words, as whose neighbours words are alike."""


def augmented(texts: Sequence[str], *, copies: int, seed: int) -> list[str]:
    """New texts made of ``texts``, about ``copies`` of each; none twice, none of the given ones.

    Args:
        texts: words separated by blanks.
        copies: to draw of each text.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    split = [text.split(" ") for text in texts]
    counts = Counter(word for words in split for word in words)
    kinds = word_kinds(split, counts, seed=seed)
    members: dict[int, list[str]] = {}
    for word, kind in kinds.items():
        members.setdefault(kind, []).append(word)
    shares = {kind: _shares([counts[word] for word in words]) for kind, words in members.items()}
    found: dict[str, None] = {}
    for words in split:
        for _ in range(copies):
            changed = [_changed(word, rng, kinds, members, shares) for word in words]
            found[" ".join(_run(changed, rng))] = None
    known = set(texts)
    return [text for text in found if text not in known]


def word_kinds(split: Sequence[Sequence[str]], counts: Counter[str], *, seed: int) -> dict[str, int]:
    """For each word the number of its kind: by which frequent words stand left and right of it, as shares."""
    frequent = {word: number for number, (word, _) in enumerate(counts.most_common(NEIGHBOURS))}
    numbers = {word: number for number, word in enumerate(counts)}
    profile = np.zeros((len(numbers), 2 * len(frequent)), dtype=np.float32)
    for words in split:
        for left, right in itertools.pairwise(words):
            if left in frequent:
                profile[numbers[right], frequent[left]] += 1
            if right in frequent:
                profile[numbers[left], len(frequent) + frequent[right]] += 1
    profile /= np.linalg.norm(profile, axis=1, keepdims=True).clip(min=1e-6)
    clusters = MiniBatchKMeans(min(KINDS, len(numbers)), random_state=seed, n_init=1, batch_size=4096)
    return dict(zip(numbers, (int(kind) for kind in clusters.fit_predict(profile)), strict=True))


def _changed(
    word: str,
    rng: np.random.Generator,
    kinds: dict[str, int],
    members: dict[int, list[str]],
    shares: dict[int, NDArray[np.float64]],
) -> str:
    drawn = rng.random()
    if drawn < MASKED:
        return MASK
    if drawn < MASKED + EXCHANGED:
        kind = kinds[word]
        return members[kind][int(np.searchsorted(shares[kind], rng.random(), side="right"))]
    return word


def _run(words: list[str], rng: np.random.Generator) -> list[str]:
    if rng.random() >= RUN:
        return words
    length = int(rng.integers(1, LONGEST_RUN + 1))
    start = int(rng.integers(max(1, len(words) - length + 1)))
    return words[start : start + length]


def _shares(counts: Sequence[int]) -> NDArray[np.float64]:
    """Cumulative shares, the last one above every draw."""
    total = np.cumsum(counts, dtype=np.float64)
    total /= total[-1]
    total[-1] = 2.0
    return total
