"""CIFAR-10 as torchvision knows it: found, downloaded, checked and read."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import threading
import urllib.request
import warnings
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from gaprune.data.arrays import assemble
from gaprune.data.images import ImageData, ImageSet
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter

_FOLDER = "cifar-10-batches-py"
_PROBE_SECONDS = 4.0
_STALL_SECONDS = 30.0
_BLOCK = 1 << 20


def find_root(folder: Path) -> Path | None:
    """The torchvision root that ``folder`` is, or is the inside of; None if it is none."""
    if (folder / _FOLDER).is_dir():
        return folder
    return folder.parent if folder.name == _FOLDER and folder.is_dir() else None


def read_root(root: Path) -> ImageData:
    """Read a torchvision root. Its files are unpickled only after torchvision has checked their checksums.

    Raises:
        DataError: a file is missing or not as torchvision knows it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the files' pickles are older than today's NumPy
            parts = [_dataset()(root, train=train) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise DataError(f"CIFAR-10 in {root} is incomplete or damaged: remove {root / _FOLDER}") from error
    train, test = (
        ImageSet(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return assemble("cifar10", f"CIFAR-10, original pixels, torchvision root {root}", _names(parts), train, test)


def load_cifar10(cache_dir: Path, *, reporter: Reporter = SILENT) -> ImageData:
    """CIFAR-10 from the cache folder, downloaded into it first if need be.

    Raises:
        DataError: it is neither cached nor downloadable; the message says why.
    """
    kept = cache_dir / "cifar10"
    found = _read_cached(cache_dir, reporter)
    if found is not None:
        return found
    try:
        _probe(_dataset().url)
        kept.mkdir(parents=True, exist_ok=True)
        with FileLock(kept / ".lock"):
            # Another process may have fetched it while this one waited.
            found = _read_cached(cache_dir, SILENT)
            if found is None:
                _download(kept, reporter)
    except (OSError, HTTPException, tarfile.TarError, EOFError) as error:
        raise DataError(f"CIFAR-10 is not cached in {kept} and cannot be downloaded: {_reason(error)}") from error
    return read_root(kept) if found is None else found


def _read_cached(cache_dir: Path, reporter: Reporter) -> ImageData | None:
    for folder in (cache_dir / "cifar10", cache_dir):
        if (root := find_root(folder)) is not None:
            try:
                return read_root(root)
            except DataError as error:
                reporter.say(f"{error}, or let it be downloaded again")
    return None


def _dataset() -> Any:
    """Torchvision's class, which knows the address and the checksums; imported late because it is slow."""
    from torchvision.datasets import CIFAR10

    return CIFAR10


def _names(parts: list[Any]) -> tuple[str, ...]:
    return tuple(parts[0].classes)


def _download(root: Path, reporter: Reporter) -> None:
    """Download and unpack beside ``root``, and move into it only what torchvision recognises.

    Raises:
        OSError, HTTPException, TarError: a broken connection, a wrong archive, or no space.
    """
    dataset = _dataset()
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
        archive = Path(folder) / dataset.filename
        _retrieve(dataset.url, archive, reporter)
        if not _has_checksum(archive, dataset.tgz_md5):
            raise OSError(f"what {dataset.url} sent is not the archive that torchvision knows")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        target = root / _FOLDER
        shutil.rmtree(target, ignore_errors=True)
        os.replace(Path(folder) / _FOLDER, target)


def _probe(url: str) -> None:
    """Raise ``OSError`` within seconds if ``url`` cannot be reached.

    The time limit of ``urlopen`` covers neither looking up the name nor trying several addresses, so the
    attempt is left behind in a thread of its own when it takes too long.
    """
    failures: list[OSError | HTTPException | None] = []

    def attempt() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
            failures.append(None)
        except (OSError, HTTPException) as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    if not failures:
        raise OSError(f"no answer from {url} within {_PROBE_SECONDS:.0f} s")
    if failures[0] is not None:
        raise failures[0]


def _retrieve(url: str, path: Path, reporter: Reporter) -> None:
    with urllib.request.urlopen(url, timeout=_STALL_SECONDS) as response, open(path, "wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        megabytes = max(1, -(-size // _BLOCK))
        with reporter.task(f"downloading CIFAR-10, {megabytes} MB", megabytes) as task:
            while block := response.read(_BLOCK):
                file.write(block)
                task.advance()


def _has_checksum(path: Path, md5: str) -> bool:
    from torchvision.datasets.utils import check_integrity

    return bool(check_integrity(str(path), md5))


def _reason(error: BaseException) -> str:
    """The innermost plain reason: ``URLError`` wraps it."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(getattr(reason, "strerror", None) or reason)
