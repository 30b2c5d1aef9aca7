"""A reporter for tests."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


class Listener:
    """A reporter that remembers, and that can raise at a line, as a user's Ctrl-C would."""

    def __init__(self, raise_at: str | None = None) -> None:
        self.lines: list[str] = []
        self.steps: list[int] = []
        self.figures: dict[str, str] = {}
        self._raise_at = raise_at

    def say(self, line: str) -> None:
        self.lines.append(line)
        if self._raise_at is not None and self._raise_at in line:
            raise KeyboardInterrupt

    def task(self, name: str, total: int) -> AbstractContextManager[Listener]:
        return nullcontext(self)

    def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
        self.steps.append(steps)
        self.figures |= figures
