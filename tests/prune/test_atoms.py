from __future__ import annotations

import numpy as np
import pytest

from gaprune.prune.graph.atoms import AtomTable


def test_united_atoms_have_one_representative_and_others_keep_their_own() -> None:
    table = AtomTable()
    a, b, c = table.new(3), table.new(3), table.new(3)
    table.unite(a, b)
    table.unite(b, c[[2, 1, 0]])
    assert table.roots(c).tolist() == table.roots(a[[2, 1, 0]]).tolist()
    assert len(set(table.roots(np.concatenate([a, b, c])).tolist())) == 3


@pytest.mark.parametrize("frozen_first", [True, False])
def test_a_frozen_atom_freezes_whatever_joins_it_before_or_after(frozen_first: bool) -> None:
    table = AtomTable()
    a, b, c = table.new(2), table.new(2), table.new(2)
    if frozen_first:
        table.freeze(c[:1], "because")
    table.unite(a, b)
    table.unite(b, c)
    if not frozen_first:
        table.freeze(c[:1], "because")
    assert [table.frozen(int(atom)) for atom in (*a, *b, *c)] == ["because", None] * 3


def test_the_first_reason_stays() -> None:
    table = AtomTable()
    a = table.new(1)
    table.freeze(a, "first")
    table.freeze(a, "second")
    assert table.frozen(int(a[0])) == "first"


def test_axes_of_different_lengths_are_never_united() -> None:
    table = AtomTable()
    with pytest.raises(ValueError, match="cannot unite axes of 2 and 3 atoms"):
        table.unite(table.new(2), table.new(3))
