"""The report of a search that is at work, served to this machine's own browsers and read anew as the search goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gaprune.errors import GapruneError, OptionError
from gaprune.runs import MANIFEST_NAME
from gaprune.views.log import part_folders
from gaprune.views.page import read_all, report_page
from gaprune.views.record import TABLE, newest_state

HOST = "127.0.0.1"
"""Nobody else's machine can look."""

STAMP = "/stamp"


class LivePage:
    """The page as it is now; made anew when a generation, a part or a front is done.

    Args:
        paths: of runs, which may be killed and resumed meanwhile, and of comparisons.

    Raises:
        RunError: there is nothing of a run in a directory.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._lock = threading.Lock()
        self._made = ("", "")
        self.page()

    def stamp(self) -> str:
        """What changes when there is something new to show."""
        return "/".join(_stamp(path) for path in self._paths)

    def page(self) -> str:
        """The page. One that cannot be made while files change stays as it was before.

        Raises:
            RunError: there is nothing of a run in a directory, and never was.
        """
        with self._lock:
            stamp = self.stamp()
            if stamp != self._made[0]:
                try:
                    self._made = (stamp, report_page(*read_all(self._paths), live=stamp))
                except GapruneError:
                    if not self._made[1]:
                        raise
            return self._made[1]


def make_server(page: LivePage, port: int) -> ThreadingHTTPServer:
    """A server of the page on this machine alone; the caller runs and closes it.

    Raises:
        OptionError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The page, or what stands for it."""
            if self.path == "/":
                self._answer(200, "text/html; charset=utf-8", page.page())
            elif self.path == STAMP:
                self._answer(200, "text/plain", page.stamp())
            else:
                self._answer(404, "text/plain", "there is no such page")

        def _answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing of single requests is told."""

    try:
        return _Server((HOST, port), Handler)
    except OSError as error:
        raise OptionError(f"port {port} cannot be had: {error.strerror or error}; 0 takes one that is free") from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away while it is answered is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _stamp(path: Path) -> str:
    """Generations and parts that are done, the front's table, and whether the manifest has changed with it."""
    folders = [path, *part_folders(path)]
    states = [str(newest_state(folder)) for folder in folders]
    times = [str(_time(path / name)) for name in (TABLE, MANIFEST_NAME)]
    return "-".join((*states, *times))


def _time(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
