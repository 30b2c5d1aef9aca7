"""One measurement at a time on a machine, also where somebody else owns the lock."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from gaprune.runtimes import latency


class Foreign(FileLock):
    """The machine's lock is another user's."""

    def acquire(self, *given: object, **options: object) -> object:  # type: ignore[override]
        if Path(self.lock_file).name == latency.LOCK:
            raise PermissionError(13, "Permission denied")
        return super().acquire(*given, **options)  # type: ignore[arg-type]


def test_a_measurement_keeps_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with latency.alone(), pytest.raises(Timeout):
        FileLock(tmp_path / latency.LOCK).acquire(blocking=False)


def test_a_lock_of_another_user_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(latency, "FileLock", Foreign)
    with latency.alone():
        (own,) = tmp_path.iterdir()
        assert own.name.endswith(f"-{latency.LOCK}")
        with pytest.raises(Timeout):
            FileLock(own).acquire(blocking=False)
