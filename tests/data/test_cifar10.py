from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from patience import PATIENCE
from torchvision.datasets import CIFAR10

from gaprune.data import cifar10
from gaprune.data.cifar10 import find_root, load_cifar10, read_root
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.errors import DataError

if TYPE_CHECKING:
    from conftest import Recorder, TinyCifar10


def test_a_torchvision_root_is_known_from_outside_and_inside(tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    root = tiny_cifar10.unpack(tmp_path / "root")
    assert find_root(root) == root
    assert find_root(root / "cifar-10-batches-py") == root
    assert find_root(tmp_path) is None
    assert find_root(tmp_path / "none") is None


def test_images_labels_and_classes_are_torchvisions(tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    data = read_root(tiny_cifar10.unpack(tmp_path / "root"))
    assert (data.name, data.classes, data.image_shape) == ("cifar10", CIFAR10_CLASSES, (3, 32, 32))
    assert (len(data.train), len(data.test)) == (20, 10)
    for part in (data.train, data.test):
        assert part.images.is_contiguous()
        assert torch.equal(part.images[:, 1, 3, 4].long(), part.labels)
    assert "original pixels" in data.source


def test_files_with_other_checksums_are_never_unpickled(tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    root = tiny_cifar10.unpack(tmp_path / "root")
    # A pickle that would create a file if it were loaded.
    evil = b"cbuiltins\nopen\n(V" + str(tmp_path / "ran").encode() + b"\nVw\ntR."
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(evil)
    with pytest.raises(DataError, match=r"CIFAR-10 in .* is incomplete or damaged: remove"):
        read_root(root)
    assert not (tmp_path / "ran").exists()


def test_it_is_downloaded_once_and_then_found(
    tiny_cifar10: TinyCifar10, tmp_path: Path, recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    data = load_cifar10(tmp_path / "cache", reporter=recorder)
    assert len(data.train) == 20
    assert [name for name, _ in recorder.tasks] == ["downloading CIFAR-10, 1 MB"]
    tiny_cifar10.archive.unlink()
    again = load_cifar10(tmp_path / "cache", reporter=recorder)
    assert torch.equal(again.train.images, data.train.images)
    assert len(recorder.tasks) == 1
    left = sorted(path.name for path in (tmp_path / "cache" / "cifar10").iterdir())
    assert left in (["cifar-10-batches-py"], [".lock", "cifar-10-batches-py"])
    assert capfd.readouterr() == ("", "")


def test_a_root_right_in_the_cache_folder_is_used(tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    tiny_cifar10.unpack(tmp_path / "cache")
    tiny_cifar10.archive.unlink()
    assert len(load_cifar10(tmp_path / "cache").test) == 10


def test_a_damaged_copy_is_downloaded_again(tiny_cifar10: TinyCifar10, tmp_path: Path, recorder: Recorder) -> None:
    root = tiny_cifar10.unpack(tmp_path / "cache" / "cifar10")
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"half")
    assert len(load_cifar10(tmp_path / "cache", reporter=recorder).test) == 10
    assert len(recorder.tasks) == 1
    assert [line for line in recorder.lines if "is incomplete or damaged" in line]


@pytest.mark.parametrize("sent", [b"", b"half an archive"])
def test_a_broken_download_leaves_nothing_that_looks_complete(
    tiny_cifar10: TinyCifar10, tmp_path: Path, sent: bytes
) -> None:
    tiny_cifar10.archive.write_bytes(sent)
    with pytest.raises(DataError, match=r"cannot be downloaded: what .* sent is not the archive"):
        load_cifar10(tmp_path / "cache")
    assert find_root(tmp_path / "cache" / "cifar10") is None
    assert [path.name for path in (tmp_path / "cache" / "cifar10").glob("*/*")] == []


def test_without_a_connection_the_reason_is_given_and_nothing_written(offline: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not cached in .* and cannot be downloaded: Connection refused"):
        load_cifar10(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_server_that_never_answers_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(cifar10, "_PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.getsockname()[1]}/x.tar.gz")
        start = time.monotonic()
        with pytest.raises(DataError, match=r"cannot be downloaded: (no answer from|timed out)"):
            load_cifar10(tmp_path / "cache")
        assert time.monotonic() - start < PATIENCE


def test_a_cache_folder_that_cannot_be_written_is_the_reason(tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be downloaded: Not a directory"):
        load_cifar10(tmp_path / "cache")
