"""Errors that the user can mend: one line each, exit status 2 at the command's edge."""

from __future__ import annotations

from typing import Self


class GapruneError(Exception):
    """Base of every error whose message says what is wrong, where, and what would be right, on one line.

    Names come from strangers (keys, files, classes): a control character among them is shown as Python writes it.

    Args:
        message: the line.

    Examples:
        >>> print(GapruneError("no class named 'a\\nb'"))
        no class named 'a b'
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class OptionError(GapruneError):
    """An option has a value that cannot be used."""


class DataError(GapruneError):
    """A data set is missing, empty or unreadable."""


class ModelError(GapruneError):
    """A network is unknown, cannot be built, or cannot be pruned."""


class CheckpointError(GapruneError):
    """A file of weights is missing, foreign or damaged."""


class RunError(GapruneError):
    """A run directory is in use, damaged, or belongs to another run."""


class BackendError(GapruneError):
    """Workers cannot be had or kept: a cluster is unreachable, too small, or of another version."""


class DeviceLostError(BackendError):
    """A device has answered nothing since an error in this process; a process begun afresh may use it again."""


class TrainingError(GapruneError):
    """Training cannot go on: the loss is no longer a number, or there is nothing to learn from."""


class MethodError(GapruneError):
    """A way to compress, run or ship a network does not apply, or not in this order, or lacks a library."""


class OutputError(GapruneError):
    """Standard output takes no more, as where it is a file on a full disk."""

    @classmethod
    def of(cls, error: OSError, advice: str = "") -> Self:
        """From what the system says.

        >>> print(OutputError.of(OSError(28, "No space left on device")))
        cannot write to standard output: No space left on device
        """
        return cls(f"cannot write to standard output: {error.strerror or error}{advice and '; '}{advice}")


def one_line(text: str) -> str:
    """A text with spaces for its line ends, and other control characters escaped, as Python writes them.

    Args:
        text: anything.
    """
    text = " ".join(line.strip() for line in text.splitlines()) if len(text.splitlines()) > 1 else text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type where it has none."""
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0])


def choice_error(what: str, got: object, valid: tuple[str, ...] | list[str]) -> OptionError:
    """The error for a name that is none of the valid ones, which it lists."""
    return OptionError(f"unknown {what} {got!r}: choose one of {', '.join(valid)}")
