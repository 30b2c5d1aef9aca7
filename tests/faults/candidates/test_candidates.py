"""A candidate that raises, exits, hangs, is killed or yields NaN costs itself only, and is not tried for ever."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from killing import evaluations, left_by
from subject import Subject

IN_PYTHON = {
    "sys.exit": "SystemExit: tired",
    "oserror": "OSError: [Errno 28] No space left on device",
    "memory": "MemoryError: MemoryError",
    "nan": "cost is not finite",
}

ENDS = {
    "exit": (3, "exit status 3"),
    "killed": (-signal.SIGKILL, "ended by SIGKILL"),
    "segfault": (-signal.SIGSEGV, "ended by SIGSEGV"),
}
"""What ends the process: the status of a search without isolation, and what is said of the candidate."""


@pytest.mark.parametrize("kind", IN_PYTHON)
def test_what_is_raised_in_a_candidate_fails_it_alone(subject: Subject, kind: str) -> None:
    run, fault = subject.place / "run", subject.misbehaving(kind)
    status, said = subject.search("--output", str(run), fault=fault)
    assert status == 0, said
    subject.check_cost_itself_only(run, IN_PYTHON[kind])


@pytest.mark.parametrize("kind", ["loop", "sleep"])
def test_what_hangs_in_python_is_interrupted(subject: Subject, kind: str) -> None:
    run, fault = subject.place / "run", subject.misbehaving(kind)
    status, said = subject.search("--output", str(run), "--candidate-timeout", "2s", fault=fault)
    assert status == 0, said
    subject.check_cost_itself_only(run, "took longer than 2 s, see --candidate-timeout")
    assert fault.tries == 1


def test_what_cannot_be_interrupted_ends_the_process_and_is_tried_once_more_on_resume(subject: Subject) -> None:
    run, fault = subject.place / "run", subject.misbehaving("stubborn")
    status, said = subject.search("--output", str(run), "--candidate-timeout", "2s", fault=fault)
    assert status == 124, said
    last = said.splitlines()[-1]
    assert f"candidate {subject.bad['key'][:12]} took longer than 2 s" in last
    assert f"nothing is lost, go on with: python -m gaprune.search --resume {run}" in last
    assert "Traceback" not in said
    assert json.loads((run / "trying.json").read_text()) == {"key": subject.bad["key"], "tries": 1}
    status, said = subject.resume(run, fault=fault)
    assert status == 0, said
    assert "it is tried in a process of its own" in said
    subject.check_cost_itself_only(run, "given up after 2 tries: took longer than 2 s")
    assert fault.tries == 2


@pytest.mark.parametrize("kind", ENDS)
def test_what_ends_the_process_fails_on_resume(subject: Subject, kind: str) -> None:
    run, fault = subject.place / "run", subject.misbehaving(kind)
    expected, told = ENDS[kind]
    assert subject.search("--output", str(run), fault=fault)[0] == expected
    status, said = subject.resume(run, fault=fault)
    assert status == 0, said
    subject.check_cost_itself_only(run, f"given up after 2 tries: its process {'was ' if expected < 0 else ''}")
    assert told in said + json.dumps(evaluations(run))
    assert fault.tries == 2


def test_a_process_that_others_have_ended_costs_no_candidate(subject: Subject) -> None:
    """Killed once, by no fault of the candidate: tried in a process of its own, its outcome is what it was."""
    run, fault = subject.place / "run", subject.misbehaving("killed")
    assert subject.search("--output", str(run), fault=fault)[0] == -signal.SIGKILL
    assert (run / "trying.json").read_text()
    status, said = subject.resume(run)
    assert status == 0, said
    assert "it is tried in a process of its own" in said
    assert left_by(run) == left_by(subject.whole)


def test_a_candidate_with_which_the_whole_search_is_ended_each_time_fails_in_the_end(subject: Subject) -> None:
    """As where the system kills a container as one: nobody is left to see the candidate's process end."""
    run, fault = subject.place / "run", subject.misbehaving("killed")
    assert subject.search("--output", str(run), fault=fault)[0] == -signal.SIGKILL
    (run / "trying.json").write_text(json.dumps({"key": subject.bad["key"], "tries": 3}))
    status, said = subject.resume(run, fault=fault)
    assert status == 0, said
    subject.check_cost_itself_only(run, "given up after 3 tries: the search's process has ended each time")
    assert fault.tries == 1


def test_what_leaves_the_device_unusable_ends_the_search_in_one_line_and_costs_itself_only(subject: Subject) -> None:
    run, fault = subject.place / "run", subject.misbehaving("device")
    status, said = subject.search("--output", str(run), fault=fault)
    assert status == 2, said
    told = f"candidate {subject.bad['key'][:12]} has left the GPU unusable for this process: RuntimeError: CUDA error"
    assert told in said
    assert f"python -m gaprune.search --resume {run}" in said
    assert "Traceback" not in said
    assert json.loads((run / "trying.json").read_text()) == {"key": subject.bad["key"], "tries": 1}
    status, said = subject.resume(run, fault=fault)
    assert status == 0, said
    subject.check_cost_itself_only(run, "given up after 2 tries: its process ended with exit status 70")
    assert fault.tries == 2


@pytest.mark.parametrize("kind", ["exit", "stubborn", "device"])
def test_in_a_process_beside_it_the_search_goes_on(subject: Subject, kind: str) -> None:
    run, fault = subject.place / "run", subject.misbehaving(kind)
    status, said = subject.search("--output", str(run), "--isolate", "--candidate-timeout", "2s", fault=fault)
    assert status == 0, said
    told = {
        "exit": "its process ended with exit status 3",
        "stubborn": "took longer than 2 s",
        "device": "its process ended with exit status 70",
    }[kind]
    subject.check_cost_itself_only(run, f"given up after 2 tries: {told}")
    assert fault.tries == 2


def test_in_a_process_beside_it_a_search_finds_the_same(subject: Subject) -> None:
    run = subject.place / "run"
    status, said = subject.search("--output", str(run), "--isolate")
    assert status == 0, said
    found, meant = left_by(run), left_by(subject.whole)
    for left in (found, meant):
        del left["manifest.json"]["options"]["isolate"]
    assert found == meant


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 3}', b"\xff"])
def test_half_a_mark_says_nothing(tmp_path: Path, content: bytes) -> None:
    from gaprune.session.guard import Mark

    (tmp_path / "trying.json").write_bytes(content)
    assert Mark(tmp_path).read() is None
