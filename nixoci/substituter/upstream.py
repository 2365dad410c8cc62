"""The binary cache behind the substituter, over HTTP. Nothing here waits for it without a bound."""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)
from urllib3.util import make_headers

from nixoci.errors import StoreError
from nixoci.http_proxy import proxy_for
from nixoci.oci.certificates import trusting_context
from nixoci.substituter.login import login_for
from nixoci.substituter.metrics import Kind, Metrics

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

log = logging.getLogger(__name__)

_CONNECTIONS = 32
"""Connections that stay open between requests; more are opened for as many requests at a time."""

_OK, _NOT_MODIFIED, _UNAUTHORIZED = 200, 304, 401
ABSENT = (403, 404, 410)
"""Answers for a file that a cache does not have; a bucket that cannot be listed answers 403, as Nix knows too."""


class UpstreamError(StoreError):
    """The binary cache behind the substituter cannot be reached, or fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Bounds of waiting for the cache, in seconds.

    Attributes:
        connect: For a connection.
        stall: For the next bytes of an answer; twice that for the first ones, since a connection that was kept open may
            have been closed by the cache.
        document: For a whole narinfo or index.
        narinfos: For the narinfos of a release, while Nix waits for one of them.
        pause: After a request that had no answer, during which others of its kind fail at once.
    """

    connect: float = 5.0
    stall: float = 15.0
    document: float = 30.0
    narinfos: float = 120.0
    pause: float = 10.0


_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Document:
    """A small file of the cache, and the value of its ETag or Last-Modified header, if it has one."""

    data: bytes
    validator: tuple[str, str] | None


