from __future__ import annotations

from collections import Counter

from tiny_texts import reviews

from gaprune.text.augment import LONGEST_RUN, MASK, augmented, word_kinds

TEXTS = [text for text, _ in reviews(60)]


def test_new_texts_are_made_of_known_words_and_masks() -> None:
    found = augmented(TEXTS, copies=3, seed=0)
    known = {word for text in TEXTS for word in text.split()}
    assert {word for text in found for word in text.split(" ")} == known | {MASK}
    assert len(found) == len(set(found))
    assert not set(found) & set(TEXTS)
    assert 60 < len(found) <= 180
    assert found == augmented(TEXTS, copies=3, seed=0) != augmented(TEXTS, copies=3, seed=1)


def test_words_are_masked_and_runs_kept_as_often_as_the_paper_says() -> None:
    long = [" ".join(f"word{number}" for number in range(start, start + 40)) for start in range(50)]
    lengths = [len(text.split(" ")) for text in augmented(long, copies=20, seed=0)]
    short = sum(length <= LONGEST_RUN for length in lengths)
    assert abs(short / 1000 - 0.25) < 0.06
    whole = [text.split(" ") for text in augmented(long, copies=20, seed=0) if len(text.split(" ")) == 40]
    masks = sum(word == MASK for words in whole for word in words)
    assert abs(masks / (40 * len(whole)) - 0.1) < 0.01


def test_words_with_alike_neighbours_are_of_one_kind() -> None:
    split = [["the", noun, "will", verb] for noun in ("cat", "dog", "man") for verb in ("run", "sit", "eat")] * 4
    kinds = word_kinds(split, Counter(word for words in split for word in words), seed=0)
    assert kinds["cat"] == kinds["dog"] == kinds["man"] != kinds["run"]
