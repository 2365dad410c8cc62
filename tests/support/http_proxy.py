"""An HTTP proxy on loopback, which records what it is asked."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.http_server import serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


@dataclass(kw_only=True)
class Proxying:
    """A running proxy.

    Attributes:
        host: Its address, `HOST:PORT`.
        login: The only `Proxy-Authorization` that it takes; None if it asks for none.
        local: Whether it passes requests on, to this machine; it answers all others with an error.
        requests: What it was asked: method, and `HOST:PORT` of the server.
    """

    host: str
    login: str | None
    local: bool
    requests: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def proxying(*, login: str | None = None, local: bool = True, tls: ssl.SSLContext | None = None) -> Iterator[Proxying]:
    """Run a proxy while the block runs, over HTTPS if there is a context for it; it connects to this machine only."""
    state = Proxying(host="", login=login, local=local)

    class Handler(_Handler):
        proxy = state

    with serving(Handler, tls=tls) as state.host:
        yield state


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True
    proxy: Proxying

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._accepts(url.netloc):
            return
        server = HTTPConnection(url.netloc)
        own = {"Proxy-Authorization", "Host"}
        headers = {name: value for name, value in self.headers.items() if name not in own}
        server.request("GET", url.path + (f"?{url.query}" if url.query else ""), headers=headers)
        answer = server.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        server.close()

    def do_CONNECT(self) -> None:
        if not self._accepts(self.path):
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=_copy, args=(self.connection, server), daemon=True).start()
            _copy(server, self.connection)
        self.close_connection = True

    def _accepts(self, server: str) -> bool:
        self.proxy.requests.append((self.command, server))
        if self.proxy.login is not None and self.headers.get("Proxy-Authorization") != self.proxy.login:
            self.send_error(407)
        elif not self.proxy.local or not server.startswith(("127.0.0.1:", "localhost:")):
            self.send_error(502)
        else:
            return True
        return False


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
