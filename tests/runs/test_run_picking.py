from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.errors import OptionError
from gaprune.runs import FrontRow, best_of, check_choice, check_rule, choose, pick


def row(index: int, flops: float, accuracy: float, *, params: float = 0.5, test: float | None = None) -> FrontRow:
    return FrontRow(
        index=index,
        key=f"{index:032x}",
        objectives={},
        search_accuracy=accuracy,
        test_accuracy=test,
        flops=round(1e6 * flops),
        flops_share=flops,
        params=round(1e6 * params),
        params_share=params,
        size_mb=1.0,
    )


# the test accuracies would choose otherwise throughout
FRONT = [
    row(0, 0.10, 0.60, params=0.2, test=0.99),
    row(1, 0.20, 0.88, params=0.3, test=0.10),
    row(2, 0.35, 0.91, params=0.6, test=0.95),
    row(3, 0.90, 0.94, params=0.9, test=0.20),
]


@pytest.mark.parametrize(
    ("rule", "index"),
    [
        ("knee", 1),
        ("flops<=0.3", 1),
        ("flops <= 35%", 2),
        ("flops<0.35", 1),
        ("flops < 36%", 2),
        ("accuracy>0.88", 2),
        ("flops<=0.1", 0),
        ("params<=0.5", 1),
        ("params<=1", 3),
        ("accuracy>=0.9", 2),
        ("accuracy>=88%", 1),
        ("accuracy>=0", 0),
    ],
)
def test_a_rule_picks_by_the_search_set(rule: str, index: int) -> None:
    assert pick(FRONT, rule).index == index
    assert pick(FRONT[::-1], rule).index == index


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("flops<=0.05", "no network of the front has flops<=0.05: the nearest has flops 0.1"),
        ("params<=0.1", "no network of the front has params<=0.1: the nearest has params 0.2"),
        ("accuracy>=0.95", "no network of the front has accuracy>=0.95: the nearest has accuracy 0.94"),
    ],
)
def test_when_nothing_satisfies_the_nearest_value_is_named(rule: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        pick(FRONT, rule)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "best",
        "flops=0.3",
        "flops>=0.3",
        "accuracy<=0.9",
        "flops<=",
        "flops<=1.5",
        "flops<=0.3.1",
        "knee<=1",
    ],
)
def test_a_malformed_rule_lists_the_valid_forms(rule: str) -> None:
    for check in (check_rule, lambda rule: pick(FRONT, rule)):
        with pytest.raises(OptionError, match="choose one of knee, flops<=SHARE, params<=SHARE, accuracy>=SHARE"):
            check(rule)


@pytest.mark.parametrize("share", ["50%", "0.5", " 30 % "])
def test_a_share_alone_is_asked_of_what(share: str) -> None:
    for check in (check_rule, check_choice):
        with pytest.raises(OptionError, match=r"of what\? flops<=.*, params<=.* or accuracy>="):
            check(share)


def test_an_empty_front_gives_nothing_to_pick() -> None:
    with pytest.raises(OptionError, match="the front is empty"):
        pick([], "knee")


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        ([row(0, 0.5, 0.9)], 0),
        ([row(0, 0.1, 0.5), row(1, 0.9, 0.9)], 1),
        ([row(0, 0.1, 0.9), row(1, 0.9, 0.9)], 0),
        ([row(0, 0.5, 0.8), row(1, 0.5, 0.9)], 1),
    ],
)
def test_a_front_without_a_bend_still_has_a_knee(rows: Sequence[FrontRow], index: int) -> None:
    assert pick(rows, "knee").index == index


@pytest.mark.parametrize(
    ("choice", "indices"),
    [
        ("all", [0, 1, 2, 3]),
        ("3,0", [0, 3]),
        ("knee", [1]),
        ("flops<=0.3, accuracy>=0.9, 2", [1, 2]),
        ("0,all", [0, 1, 2, 3]),
    ],
)
def test_a_list_chooses_each_member_once_fewest_flops_first(choice: str, indices: list[int]) -> None:
    assert [row.index for row in choose(FRONT[::-1], choice)] == indices


@pytest.mark.parametrize("choice", ["all", "knee", "3,flops<=0.5", "params<=0.7,accuracy>=0.9"])
def test_a_list_chooses_the_same_members_after_some_were_fine_tuned(choice: str) -> None:
    worse, better = 0.2, 0.99
    tuned = [
        replace(one, search_accuracy=accuracy, search_accuracy_before=one.search_accuracy, trained_epochs=5)
        for one, accuracy in zip(FRONT, (better, worse, better, worse), strict=True)
    ]
    assert choose(tuned, choice) == [tuned[row.index] for row in choose(FRONT, choice)]
    assert [row.untrained() for row in tuned] == [replace(row, test_accuracy=None) for row in FRONT]


