from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.progress import SILENT, Pace, duration, make_reporter


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> FakeTerminal:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return FakeTerminal()


def plain(text: str) -> str:
    """The text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_plain_lines_come_at_the_start_at_most_one_per_interval_and_at_the_end() -> None:
    clock, stream = FakeClock(), io.StringIO()
    reporter = make_reporter(stream, clock=clock)
    with reporter.task("search", 240) as task:
        for step in range(240):
            clock.now += 1.0
            task.advance(accuracy=f"0.{step:03d}")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "search: 0 of 240"
    assert lines[1] == "search: 10 of 240, 3 min 50 s left, accuracy 0.009"
    assert lines[-1] == "search: 240 of 240, done in 4 min 00 s, accuracy 0.239"
    assert len(lines) == 1 + 23 + 1


def test_the_interval_of_plain_lines_is_a_parameter() -> None:
    clock, stream = FakeClock(), io.StringIO()
    with make_reporter(stream, interval=100.0, clock=clock).task("train", 240) as task:
        for _ in range(240):
            clock.now += 1.0
            task.advance()
    assert len(stream.getvalue().splitlines()) == 1 + 2 + 1


def test_a_task_that_fails_says_where_it_stopped() -> None:
    clock, stream = FakeClock(), io.StringIO()

    def fail() -> None:
        with make_reporter(stream, clock=clock).task("search", 10) as task:
            clock.now += 2
            task.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert stream.getvalue().splitlines()[-1] == "search: 3 of 10, stopped after 2 s"


def test_figures_stay_until_they_are_given_again() -> None:
    stream = io.StringIO()
    with make_reporter(stream).task("search", 2) as task:
        task.advance(hypervolume="0.5", best_loss="1.0")
        task.advance(hypervolume="0.6")
    assert "hypervolume 0.6, best loss 1.0" in stream.getvalue().splitlines()[-1]


def test_say_writes_one_line_and_flushes_it() -> None:
    stream = io.StringIO()
    make_reporter(stream).say("using the built-in digits")
    assert stream.getvalue() == "using the built-in digits\n"


def test_standard_output_is_looked_up_when_the_reporter_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    make_reporter().say("hello")
    assert capsys.readouterr().out == "hello\n"


def test_a_terminal_gets_a_bar_with_time_left_and_figures(terminal: FakeTerminal) -> None:
    clock = FakeClock()
    with make_reporter(terminal, clock=clock).task("search", 40) as task:
        for _ in range(30):
            clock.now += 2.0
            task.advance(accuracy="0.93")
    shown = plain(terminal.getvalue())
    assert "search" in shown
    assert "30 of 40" in shown
    assert "20 s left" in shown
    assert "accuracy 0.93" in shown


def test_on_a_terminal_a_said_line_stands_whole_above_the_bar(terminal: FakeTerminal) -> None:
    reporter = make_reporter(terminal)
    line = "[bold] 12 images of a long folder name " * 5
    with reporter.task("search", 2) as task:
        task.advance()
        reporter.say(line)
        task.advance()
    lines = [part.strip("\r") for part in plain(terminal.getvalue()).split("\n")]
    assert line in [part.split("\r")[-1] for part in lines]
    assert "2 of 2" in lines[-2]


def test_nested_tasks_share_one_display_and_the_inner_bar_goes_when_it_ends(terminal: FakeTerminal) -> None:
    reporter = make_reporter(terminal)
    with reporter.task("outer", 2) as outer:
        with reporter.task("inner", 1) as inner:
            inner.advance()
        outer.advance(2)
    shown = plain(terminal.getvalue()).rstrip("\n")
    assert "inner" in shown
    assert "inner" not in shown.splitlines()[-1]
    assert "2 of 2" in shown.splitlines()[-1]


def test_a_reporter_can_run_one_task_after_another(terminal: FakeTerminal) -> None:
    reporter = make_reporter(terminal)
    for name in ("train", "search"):
        with reporter.task(name, 1) as task:
            task.advance()
    assert plain(terminal.getvalue()).count("\n") == 2


def test_a_dumb_terminal_gets_plain_lines(terminal: FakeTerminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with make_reporter(terminal).task("search", 1):
        pass
    assert terminal.getvalue().startswith("search: 0 of 1\n")


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.say("nothing")
    with SILENT.task("search", 3) as task:
        task.advance(2, accuracy="1")
    assert capsys.readouterr() == ("", "")


def test_time_left_ignores_a_slow_first_step() -> None:
    clock = FakeClock()
    pace = Pace(100, clock)
    clock.now += 60.0
    pace.advance(1)
    for _ in range(39):
        clock.now += 1.0
        pace.advance(1)
    assert pace.left() == pytest.approx(60.0)


def test_time_left_does_not_take_a_burst_for_speed() -> None:
    clock = FakeClock()
    pace = Pace(120, clock)
    for _ in range(2):
        clock.now += 90.0
        for _ in range(30):
            pace.advance(1)
            clock.now += 0.001
    assert pace.left() == pytest.approx(180.0, rel=0.01)


def test_work_of_an_earlier_process_is_counted_and_does_not_flatter_the_time_left() -> None:
    clock = FakeClock()
    pace = Pace(200, clock)
    pace.advance(100)
    assert pace.left() is None
    for _ in range(10):
        clock.now += 1.0
        pace.advance(1)
    assert pace.done == 110
    assert pace.left() == pytest.approx(90.0)


def test_time_left_runs_down_between_two_steps_and_never_below_zero() -> None:
    clock = FakeClock()
    pace = Pace(2, clock)
    clock.now += 10.0
    pace.advance(1)
    clock.now += 4.0
    assert pace.left() == pytest.approx(6.0)
    clock.now += 60.0
    assert pace.left() == 0.0


@given(st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 50)), max_size=40))
def test_time_left_is_never_negative_and_nothing_when_all_is_done(steps: list[tuple[float, int]]) -> None:
    clock = FakeClock()
    pace = Pace(sum(count for _, count in steps), clock)
    for seconds, count in steps:
        clock.now += seconds
        pace.advance(count)
        left = pace.left()
        assert left is None or left >= 0.0
    assert pace.left() in (None, 0.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (190, "3 min 10 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_duration_is_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