class Upstream:
    """A binary cache.

    Args:
        url: Its address, `http://` or `https://`; the attribute `url` is without its login.
        patience: Bounds of waiting.
        netrc: The file of logins; None for Nix's own, if it can be read.

    Raises:
        UpstreamError: The address is of another form.
        StoreError: The file of logins cannot be read.
        BlobError: The environment names a proxy that cannot be used.
    """

    def __init__(self, url: str, *, patience: Patience = _PATIENCE, netrc: Path | None = None) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            known = None
        if not known or parts.query or parts.fragment or not url.isprintable():
            shown = f"...@{url.rpartition('@')[2]}" if "@" in url else url
            raise UpstreamError(f"{shown!r}: not the address of a binary cache; give http://HOST or https://HOST")
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/") + "/"
        self.name = f"nixoci-{token_hex(8)}"
        """The name of this client among all proxies on the way (Via, RFC 9110, 7.6.3)."""
        self.patience = patience
        self.metrics = Metrics()
        """Counts of what was fetched, and of what it was fetched for."""
        login = login_for(parts, netrc)
        self._login = {} if login is None else make_headers(basic_auth=login.encode().decode("latin-1"))
        proxy = proxy_for(self.url)
        trusted = trusting_context()
        if proxy is None:
            self._pool = urllib3.PoolManager(ssl_context=trusted, maxsize=_CONNECTIONS)
        else:
            self._pool = urllib3.ProxyManager(
                proxy.url,
                proxy_headers=None if proxy.login is None else make_headers(proxy_basic_auth=proxy.login),
                proxy_ssl_context=trusted,
                ssl_context=trusted,
                maxsize=_CONNECTIONS,
            )
        self._times = urllib3.Timeout(connect=patience.connect, read=patience.stall)
        self._lock = Lock()
        self._down_until: dict[str, float] = {}

    def document(
        self, path: str, limit: int, *, unless: tuple[str, str] | None = None, seconds: float | None = None
    ) -> Document | None:
        """Return a file of at most `limit` bytes, or None if the cache does not have it.

        Args:
            path: The file, relative to the cache.
            limit: Bytes that it may have.
            unless: The validator of a copy that is here.
            seconds: The bound of waiting for all of it; by default that of a narinfo.

        Raises:
            UnchangedError: The cache has the same file as `unless`.
            UpstreamError: The cache fails, or the file is larger.
        """
        condition = {} if unless is None else {_CONDITIONS[unless[0]]: unless[1]}
        seconds = self.patience.document if seconds is None else seconds
        end = monotonic() + seconds
        with self.open(path, headers=condition) as download:
            if download.status == _NOT_MODIFIED:
                raise UnchangedError
            if download.status in ABSENT:
                return None
            download.check()
            parts, size = [], 0
            while part := download.read(limit + 1 - size):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise UpstreamError(f"{self.url}{path}: larger than {limit} bytes")
                if monotonic() > end:
                    raise self.failed(path, f"not complete after {seconds:g} seconds")
            return Document(b"".join(parts), download.validator)

    @contextmanager
    def open(self, path: str, *, headers: Mapping[str, str] | None = None, method: str = "GET") -> Iterator["Download"]:
        """Ask for a path, relative to the cache, and close the answer after the block.

        Raises:
            UpstreamError: There is no answer.
        """
        kind = _kind(path)
        with self._lock:
            if monotonic() < self._down_until.get(kind, 0.0):
                raise UpstreamError(f"{self.url}{path}: not asked for, since the cache did not answer a moment ago")
        own = {"User-Agent": "nixoci", "Accept-Encoding": "identity", "Via": f"1.1 {self.name}"}
        own |= {**self._login, **(headers or {})}
        try:
            response = self._pool.request(
                method,
                f"{self.url}{path}",
                headers=own,
                preload_content=False,
                decode_content=False,
                retries=urllib3.Retry(total=5, connect=0, read=1, status=0, other=0),  # the others are redirects
                timeout=self._times,
            )
        except (HTTPError, LocationParseError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            unreachable = isinstance(
                reason, ConnectTimeoutError | NewConnectionError | ProxyError | NameResolutionError
            )
            with self._lock:
                for each in _KINDS if unreachable else (kind,):
                    self._down_until[each] = monotonic() + self.patience.pause
            raise self.failed(path, str(reason)) from error
        _acknowledge(response)
        try:
            yield Download(self, path, response)
        finally:
            response.close()  # a connection that was read to its end goes back to the pool by itself

    def failed(self, path: str, reason: str) -> UpstreamError:
        """Return the error for a path that cannot be fetched."""
        return UpstreamError(f"{self.url}{path}: cannot be fetched: {reason}")


def _acknowledge(response: "BaseHTTPResponse") -> None:
    """Acknowledge the head of an answer at once (tcp(7), TCP_QUICKACK).

    Some servers send the body by itself, and the kernel holds it back until the head is acknowledged (RFC 896). Linux
    waits 40 ms before it acknowledges something on a connection that was used before.
    """
    connection = response.connection
    taken = None if connection is None else getattr(connection, "sock", None)
    if taken is not None and hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # not every proxy is asked over TCP, and the connection may have ended
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _kind(path: str) -> str:
    """Return the directory of the cache that fails for itself: a mirror may have some of them only."""
    first = path.partition("/")[0]
    return first if first in _KINDS else ""


_KINDS = ("", "nar", "deltas")
_CONDITIONS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


class EncodedError(UpstreamError):
    """The cache has the file in an encoding that was not asked for, and that Nix may know."""


class UnchangedError(Exception):
    """The cache still has the file that is here."""


class Download:
    """An answer of the cache, whose body is read by pieces."""

    def __init__(self, upstream: Upstream, path: str, response: "BaseHTTPResponse") -> None:
        self._upstream = upstream
        self._path = path
        self._kind = Kind.of(path)
        self._response = response
        self.status = response.status
        self.headers = response.headers

    @property
    def validator(self) -> tuple[str, str] | None:
        """The header that a later request can name to ask for changes."""
        return next(((name, self.headers[name]) for name in _CONDITIONS if name in self.headers), None)

    def check(self) -> None:
        """Refuse an answer that is not the file.

        Raises:
            UpstreamError: It names the answer.
        """
        if self.status == _UNAUTHORIZED:
            raise UpstreamError(
                f"{self._upstream.url}{self._path}: the cache wants another login; name its netrc file by --netrc-file"
            )
        if self.status != _OK:
            raise UpstreamError(f"{self._upstream.url}{self._path}: the cache answers {self.status}")
        if self.headers.get("Content-Encoding", "identity") != "identity":
            raise EncodedError(f"{self._upstream.url}{self._path}: has an encoding that was not asked for")

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes as soon as there are some; none at the end.

        Raises:
            UpstreamError: The connection broke or stalled.
        """
        try:
            data = self._response.read1(count)
        except (HTTPError, OSError, ValueError) as error:
            raise self._upstream.failed(self._path, str(error)) from error
        self._upstream.metrics.fetched(self._kind, len(data))
        return data

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the body by pieces of at most `size` bytes."""
        while piece := self.read(size):
            yield piece
