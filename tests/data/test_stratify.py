from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.data.stratify import complement, drawable, interleaved, stratified
from gaprune.errors import DataError


@st.composite
def draws(draw: st.DrawFn) -> tuple[torch.Tensor, int, int]:
    counts = draw(st.lists(st.integers(0, 30), min_size=1, max_size=6))
    leave = draw(st.integers(0, 2))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))
    return labels[order], draw(st.integers(0, drawable(labels, leave))), leave


@settings(deadline=None)
@given(draws(), st.integers(0, 5))
def test_a_draw_has_the_size_asked_for_and_leaves_what_must_stay(
    case: tuple[torch.Tensor, int, int], seed: int
) -> None:
    labels, size, leave = case
    drawn = stratified(labels, size, purpose="test", seed=seed, leave=leave)
    assert drawn.dtype == torch.int64
    assert len(drawn) == size
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    total = torch.bincount(labels, minlength=6)
    taken = torch.bincount(labels[drawn], minlength=6)
    assert ((total - taken >= leave) | (taken == 0)).all()


@settings(deadline=None)
@given(draws())
def test_every_class_gets_its_share_to_within_one_image(case: tuple[torch.Tensor, int, int]) -> None:
    labels, size, _ = case
    drawn = stratified(labels, size, purpose="test", seed=0)
    total = torch.bincount(labels, minlength=6).double()
    taken = torch.bincount(labels[drawn], minlength=6)
    assert ((taken - total * size / max(len(labels), 1)).abs() < 1 + 1e-9).all()


def test_a_seed_repeats_a_draw_and_another_seed_or_purpose_changes_it() -> None:
    labels = torch.arange(10).repeat(50)
    first = stratified(labels, 50, purpose="search", seed=3)
    assert torch.equal(first, stratified(labels, 50, purpose="search", seed=3))
    assert not torch.equal(first, stratified(labels, 50, purpose="search", seed=4))
    assert not torch.equal(first, stratified(labels, 50, purpose="calibration", seed=3))


@settings(deadline=None)
@given(st.integers(0, 20).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(n - 1, 0))))))
def test_complement_and_indices_make_the_whole(case: tuple[int, set[int]]) -> None:
    total, chosen = case[0], sorted(index for index in case[1] if index < case[0])
    rest = complement(torch.tensor(chosen, dtype=torch.int64), total).tolist()
    assert sorted(rest + chosen) == list(range(total))


def test_impossible_draws_say_what_is_possible() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    with pytest.raises(DataError, match="cannot draw 3 of 4 images: choose 0 to 2"):
        stratified(labels, 3, purpose="test", seed=0, leave=1)
    with pytest.raises(DataError, match="must be 0 or more, got -1"):
        stratified(labels, 1, purpose="test", seed=-1)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 5), st.data())
def test_any_run_of_interleaved_images_holds_the_classes_in_proportion(
    labels: list[int], seed: int, data: st.DataObject
) -> None:
    order = interleaved(torch.tensor(labels, dtype=torch.int64), seed=seed).tolist()
    assert sorted(order) == list(range(len(labels)))
    totals = Counter(labels)
    start = data.draw(st.integers(0, len(labels)))
    stop = data.draw(st.integers(start, len(labels)))
    seen = Counter(labels[index] for index in order[start:stop])
    for name, total in totals.items():
        assert abs(seen[name] - total * (stop - start) / len(labels)) <= 1 + len(totals) / 2
