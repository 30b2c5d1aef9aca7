"""Which members are handed out."""

from __future__ import annotations

from gaprune.front.members import _Made, _undominated, distinct
from gaprune.runs import FrontRow, member_name


def made(key: str, *minimised: float, violation: float = 0.0) -> _Made:
    row = FrontRow(-1, key, {}, 0.5, 0.5, 1, 0.5, 1, 0.5, 1.0)
    return _Made(row, "polished", None, minimised, violation)


def test_members_that_are_dominated_by_now_are_left_out() -> None:
    members = [made("a", 0.4, 0.1), made("b", 0.5, 0.2), made("c", 0.3, 0.3), made("d", 0.3, 0.3), made("e", 0.2, 0.9)]
    assert [one.row.key for one in _undominated(members)] == ["a", "c", "e"]


def test_members_that_no_longer_keep_to_the_constraints_are_left_out() -> None:
    members = [made("a", 0.1, 0.1, violation=0.01), made("b", 0.5, 0.2), made("c", 0.3, 0.3)]
    assert [one.row.key for one in _undominated(members)] == ["b", "c"]


def test_of_none_but_violating_members_the_nearest_stay() -> None:
    members = [made("a", 0.1, 0.1, violation=0.2), made("b", 0.5, 0.2, violation=0.1)]
    assert [one.row.key for one in _undominated(members)] == ["b"]


def test_names_that_begin_alike_become_whole_keys() -> None:
    keys = ["3fa9c2e1" * 4, "3fa9c2e1" + "0" * 24, "77aa0011" * 4]
    names = [member_name(keys[0], "polished"), member_name(keys[1], "polished"), member_name(keys[2])]
    assert distinct(names, keys) == [f"{keys[0]}-polished", f"{keys[1]}-polished", "77aa0011"]
    apart = [member_name(keys[0], "iteration1"), member_name(keys[0], "iteration2")]
    assert distinct(apart, [keys[0], keys[0]]) == apart
