"""A network that misbehaves when the search is over costs itself only, and is not tried for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faulty import Choosing, Misbehave, Soon
from killing import evaluations, left_by
from subject import Subject

LATER = ("--objectives", "accuracy,faulty:LATER", "--candidate-timeout", "4s")
"""The objective that misbehaves when a member of the front is built."""


def keys(run: Path) -> set[str]:
    """Of the members of a front."""
    return {json.loads(file.read_text())["key"] for file in run.glob("front/*/metrics.json")}


@pytest.fixture
def bad(subject: Subject) -> str:
    """The key of a member of the front."""
    return min(keys(subject.whole))


def misbehaving(subject: Subject, key: str, kind: str) -> Soon:
    """What installs the fault: that member has FLOPs that no other network of the search has."""
    costs = {line["key"]: line["values"]["flops"] for line in evaluations(subject.whole)}
    assert list(costs.values()).count(costs[key]) == 1
    tried = subject.place / "tried"
    tried.mkdir()
    return Soon(Misbehave(kind, costs[key], tried))


IN_PYTHON = {
    "oserror": "OSError: [Errno 28] No space left on device",
    "sys.exit": "SystemExit: tired",
    "loop": "TookTooLong: took longer than 4 s, 1 times what a candidate may take",
    "sleep": "TookTooLong: took longer than 4 s, 1 times what a candidate may take",
}


@pytest.mark.parametrize("kind", IN_PYTHON)
def test_a_member_that_fails_or_hangs_in_python_is_left_out_of_the_front(subject: Subject, bad: str, kind: str) -> None:
    run = subject.place / "run"
    status, said = subject.search(*LATER, "--output", str(run), fault=misbehaving(subject, bad, kind))
    assert status == 0, said
    assert f"member {bad[:8]} is left out: {IN_PYTHON[kind]}" in said
    assert keys(run) == keys(subject.whole) - {bad}, said
    assert not (run / "building.json").exists()


def test_a_member_that_hangs_in_a_library_is_tried_once_more_and_then_left_out(subject: Subject, bad: str) -> None:
    run, fault = subject.place / "run", misbehaving(subject, bad, "stubborn")
    for tries, then in ((2, "it is tried once more there"), (4, "it is left out there")):
        again = subject.resume(run, fault=fault) if run.exists() else None
        status, said = again or subject.search(*LATER, "--output", str(run), fault=fault)
        assert status == 124, said
        last = said.splitlines()[-1]
        assert (
            f"error: member {bad[:8]} took longer than 4 s, 1 times what a candidate may take, and cannot be inter"
            in last
        )
        assert f"nothing is lost, go on with: python -m gaprune.search --resume {run}" in last
        assert last.endswith(f"({then})")
        assert "Traceback" not in said
        assert json.loads((run / "building.json").read_text()) == {"key": bad, "tries": tries}
    status, said = subject.resume(run, fault=fault)
    assert status == 0, said
    assert f"member {bad[:8]} is left out: given up, the process has ended each time that it was tried" in said
    assert keys(run) == keys(subject.whole) - {bad}, said
    assert not (run / "building.json").exists()


def test_a_member_that_ends_the_process_is_left_out_after_three_tries(subject: Subject, bad: str) -> None:
    run, fault = subject.place / "run", misbehaving(subject, bad, "exit")
    assert subject.search(*LATER, "--output", str(run), fault=fault)[0] == 3
    for tries in (2, 3):
        assert subject.resume(run, fault=fault)[0] == 3
        assert json.loads((run / "building.json").read_text()) == {"key": bad, "tries": tries}
    status, said = subject.resume(run, fault=fault)
    assert status == 0, said
    assert keys(run) == keys(subject.whole) - {bad}, said


def test_a_hang_that_does_not_come_again_costs_no_member(subject: Subject, bad: str) -> None:
    run = subject.place / "run"
    status, said = subject.search(*LATER, "--output", str(run), fault=misbehaving(subject, bad, "stubborn"))
    assert status == 124, said
    status, said = subject.resume(run)
    assert status == 0, said
    found, meant = left_by(run), left_by(subject.whole)
    for left in (found, meant):
        for name in ("objectives", "candidate_timeout"):
            del left["manifest.json"]["options"][name]
    assert [name for name in found | meant if found.get(name) != meant.get(name)] == []


def test_a_member_that_leaves_the_device_unusable_ends_the_front_in_one_line(subject: Subject, bad: str) -> None:
    run, fault = subject.place / "run", misbehaving(subject, bad, "device")
    status, said = subject.search(*LATER, "--output", str(run), fault=fault)
    assert status == 2, said
    assert f"member {bad[:8]} has left the GPU unusable for this process: CUDA error" in said
    assert f"python -m gaprune.search --resume {run}" in said
    assert not (run / "front").exists()
    assert json.loads((run / "building.json").read_text()) == {"key": bad, "tries": 1}


@pytest.mark.parametrize("kind", ["oserror", "loop"])
def test_networks_that_fail_when_it_is_chosen_what_is_handed_out_are_passed_over(subject: Subject, kind: str) -> None:
    run = subject.place / "run"
    words = ("--objectives", "accuracy,flops", "--algorithm", "tuned", "--candidate-timeout", "4s")
    status, said = subject.search(*words, "--output", str(run), fault=Soon(Choosing(kind)))
    assert status == 0, said
    assert f"fails on fresh images: {IN_PYTHON[kind]}" in said
    assert keys(run)
    assert not (run / "building.json").exists()
