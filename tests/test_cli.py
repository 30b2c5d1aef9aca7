from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE

from gaprune.errors import DataError, OptionError
from gaprune.options.cli import (
    Interrupted,
    argument,
    differences,
    option,
    options_from_record,
    options_record,
    parse,
    run_command,
    typed_command,
)


@dataclass(frozen=True)
class Options:
    """Search for something, 100% of it.

    Attributes:
        model: not for the help.
    """

    model: str = option("vgg16", "which network", choices=("vgg16", "resnet18"))
    population: int = option(40, "networks a generation, 5% of all")
    rate: float = option(0.1, "learning rate", metavar="RATE")
    verbose: bool = option(False, "tell more")
    data_dir: Path | None = option(None, "images")
    seed: int | None = option(None, "random seed")
    objectives: tuple[str, ...] = option(("accuracy", "flops"), "what to search", choices=("accuracy", "flops"))
    shares: tuple[float, ...] = option((0.5, 0.25), "what goes")


@pytest.mark.parametrize(("text", "value"), [("0.1", (0.1,)), ("0.03, 5e-1,1", (0.03, 0.5, 1.0))])
def test_numbers_are_separated_by_commas(text: str, value: tuple[float, ...]) -> None:
    assert given_options("--shares", text).shares == value


@pytest.mark.parametrize("text", ["", "0.1,", "half", "0.1,nan"])
def test_what_is_no_list_of_numbers_is_told(text: str) -> None:
    with pytest.raises(OptionError, match="--shares must be numbers separated by commas, got"):
        given_options("--shares", text)


def given_options(*argv: str) -> Options:
    return parse(Options, argv, "prog")


def test_without_arguments_the_defaults_hold() -> None:
    assert given_options() == Options()


def test_every_type_is_read() -> None:
    argv = "--model resnet18 --population 8 --rate 1e-2 --verbose --data-dir a/b --seed -1 --objectives flops, "
    assert given_options(*argv.strip().rstrip(",").split()) == Options(
        model="resnet18",
        population=8,
        rate=0.01,
        verbose=True,
        data_dir=Path("a/b"),
        seed=-1,
        objectives=("flops",),
    )


