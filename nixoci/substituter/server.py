"""The HTTP server: one thread for each of a bounded number of connections, with a time limit on everything.

It is made of the standard library's: Nix is its only kind of client and speaks plain HTTP/1.1 on loopback. Servers of
the web put an answer into buffers of their own and promise its end; this one has to leave off the end of an answer
that is wrong, and to notice a client that does not read.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import unquote

from nixoci.errors import NixociError, StoreError
from nixoci.nix_store.hashes import NIX32
from nixoci.nix_store.narinfo import NARINFO_NAME, NarInfo
from nixoci.nix_store.path import HASH_PART_DIGITS
from nixoci.streams import Data, Sink
from nixoci.substituter.body import PAUSE, ClientGoneError
from nixoci.substituter.hosts import is_own_host
from nixoci.substituter.metrics import CONTENT_TYPE, Kind, Way
from nixoci.substituter.service import REBUILT, AbsentError, Service
from nixoci.substituter.upstream import ABSENT, EncodedError, Upstream

log = logging.getLogger(__name__)

CONNECTIONS = 128
"""Connections at a time; one more is told to come again. Nix opens up to 25 (http-connections)."""

_BACKLOG = 128
_IDLE = 30.0
"""Seconds for which a connection waits for a request, and a request for its end."""
_UNREAD = 300.0
"""Seconds for which Nix may leave an answer unread, as long as Nix itself waits for one (stalled-download-timeout)."""
_PIECE = 1 << 16

_FIRST_PASSED = 3
"""The descriptor of the first socket that systemd passes (sd_listen_fds(3))."""

_NAR = re.compile(rf"/{REBUILT}/([{NIX32}]{{{HASH_PART_DIGITS}}})\.nar")
_PATH = re.compile(r"/[!-~]*")
_ADDRESS = re.compile(r"(127\.[0-9.]+|\[::1\]):([0-9]+)")
_LAST_PORT = 65535
_PASSED_ON = ("Content-Type", "Content-Encoding", "ETag", "Last-Modified")
_SIZE = re.compile(r"[0-9]{1,18}")


class Server(ThreadingHTTPServer):
    """The server of one service.

    Args:
        listener: A socket that listens.
        service: Answers.
        upstream: The cache behind it, for everything that is passed on.
        pause: Seconds between signs of life while a NAR is prepared.
        names: Names of this machine by which it may be asked, besides those of loopback.
    """

    daemon_threads = True

    def __init__(
        self,
        listener: socket.socket,
        service: Service,
        upstream: Upstream,
        *,
        pause: float = PAUSE,
        names: Collection[str] = (),
    ) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self.service = service
        self.upstream = upstream
        self.pause = pause
        self.names = frozenset(name.lower() for name in names)
        self._free = BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection on a thread of its own, or turn it away."""
        if not self._free.acquire(blocking=False):
            request.settimeout(0.0)
            try:
                request.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                log.debug("a connection too many has gone")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Log the failure of one connection, unless it is the client that has gone."""
        error = sys.exc_info()[1]
        log.log(logging.DEBUG if isinstance(error, OSError) else logging.ERROR, "a connection failed: %r", error)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    _known_host: str | None = None

    def setup(self) -> None:
        """Send everything at once: the last byte of a NAR comes by itself."""
        super().setup()
        if self.connection.family != socket.AF_UNIX:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self.connection.settimeout(_UNREAD)
        try:
            self._answer()
        except ClientGoneError:
            self.close_connection = True
        finally:
            self.connection.settimeout(_IDLE)

    def do_HEAD(self) -> None:
        self.do_GET()

    def version_string(self) -> str:
        return "nixoci"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        log.debug("%r: %r", self.path if hasattr(self, "path") else "", format % arguments)

    def _answer(self) -> None:
        self._begun = False
        path = self.path
        try:
            self._check()
            if path == "/nix-cache-info":
                self._document(self.server.service.cache_info(), "text/x-nix-cache-info")
            elif path == "/metrics":
                self._document(self.server.upstream.metrics.render().encode(), CONTENT_TYPE)
            elif found := NARINFO_NAME.fullmatch(path[1:]):
                self._narinfo(found[1])
            elif (found := _NAR.fullmatch(path)) and self.command == "HEAD":  # Nix asks for heads of narinfos only
                self._fail(HTTPStatus.METHOD_NOT_ALLOWED, "ask for the NAR itself")
            elif found:
                self.server.service.nar(found[1], self._begin_nar, self.server.pause)
            else:
                self._pass_on(path[1:])
        except AbsentError as error:
            self._fail(HTTPStatus.NOT_FOUND, str(error))
        except _RefusedError as error:
            self._fail(error.status, str(error))
        except NixociError as error:
            log.warning("%s: %s", path[:200], error)
            self._fail(HTTPStatus.BAD_GATEWAY, str(error))

    def _check(self) -> None:
        """Refuse a request that no binary cache answers."""
        if self.request_version == "HTTP/0.9":
            raise ClientGoneError  # its answers have no status
        self._check_host()
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body is not read
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a request with a body")
        if not _PATH.fullmatch(self.path) or _climbs(self.path):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "not a path of a binary cache")
        if self.server.upstream.name in self.headers.get("Via", ""):
            raise _RefusedError(HTTPStatus.LOOP_DETECTED, "--upstream leads back to this substituter; name the cache")

    def _check_host(self) -> None:
        """Refuse a request that a web page has sent here under its own name; such a page reaches no Unix socket."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version != "HTTP/1.0"):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"a request with {len(hosts)} headers Host")
        if self.connection.family == socket.AF_UNIX or not hosts or hosts[0] == self._known_host:
            return
        if not is_own_host(hosts[0], self.connection.getsockname()[0], self.server.names):
            raise _RefusedError(
                HTTPStatus.FORBIDDEN,
                f"{hosts[0][:80]!r} is no name of this machine; ask 127.0.0.1, or allow the name by --host",
            )
        self._known_host = hosts[0]

    def _narinfo(self, hash_part: str) -> None:
        try:
            data = self.server.service.narinfo(hash_part)
        except EncodedError:
            self._pass_on(self.path[1:])
        else:
            self._document(data, "text/x-nix-narinfo")

    def _document(self, data: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self._end_headers(b"" if self.command == "HEAD" else data)

    def _begin_nar(self, info: NarInfo) -> Sink:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-nix-nar")
        self.send_header("Content-Length", str(info.nar_size))
        return _Socket(self.connection, self._head())

    def _pass_on(self, path: str) -> None:
        with self.server.upstream.open(path, method=self.command) as download:
            status = download.status
            if status != HTTPStatus.OK:
                absent = HTTPStatus.NOT_FOUND if status in ABSENT else HTTPStatus.BAD_GATEWAY
                raise _RefusedError(absent, f"the cache answers {status}")
            self.send_response(HTTPStatus.OK)
            for name in _PASSED_ON:
                if name in download.headers:
                    self.send_header(name, download.headers[name])
            size = download.headers.get("Content-Length", "")
            if _SIZE.fullmatch(size) and "Transfer-Encoding" not in download.headers:
                self.send_header("Content-Length", size)
            else:  # the body ends with the connection
                self.send_header("Connection", "close")
            self._end_headers()
            if self.command == "HEAD":
                return
            out = _Socket(self.connection)
            for piece in download.pieces(_PIECE):
                out.write(piece)
            if Kind.of(path) is Kind.NAR:
                self.server.upstream.metrics.nar(Way.PASSED)

    def _fail(self, status: HTTPStatus, text: str) -> None:
        """Send an error; if the answer has begun, end the connection, so that Nix sees that it is incomplete."""
        if self._begun:
            self.close_connection = True
            return
        self.send_response(status)
        data = f"{text}\n".encode("utf-8", "replace")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self._end_headers(b"" if self.command == "HEAD" else data)

    def _end_headers(self, data: bytes = b"") -> None:
        _Socket(self.connection, self._head()).write(data)

    def _head(self) -> bytes:
        """End the headers and return them, to be sent with what follows: two packets would wake Nix twice."""
        self._begun = True
        connection, self.wfile = self.wfile, BytesIO()
        try:
            self.end_headers()
            return self.wfile.getvalue()
        finally:
            self.wfile = connection


class _RefusedError(NixociError):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Socket:
    """A socket as a sink; `head` is sent with the first data."""

    def __init__(self, connection: socket.socket, head: bytes = b"") -> None:
        self._connection = connection
        self._head = head

    def write(self, data: Data, /) -> None:
        head, self._head = self._head, b""
        try:
            sent = self._connection.sendmsg([head, data]) if head else 0
            if sent < len(head):
                self._connection.sendall(head[sent:])
            if sent < len(head) + len(data):
                self._connection.sendall(memoryview(data)[max(0, sent - len(head)) :])
        except OSError as error:
            raise ClientGoneError from error


def _climbs(path: str) -> bool:
    return any(part in {".", ".."} for part in re.split(r"[/\\]", unquote(path.partition("?")[0])))


@contextmanager
def listen(address: str) -> Iterator[socket.socket]:
    """Listen on `127.0.0.1:PORT` or `[::1]:PORT`; port 0 is any that is free.

    Raises:
        StoreError: The address is of another form, or cannot be had.
    """
    host, port = _host_and_port(address)
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise StoreError(f"{address}: cannot listen: {error.strerror}; choose another port") from error
        yield listener


def _host_and_port(address: str) -> tuple[str, int]:
    wrong = StoreError(f"{address}: not an address of this machine alone; give 127.0.0.1:PORT or [::1]:PORT")
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise wrong
    try:
        host = str(ip_address(found[1].strip("[]")))  # a name, for which the network would be asked, is none
    except ValueError as error:
        raise wrong from error
    digits = found[2].lstrip("0") or "0"
    if len(digits) > len(str(_LAST_PORT)) or int(digits) > _LAST_PORT:
        raise StoreError(f"{address}: no port {found[2]}; the last one is {_LAST_PORT}, and 0 is any that is free")
    return host, int(digits)


def passed_socket() -> socket.socket | None:
    """Return the socket that systemd has passed to this process, or None (sd_listen_fds(3)).

    Raises:
        StoreError: It has passed several.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "0")
    if count != "1":
        raise StoreError(f"systemd passes {count} sockets; give the socket unit one ListenStream=")
    listener = socket.socket(fileno=_FIRST_PASSED)
    listener.settimeout(None)
    return listener
