from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from gaprune.data.normalisation import CIFAR10_CLASSES

FolderMaker = Callable[..., Path]


@dataclass
class Recorder:
    """A reporter that remembers what it was told."""

    lines: list[str] = field(default_factory=list)
    tasks: list[tuple[str, int]] = field(default_factory=list)
    steps: int = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Recorder]:
        self.tasks.append((name, total))
        yield self

    def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
        self.steps += steps


@pytest.fixture
def new_recorder() -> Callable[[], Recorder]:
    return Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make_folder(tmp_path: Path) -> FolderMaker:
    """Writes ``part/class/0.png ...`` of one flat colour each: red is 10 x label, green the number."""

    def make(
        classes: Sequence[str] = ("cat", "dog"),
        counts: dict[str, int] | None = None,
        size: tuple[int, int] = (6, 5),
        name: str = "pets",
    ) -> Path:
        for part, count in (counts or {"train": 4, "test": 2}).items():
            for label, class_name in enumerate(classes):
                folder = tmp_path / name / part / class_name
                folder.mkdir(parents=True)
                for number in range(count):
                    colour = (10 * label, number, 200 if part == "test" else 100)
                    Image.new("RGB", size, colour).save(folder / f"{number}.png")
        return tmp_path / name

    return make


def write_cifar10_batches(root: Path) -> dict[str, str]:
    """Ten images a batch in the format of the real files, all pixels the label; returns MD5 by file."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    labels = list(range(10))
    batch = {"data": np.repeat(np.arange(10, dtype=np.uint8)[:, None], 3072, axis=1), "labels": labels}
    contents = dict.fromkeys(("data_batch_1", "data_batch_2", "test_batch"), batch)
    contents["batches.meta"] = {"label_names": list(CIFAR10_CLASSES)}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return {name: _md5(folder / name) for name in contents}


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class TinyCifar10:
    """A small stand-in for the real archive: torchvision's class has its address and checksums."""

    server: Path

    @property
    def archive(self) -> Path:
        return self.server / "cifar-10-python.tar.gz"

    def unpack(self, root: Path) -> Path:
        with tarfile.open(self.archive) as tar:
            tar.extractall(root, filter="data")
        return root


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyCifar10:
    """Makes torchvision's class expect the small stand-in, "downloaded" from a local file."""
    server = tmp_path / "server"
    checksums = write_cifar10_batches(server)
    tiny = TinyCifar10(server)
    with tarfile.open(tiny.archive, "w:gz") as tar:
        tar.add(server / "cifar-10-batches-py", "cifar-10-batches-py")
    train = [[name, checksums[name]] for name in ("data_batch_1", "data_batch_2")]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": checksums["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    monkeypatch.setattr(CIFAR10, "url", tiny.archive.as_uri())
    monkeypatch.setattr(CIFAR10, "tgz_md5", _md5(tiny.archive))
    return tiny


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's server refuses the connection at once."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