def test_a_flag_can_be_denied_and_a_list_may_have_spaces() -> None:
    options = given_options("--verbose", "--no-verbose", "--objectives", "flops, accuracy")
    assert options == replace(Options(), objectives=("flops", "accuracy"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--populaton 3", "unknown option '--populaton': did you mean --population?"),
        ("--populaton=3", "unknown option '--populaton': did you mean --population?"),
        ("--popul 3", "unknown option '--popul': did you mean --population?"),
        ("--zzz", "unknown option '--zzz': see prog --help"),
        ("vgg16", "unexpected argument 'vgg16': options are --name value, see prog --help"),
        ("--population many", "--population must be a whole number, got 'many'"),
        ("--population 1.5", "--population must be a whole number, got '1.5'"),
        ("--rate nan", "--rate must be a number, got 'nan'"),
        ("--rate inf", "--rate must be a number, got 'inf'"),
        ("--population", "--population: expected one argument"),
        ("--model alexnet", "unknown model 'alexnet': choose one of vgg16, resnet18"),
        ("--objectives speed", "unknown objectives 'speed': choose one of accuracy, flops"),
        ("--objectives flops,,", "--objectives must be names separated by commas, got 'flops,,'"),
        ("--data-dir=", "--data-dir must be a path, got ''"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_says_what_is_right(argv: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        given_options(*argv.split())
    assert str(caught.value) == message


def test_help_shows_the_docstring_and_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda options: None, Options, "prog", ["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Search for something, 100% of it." in text
    assert "not for the help" not in text
    assert "which network (default: vgg16); one of vgg16, resnet18" in text
    assert "networks a generation, 5% of all (default: 40)" in text
    assert "--verbose, --no-verbose tell more (default: no)" in text
    assert "--rate RATE" in text
    assert "what to search (default: accuracy,flops)" in text
    assert "images (default: none)" in text


def test_a_command_that_works_gets_its_options_and_returns_0() -> None:
    seen: list[Options] = []
    assert run_command(seen.append, Options, "prog", ["--population", "8"]) == 0
    assert seen == [Options(population=8)]


def raising(error: BaseException) -> int:
    def command(options: Options) -> None:
        raise error

    return run_command(command, Options, "prog", [])


def test_an_error_the_user_can_mend_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(DataError("no images in\ndata")) == 2
    assert capsys.readouterr() == ("", "prog: error: no images in data\n")


def test_ctrl_c_is_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "prog: interrupted\n")


def test_a_command_can_say_how_to_go_on_after_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(Interrupted("stopped; go on with: prog --resume runs/a")) == 130
    assert capsys.readouterr().err == "prog: stopped; go on with: prog --resume runs/a\n"


def test_the_command_to_go_on_with_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(Interrupted("go on with: prog --resume 'two  spaces'")) == 130
    assert capsys.readouterr().err == "prog: go on with: prog --resume 'two  spaces'\n"


def terminate(options: Options) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("went on")


@pytest.fixture
def sigterm_undecided() -> Iterator[None]:
    """As in a fresh process, whatever a library that other tests loaded has made of it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_undecided")
def test_sigterm_is_one_line_and_143_and_decided_by_others_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(terminate, Options, "prog", []) == 143
    assert capsys.readouterr() == ("", "prog: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("sigterm_undecided")
def test_a_second_sigterm_does_not_disturb_what_the_first_has_begun(capsys: pytest.CaptureFixture[str]) -> None:
    def command(options: Options) -> None:
        try:
            terminate(options)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            raise Interrupted("all is saved") from None

    assert run_command(command, Options, "prog", []) == 143
    assert capsys.readouterr().err == "prog: all is saved\n"


def test_sigterm_stays_with_who_has_decided_what_it_does() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        assert run_command(lambda options: os.kill(os.getpid(), signal.SIGTERM), Options, "prog", []) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_a_command_works_in_a_thread_too() -> None:
    with ThreadPoolExecutor() as pool:
        assert pool.submit(run_command, lambda options: None, Options, "prog", []).result() == 0


@dataclass(frozen=True)
class Typed(Options):
    """Options that know which of them were typed."""

    shares: tuple[float, ...] = option((0.5,), "shares")
    given: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--population", "40", "--data-dir", "a b", "--objectives", "flops,accuracy"],
        ["--no-verbose", "--rate", "0.5", "--seed", "3"],
        ["--verbose", "--model", "resnet18"],
        ["--shares", "0.1,0.25"],
    ],
)
def test_a_typed_command_can_be_typed_again(argv: list[str]) -> None:
    options = parse(Typed, argv, "prog")
    words = shlex.split(typed_command("prog", options))
    assert sorted(words) == sorted(["prog", *argv])
    assert parse(Typed, words[1:], "prog") == options


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())


SCRIPT = textwrap.dedent(
    """
    from __future__ import annotations
    import sys
    from dataclasses import dataclass
    from gaprune.options.cli import option, run_command
    from gaprune.errors import RunError

    @dataclass(frozen=True)
    class Options:
        '''Print lines.'''

        lines: int = option(1, "how many")

    def command(options: Options) -> None:
        if options.lines < 0:
            raise RunError("runs/a is in use")
        if options.lines == 0:
            raise ZeroDivisionError("a bug")
        for number in range(options.lines):
            print("line", number)

    sys.exit(run_command(command, Options, "prog"))
    """
)


def run_script(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, *argv], capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("argv", "status", "error"),
    [
        (["--lines", "1"], 0, ""),
        (["--lines=-1"], 2, "prog: error: runs/a is in use\n"),
        (["--line", "1"], 2, "prog: error: unknown option '--line': did you mean --lines?\n"),
        (["--lines", "x"], 2, "prog: error: --lines must be a whole number, got 'x'\n"),
    ],
)
def test_a_process_ends_with_the_status_and_one_line(argv: list[str], status: int, error: str) -> None:
    done = run_script(*argv)
    assert (done.returncode, done.stderr) == (status, error)


def test_a_process_with_a_bug_shows_its_traceback() -> None:
    done = run_script("--lines", "0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr


IMPATIENT = textwrap.dedent(
    """
    import os, signal, sys, time
    from dataclasses import dataclass
    from gaprune.options.cli import run_command
    from gaprune.options.edge import ONE_PRESS

    @dataclass(frozen=True)
    class Options:
        '''Wait.'''

    def command(options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            time.sleep(float(sys.argv[1]) * ONE_PRESS)
            os.kill(os.getpid(), signal.SIGINT)
            print("put in order", flush=True)

    sys.exit(run_command(command, Options, "prog", []))
    """
)


@pytest.mark.parametrize(
    ("presses", "said", "error"),
    [("0", "put in order\n", "prog: interrupted\n"), ("1.2", "", "ended at once\n")],
)
def test_ctrl_c_that_is_pressed_again_later_ends_the_process_at_once(presses: str, said: str, error: str) -> None:
    words = [sys.executable, "-c", IMPATIENT, presses]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (130, said, error)


STRAY = textwrap.dedent(
    """
    import os, sys
    from gaprune.options.edge import open_streams

    open_streams()
    with open(sys.argv[1], "wb") as file:
        os.write(1, b"of a library")
    """
)


def test_no_file_gets_the_number_of_a_standard_stream_that_is_closed(tmp_path: Path) -> None:
    """Or what libraries print would be written into it."""
    words = ["bash", "-c", 'exec "$0" -c "$1" "$2" <&- >&-', sys.executable, STRAY, str(tmp_path / "log")]
    assert subprocess.run(words, capture_output=True, timeout=PATIENCE).stderr == b""
    assert (tmp_path / "log").read_bytes() == b""


NAMED = textwrap.dedent(
    """
    import sys
    from dataclasses import dataclass
    from gaprune.options.cli import run_command

    @dataclass(frozen=True)
    class Options:
        '''Say a name.'''

    sys.exit(run_command(lambda options: print("caf\\xe9 \\udcff"), Options, "prog", []))
    """
)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", b"caf\xc3\xa9 \xff\n"), ("latin-1", b"caf\xe9 \\udcff\n"), ("ascii", b"caf\\xe9 \\udcff\n")],
)
def test_what_a_screen_cannot_show_is_escaped(encoding: str, said: bytes) -> None:
    """Also where the locale lets Python be strict, as most do but ``C``."""
    variables = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run([sys.executable, "-c", NAMED], env=variables, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, b"")


def test_a_closed_output_ends_a_process_quietly() -> None:
    command = [sys.executable, "-c", SCRIPT, "--lines", "200000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=PATIENCE) == 141


options_strategy = st.builds(
    Options,
    population=st.integers(),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    verbose=st.booleans(),
    data_dir=st.none() | st.text("ab/", min_size=1).map(Path),
    seed=st.none() | st.integers(),
    objectives=st.lists(st.sampled_from(["accuracy", "flops"])).map(tuple),
)


@given(options_strategy)
def test_a_record_survives_json_and_gives_the_same_options_back(options: Options) -> None:
    record = json.loads(json.dumps(options_record(options)))
    assert options_from_record(Options, record) == options


def test_a_record_with_a_foreign_option_is_refused() -> None:
    with pytest.raises(OptionError, match="recorded option 'colour'"):
        options_from_record(Options, {"colour": "red"})


def test_options_that_a_record_lacks_take_their_defaults() -> None:
    assert options_from_record(Options, {"population": 8}) == Options(population=8)


def test_differences_are_readable() -> None:
    old = options_record(Options(data_dir=Path("a")))
    new = options_record(Options(population=8, objectives=("flops",), verbose=True))
    assert differences(old, new) == [
        "population: 40 -> 8",
        "verbose: no -> yes",
        "data_dir: a -> none",
        "objectives: accuracy,flops -> flops",
    ]
    assert differences({"a": {"b": 1}, "c": 1}, {"a": {"b": 2}, "d": 3}) == [
        "a.b: 1 -> 2",
        "c: 1 -> none",
        "d: none -> 3",
    ]
    assert differences(old, old) == []


@dataclass(frozen=True)
class Placed:
    """Work on a folder."""

    folder: Path = argument("the folder to work on", metavar="FOLDER")
    rounds: int = option(2, "how often")
    given: frozenset[str] = field(default=frozenset(), compare=False)


@pytest.mark.parametrize("argv", [["a b", "--rounds", "3"], ["--rounds", "3", "a b"]])
def test_an_argument_is_given_by_its_place_and_typed_again_first(argv: list[str]) -> None:
    options = parse(Placed, argv, "prog")
    assert options == Placed(Path("a b"), 3)
    assert typed_command("prog", options) == "prog 'a b' --rounds 3"
    assert typed_command("prog", parse(Placed, ["x"], "prog")) == "prog x"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "FOLDER is missing: give the folder to work on"),
        (["a", "b"], "unexpected argument 'b'"),
        (["--folder", "a"], "unknown option '--folder'"),
    ],
)
def test_a_missing_or_surplus_argument_is_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse(Placed, argv, "prog")


def test_help_shows_arguments_before_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Placed, ["--help"], "prog")
    out = capsys.readouterr().out
    assert "prog FOLDER [--option value ...]" in out
    assert "the folder to work on" in out
