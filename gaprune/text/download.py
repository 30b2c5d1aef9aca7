"""The two named data sets, fetched once into the cache."""

from __future__ import annotations

import hashlib
import io
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from gaprune.errors import DataError, first_line
from gaprune.progress import SILENT, Reporter
from gaprune.runs import atomic_write

SST2_FILES = ("train.tsv", "test.tsv")
SMS_FILE = "SMSSpamCollection"

SST2_URL = (
    "https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/"
    "457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2"
)
SST2_SHA256 = {
    "train.tsv": "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
    "test.tsv": "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
}
SMS_URL = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
SMS_TEXTS = 5_574
_SECONDS = 30.0


def sst2_folder(cache_dir: Path, reporter: Reporter = SILENT) -> Path:
    """The folder of SST-2's files in the cache; downloaded first if need be, and checked by checksum.

    Raises:
        DataError: they can be had neither here nor there.
    """
    folder = cache_dir / "sst2"

    def fetch() -> dict[str, bytes]:
        found = {name: _get(f"{SST2_URL}/{name}") for name in SST2_FILES}
        for name, content in found.items():
            if hashlib.sha256(content).hexdigest() != SST2_SHA256[name]:
                raise OSError(f"what {SST2_URL}/{name} sent is not the file that is known")
        return found

    _keep(folder, SST2_FILES, fetch, "SST-2", reporter)
    return folder


def sms_file(cache_dir: Path, reporter: Reporter = SILENT) -> Path:
    """The file of the SMS Spam Collection in the cache; downloaded first if need be, and checked by its length.

    Raises:
        DataError: it can be had neither here nor there.
    """
    folder = cache_dir / "sms-spam"

    def fetch() -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(_get(SMS_URL))) as archive:
            content = archive.read(SMS_FILE)
        if content.count(b"\n") not in (SMS_TEXTS, SMS_TEXTS - 1):
            raise OSError(f"what {SMS_URL} sent is not the collection that is known")
        return {SMS_FILE: content}

    _keep(folder, (SMS_FILE,), fetch, "the SMS Spam Collection", reporter)
    return folder / SMS_FILE


def _keep(
    folder: Path, names: tuple[str, ...], fetch: Callable[[], dict[str, bytes]], what: str, reporter: Reporter
) -> None:
    if all((folder / name).is_file() for name in names):
        return
    reporter.say(f"downloading {what}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for name, content in fetch().items():
                atomic_write(folder / name, content)
    except (OSError, HTTPException, zipfile.BadZipFile, KeyError) as error:
        reason = str(getattr(error, "reason", None) or first_line(error))
        advice = f"--data-dir takes a folder with {', '.join(names)}"
        raise DataError(f"{what} is not cached in {folder} and cannot be downloaded: {reason}; {advice}") from error


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_SECONDS) as response:
        return bytes(response.read())
