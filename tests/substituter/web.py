"""A binary cache behind a web server on loopback, which fails in the ways that real ones do."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Fault = str | int | bytes | None
"""An error's number; bytes to answer instead; `cut` or `stall` in the middle; `stall before`; `drip`; None for none."""


@dataclass(kw_only=True)
class Web:
    """A running web server.

    Attributes:
        url: Its address.
        fault: Called with a path.
        redirect: Called with a path; the address to go to instead.
        asked: The paths that were asked for.
        logins: The `Authorization` of each request.
        answered: Paths and statuses of the answers that began.
        headers: More headers of each answer.
        login: The `Authorization` without which it answers 401; None for anyone.
    """

    url: str = ""
    fault: Callable[[str], Fault] = lambda _: None
    redirect: Callable[[str], str | None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    answered: list[tuple[str, int]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    login: str | None = None
    logins: list[str | None] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def statuses(self, start: str) -> list[int]:
        """Return the statuses of the answers for paths with this start."""
        return [status for path, status in self.answered if path.startswith(start)]

    def count(self, start: str) -> int:
        """Return how often paths with this start were asked for."""
        return sum(path.startswith(start) for path in self.asked)


@contextmanager
def serve(folder: Path) -> Iterator[Web]:
    """Serve a folder while the block runs."""
    web = Web()

    class Handler(_Handler):
        state = web
        root = folder

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that have gone."""

    server = Server(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        web.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Web
    root: Path

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        path = self.path[1:]
        self.state.asked.append(path)
        self.state.logins.append(self.headers.get("Authorization"))
        if self.state.login is not None and self.state.logins[-1] != self.state.login:
            self._head(401, 0)
            return
        fault = self.state.fault(path)
        if place := self.state.redirect(path):
            self._head(302, 0, {"Location": place})
            return
        file = self.root / path.partition("?")[0]
        if fault == "stall before":
            self.state.ending.wait(600)
        if isinstance(fault, int) or not file.is_file():
            self._head(fault if isinstance(fault, int) else 404, 0)
            return
        data = fault if isinstance(fault, bytes) else file.read_bytes()
        validator = f'"{hash(data)}"'
        if self.headers.get("If-None-Match") == validator:
            self._head(304, 0)
            return
        self._head(200, len(data), {"ETag": validator, **self.state.headers})
        if self.command != "HEAD":
            self._body(data, fault)

    def _body(self, data: bytes, fault: Fault) -> None:
        middle = len(data) // 2
        if fault in {"cut", "stall"}:
            self.wfile.write(data[:middle])
            if fault == "stall":
                self.state.ending.wait(600)
            self.close_connection = True
        elif fault == "drip":
            for at in range(len(data)):
                if self.state.ending.is_set():
                    break
                self.wfile.write(data[at : at + 1])
                time.sleep(0.05)
        else:
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _head(self, status: int, size: int, more: dict[str, str] | None = None) -> None:
        self.state.answered.append((self.path[1:], status))
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
