"""A registry over HTTP that serves an OCI layout, and breaks in the ways that real ones do.

It speaks the part of the distribution specification that reading needs. The test host has a real registry.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.support.http_server import serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(kw_only=True)
class Behavior:
    """The ways in which the registry differs from one that always works.

    Attributes:
        cut: Called with the path and the first byte of an answer; the answer's bytes before the connection breaks, or
            None for all.
        ranges: Whether it resumes.
        wrong: Bytes that take the place of a blob's first ones.
        statuses: Errors that it answers, before it works.
        bearer: The only token that it takes now; None if it asks for none.
        redirect: The address of the server that has the blobs, `HOST:PORT` or with a scheme; None for itself.
        raw: Whole answers, from the status line on, that it gives before it works; it closes the connection after one.
        filler: Bytes that follow each of these answers, as long as the client takes them.
        challenge: The value of `WWW-Authenticate`, if it wants a token; None for one that names itself.
        location: The value of `Location` of a redirect; None for the blob's place at `redirect`.
        token: What it answers where it gives tokens; None for the only one that it takes.
        login: The only `Authorization` with which it gives tokens, or answers if it asks for no token; None for any.
        referrers: Pages of the referrers API, of which each but the last names the next; none if it has no such API.
    """

    cut: Callable[[str, int], int | None] = lambda _path, _start: None
    ranges: bool = True
    wrong: bytes = b""
    statuses: list[int] = field(default_factory=list)
    bearer: str | None = None
    redirect: str | None = None
    raw: list[bytes] = field(default_factory=list)
    filler: int = 0
    challenge: str | None = None
    location: str | None = None
    token: bytes | None = None
    login: str | None = None
    referrers: list[bytes] = field(default_factory=list)


@dataclass(kw_only=True)
class Served:
    """A running registry, with what it was asked: paths, `Range` and `Authorization`; and its clients' addresses.

    `filled` counts the bytes of `Behavior.filler` that it sent.
    """

    host: str
    behavior: Behavior
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    filled: int = 0

    @property
    def repository(self) -> str:
        """The name of the repository that it serves."""
        return f"{self.host}/some/web"


@contextmanager
def serve(layout: Path, behavior: Behavior | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """Serve a layout on loopback while the block runs, over HTTPS if there is a context for it."""
    served = Served(host="", behavior=behavior or Behavior())

    class Handler(_Handler):
        root = layout
        state = served

    with serving(Handler, tls=tls) as served.host:
        yield served


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    root: Path
    state: Served

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        behavior = self.state.behavior
        authorization = self.headers.get("Authorization")
        self.state.connections.add(self.client_address)
        self.state.requests.append((url.path, self.headers.get("Range"), authorization))
        if behavior.raw:
            self.close_connection = True
            self.wfile.write(behavior.raw.pop(0))
            self._fill(behavior.filler)
        elif url.path == "/token":
            assert parse_qs(url.query) == {"service": ["test"], "scope": ["repository:some/web:pull"]}
            self._answer(200 if behavior.login in {None, authorization} else 401, self._token())
        elif behavior.statuses:
            self._answer(behavior.statuses.pop(0), b"{}", {"Retry-After": "0"})
        elif behavior.bearer is not None and authorization != f"Bearer {behavior.bearer}":
            challenge = f'Bearer realm="http://{self.state.host}/token",service="test"'
            self._answer(
                401, b"{}", {"WWW-Authenticate": challenge if behavior.challenge is None else behavior.challenge}
            )
        elif behavior.bearer is None and behavior.login not in {None, authorization}:
            self._answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="test"'})
        elif "/referrers/" in url.path and behavior.referrers:
            number = int(url.query.removeprefix("page=") or 0)
            more = number + 1 < len(behavior.referrers)
            link = {"Link": f'<{url.path}?page={number + 1}>; rel="next"'} if more else {}
            self._answer(200, behavior.referrers[number], link)
        elif behavior.location is not None:
            self._answer(307, b"moved", {"Location": behavior.location})
        elif "/blobs/" in url.path and behavior.redirect is not None:
            place = behavior.redirect if "://" in behavior.redirect else f"http://{behavior.redirect}"
            self._answer(307, b"", {"Location": f"{place}{url.path}"})
        else:
            self._blob(url.path)

    def _fill(self, count: int) -> None:
        with suppress(OSError):
            for _ in range(0, count, 1 << 16):
                self.wfile.write(b"x" * (1 << 16))
                self.state.filled += 1 << 16

    def _token(self) -> bytes:
        behavior = self.state.behavior
        return json.dumps({"token": behavior.bearer}).encode() if behavior.token is None else behavior.token

    def _blob(self, path: str) -> None:
        behavior = self.state.behavior
        kind, digest = path.split("/")[-2:]
        file = self.root / "blobs" / digest.replace(":", "/")
        if not path.startswith("/v2/some/web/") or kind not in {"blobs", "manifests"} or not file.is_file():
            self._answer(404, b"{}")
            return
        content = file.read_bytes()
        content = behavior.wrong + content[len(behavior.wrong) :]
        start = 0
        asked = self.headers.get("Range")
        if asked and behavior.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        size = f"{len(content)}"
        more = {"Content-Range": f"bytes {start}-{len(content) - 1}/{size}"} if asked and behavior.ranges else {}
        self._answer(206 if more else 200, content[start:], more, cut=behavior.cut(path, start))

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.close_connection = True