APART = [  # the cheaper one has more right answers by luck, and is further from the original
    replace(row(0, 0.22, 0.8775), objectives={"divergence": 0.31, "flops": 0.22}),
    replace(row(1, 0.249, 0.875), objectives={"divergence": 0.24, "flops": 0.249}),
    replace(row(2, 0.5, 0.9), objectives={"divergence": 0.05, "flops": 0.5}),
]


def named(rows: Sequence[FrontRow], *names: str) -> list[FrontRow]:
    return [replace(one, objectives=dict(zip(names, one.objectives.values(), strict=True))) for one in rows]


@pytest.mark.parametrize("rule", ["flops<=0.25", "params<=0.5", "latency<=50%"])
def test_within_a_budget_it_is_the_least_of_what_the_search_minimised(rule: str) -> None:
    front = [replace(one, latency=one.flops, latency_share=one.flops_share) for one in APART[:2]]
    assert pick(front, rule) == front[1]
    assert pick(named(front, "loss", "flops"), rule).index == 1
    assert pick(named(front, "accuracy", "flops"), rule).index == 0
    assert pick(named(front, "flops", "divergence"), rule).index == 0  # the first objective is what was searched by
    assert pick([front[0], named(front, "loss", "flops")[1]], rule).index == 0


def test_a_member_that_was_trained_is_told_by_accuracy() -> None:
    reached = {"search_accuracy": 0.9, "trained_epochs": 3, "objectives": {"divergence": 0.1, "flops": 0.22}}
    trained = replace(APART[0], **reached, search_accuracy_before=0.8775, fitness_before=0.31)
    assert best_of([trained, APART[1]]) == trained
    assert trained.untrained() == APART[0]
    assert choose([trained, *APART[1:]], "flops<=0.25") == [APART[1]]  # as it was before
    earlier = replace(trained, fitness_before=None)  # a run of an earlier version does not say it
    assert choose([earlier, *APART[1:]], "flops<=0.25") == [earlier]


@pytest.mark.parametrize("choice", ["", "best", "1;2", "-1", "1,", "flops=0.3", "knee 3", "ALL"])
def test_a_malformed_list_lists_the_valid_forms(choice: str) -> None:
    for check in (check_choice, lambda choice: choose(FRONT, choice)):
        with pytest.raises(OptionError, match="choose all, an index such as 3, knee, flops<=SHARE"):
            check(choice)


@pytest.mark.parametrize(("rows", "message"), [(FRONT, "its members are 0 to 3"), ([], "it is empty")])
def test_a_member_that_is_not_there_is_named(rows: list[FrontRow], message: str) -> None:
    with pytest.raises(OptionError, match=f"the front has no member 7: {message}"):
        choose(rows, "7")


fronts = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8).map(
    lambda points: [row(i, flops, accuracy, test=test) for i, (flops, accuracy, test) in enumerate(points)]
)


@given(fronts, st.sampled_from(["knee", "flops<=1", "params<=0.5", "accuracy>=0"]))
def test_no_choice_depends_on_the_test_set(rows: list[FrontRow], rule: str) -> None:
    blind = [replace(one, test_accuracy=None) for one in rows]
    assert pick(rows, rule).index == pick(blind, rule).index


@given(fronts, st.floats(0, 1))
def test_the_pick_satisfies_its_rule_and_is_the_most_accurate(rows: list[FrontRow], limit: float) -> None:
    within = [one for one in rows if one.flops_share <= float(f"{limit:.6f}")]
    if within:
        chosen = pick(rows, f"flops<={limit:.6f}")
        assert chosen in within
        assert chosen.search_accuracy == max(one.search_accuracy for one in within)


def test_a_member_is_chosen_by_its_name_whatever_its_index() -> None:
    rows = [replace(row, key=f"{row.index}fa9c2e1" * 4, path=f"front/{row.index}fa9c2e1") for row in FRONT]
    assert [row.index for row in choose(rows, "3fa9c2e1,0")] == [0, 3]
    assert [row.index for row in choose(rows, rows[2].key)] == [2]
    check_choice("3fa9c2e1-polished")
    with pytest.raises(OptionError, match="the front has no member 9fa9c2e1: its members are 0 to 3"):
        choose(rows, "9fa9c2e1")


def test_a_name_may_be_all_digits_and_several_of_one_genome_are_told() -> None:
    digits = replace(FRONT[1], key="12345678" * 4, path="front/12345678")
    assert choose([FRONT[0], digits], "12345678") == [digits]
    rows = [replace(FRONT[n], key="3fa9c2e1" * 4, path=f"front/3fa9c2e1-iteration{n}") for n in (1, 2)]
    assert choose(rows, "3fa9c2e1-iteration2") == [rows[1]]
    with pytest.raises(OptionError, match="3fa9c2e1 may be any of 3fa9c2e1-iteration1, 3fa9c2e1-iteration2"):
        choose(rows, "3fa9c2e1")
