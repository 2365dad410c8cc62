"""Images in registries over HTTP, as builds read them: without a login, and with no file in between.

A connection that breaks is resumed where it broke. Nothing here verifies what it reads: the reader of a blob does.
"""

import io
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, parse_http_list, parse_keqv_list, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from nixoci.document import load
from nixoci.errors import BlobError
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import INDEX_TYPES, MANIFEST_TYPES
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.resolve import document_type
from nixoci.oci.verify import MAX_DOCUMENT

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from urllib3.response import BaseHTTPResponse

_HUB = "docker.io"
_HOSTS = {_HUB: "registry-1.docker.io"}
_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
_BEARER = re.compile(r"bearer +(.*)", re.IGNORECASE | re.DOTALL)
_START = re.compile(r"bytes ([0-9]+)-")

_DOCUMENTS = INDEX_TYPES | MANIFEST_TYPES
_CLOSED = "the server closed it"

_SKIPPED = 1 << 20
"""Bytes that are read at a time, and dropped, where a server does not resume."""

_CONNECTIONS = 4
"""Connections to one server that stay open between requests."""

_OK, _PARTIAL, _UNAUTHORIZED = 200, 206, 401
_BUSY = (429, 500, 502, 503, 504)
_TIMES = urllib3.Timeout(connect=30.0, read=60.0)
_LONGEST_PAUSE = 60.0


class _Retry(urllib3.Retry):
    """Retries of a request that has no answer yet; a server that names its pause cannot hold a build for hours."""

    def get_retry_after(self, response: "BaseHTTPResponse") -> float | None:
        pause = super().get_retry_after(response)
        return None if pause is None else min(pause, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Bounds of patience.

    Attributes:
        attempts: Further attempts of a request, and further connections that bring nothing, before a read fails.
        pause: Seconds before the second attempt; each further pause is twice as long.
    """

    attempts: int = 5
    pause: float = 0.5


_RETRIES = Retries()


class Remote:
    """The repository of one image in a registry, read by several threads."""

    def __init__(self, reference: Reference, *, certificates: Path | None = None, retries: Retries = _RETRIES) -> None:
        """Connect to nothing yet.

        Args:
            reference: The image; only its repository matters.
            certificates: A file of trusted certificates; by default those of OpenSSL (`SSL_CERT_FILE`).
            retries: Bounds of patience.
        """
        self.repository = reference.repository
        self.retries = retries
        host = _HOSTS.get(reference.domain, reference.domain)
        # as in Docker, a registry on this machine speaks plain HTTP
        scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
        self.base = f"{scheme}://{host}/v2/{reference.path}/"
        self._scope = f"repository:{reference.path}:pull"
        self._certificates = certificates
        self._pools: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self._token: str | None = None
        self._lock = Lock()

    def get(self, path: str, headers: Mapping[str, str]) -> "BaseHTTPResponse":
        """Ask for a path of the repository; the caller reads the answer's body and closes it.

        Raises:
            BlobError: There is no answer, or it is an error.
            HTTPError: The connection broke.
        """
        url = urljoin(self.base, path)
        token = self._token
        response = self._request(url, headers, token)
        if response.status == _UNAUTHORIZED:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            response = self._request(url, headers, self._log_in(challenge, token))
        if response.status not in {_OK, _PARTIAL}:
            response.close()
            raise BlobError(f"{urlsplit(url).netloc} answers {response.status} {response.reason} for {path}")
        return response

    def open_manifest(self, digest: Digest, *, size: int | None = None) -> BinaryIO:
        """Open a manifest or an index, which is asked for at the first read."""
        return _buffered(_Download(self, f"manifests/{digest}", accept=", ".join(sorted(_DOCUMENTS)), size=size))

    def open_blob(self, digest: Digest, *, size: int | None = None) -> BinaryIO:
        """Open any other blob, which is asked for at the first read."""
        return _buffered(_Download(self, f"blobs/{digest}", accept=None, size=size))

    def _request(self, url: str, headers: Mapping[str, str], token: str | None) -> "BaseHTTPResponse":
        own = {"User-Agent": "nixoci", "Accept-Encoding": "identity", **headers}
        if token is not None:
            own["Authorization"] = f"Bearer {token}"
        retry = _Retry(
            total=self.retries.attempts,
            backoff_factor=self.retries.pause,
            backoff_max=_LONGEST_PAUSE,
            status_forcelist=_BUSY,
            raise_on_status=False,
        )
        try:
            return self._pool(url).request(
                "GET", url, headers=own, preload_content=False, decode_content=False, retries=retry, timeout=_TIMES
            )
        except MaxRetryError as error:
            raise BlobError(f"{urlsplit(url).netloc} cannot be reached: {error.reason or error}") from error

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections to a server, by way of the proxy that the environment names for it."""
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
        kind = parts.scheme, proxy
        with self._lock:
            if kind not in self._pools:
                manager = partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
                trusted = self._trusted() if parts.scheme == "https" else None
                self._pools[kind] = manager(ssl_context=trusted, maxsize=_CONNECTIONS)
            return self._pools[kind]

    def _trusted(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._certificates)
        except OSError as error:
            raise BlobError(f"certificates {self._certificates}: cannot be read: {error.strerror}") from error

    def _log_in(self, challenge: str, refused: str | None) -> str:
        """Get a token for anybody, as the registry's answer says; another thread may have got it meanwhile."""
        with self._lock:
            if self._token is not None and self._token != refused:
                return self._token
        match = _BEARER.fullmatch(challenge)
        said = parse_keqv_list(parse_http_list(match[1])) if match else {}
        realm = said.get("realm", "")
        if urlsplit(realm).scheme not in {"https", urlsplit(self.base).scheme}:
            raise BlobError(f"{urlsplit(self.base).netloc} wants a login")
        query = {"service": said.get("service", ""), "scope": said.get("scope") or self._scope}
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        response = self._request(url, {}, None)
        try:
            text = response.read(MAX_DOCUMENT)
        finally:
            response.close()
        if response.status != _OK:
            raise BlobError(f"{urlsplit(realm).netloc} gives no token to anybody: {response.status} {response.reason}")
        match load(text, what=f"token of {urlsplit(realm).netloc}"):
            case {"token": str(token)} | {"access_token": str(token)}:
                with self._lock:
                    self._token = token
                return token
        raise BlobError(f"{urlsplit(realm).netloc} answers without a token")


class _Download(io.RawIOBase):
    """A blob as a stream over as many connections as it takes; its size is None if nothing says it."""

    def __init__(self, remote: Remote, path: str, *, accept: str | None, size: int | None) -> None:
        super().__init__()
        self._remote = remote
        self._path = path
        self._size = size
        self._headers = {} if accept is None else {"Accept": accept}
        self._response: BaseHTTPResponse | None = None
        self._offset = 0
        self._fruitless = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read the next bytes, none at the end only.

        Raises:
            BlobError: The registry does not have the blob, or the connection keeps breaking.
        """
        view = memoryview(buffer).cast("B")
        while True:
            try:
                data = self._next(len(view))
            except (HTTPError, OSError, EOFError) as error:
                self._break(error)
            else:
                self._offset += len(data)
                self._fruitless = 0
                view[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _next(self, count: int) -> bytes:
        """Return the next bytes of this connection."""
        data = self._opened().read(count)
        if not data and self._size is not None and self._offset < self._size:
            raise EOFError(_CLOSED)
        return data

    def _opened(self) -> "BaseHTTPResponse":
        """Return the answer that the next bytes are read from."""
        if self._response is None:
            resumed = {"Range": f"bytes={self._offset}-"} if self._offset else {}
            self._response = self._remote.get(self._path, self._headers | resumed)
            self._skip(self._response)
        return self._response

    def _skip(self, response: "BaseHTTPResponse") -> None:
        """Drop what was read before, if the server begins there again."""
        start = 0
        if response.status == _PARTIAL:
            found = _START.match(response.headers.get("Content-Range", ""))
            start = int(found[1]) if found else self._offset
        if start > self._offset:
            raise BlobError(f"the server resumes at byte {start} instead of {self._offset}")
        while start < self._offset:
            data = response.read(min(self._offset - start, _SKIPPED))
            if not data:
                raise EOFError(_CLOSED)
            start += len(data)

    def _break(self, error: Exception) -> None:
        """Drop a connection that broke, and wait before the next one."""
        self._drop()
        self._fruitless += 1
        if self._fruitless > self._remote.retries.attempts:
            raise BlobError(f"the connection broke at byte {self._offset}: {error}") from error
        time.sleep(min(self._remote.retries.pause * 2 ** (self._fruitless - 1), _LONGEST_PAUSE))

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """An image in a registry, with its layers."""

    name: str
    root: Descriptor
    _remote: Remote

    @classmethod
    def open(cls, remote: Remote, digest: Digest) -> Self:
        """Ask for the manifest or index of this digest.

        Raises:
            BlobError: The registry cannot be reached, wants a login, or does not have it.
            ImageError: Neither a manifest nor an index.
        """
        with remote.open_manifest(digest) as file:
            text = file.read(MAX_DOCUMENT + 1)
        name = f"{remote.repository}@{digest}"
        root = Descriptor(media_type=document_type(text, what=name), digest=digest, size=len(text))
        return cls(name=name, root=root, _remote=remote)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob; it is asked for at the first read."""
        if descriptor.media_type in _DOCUMENTS:
            return self._remote.open_manifest(descriptor.digest, size=descriptor.size)
        return self._remote.open_blob(descriptor.digest, size=descriptor.size)


def _buffered(download: _Download) -> BinaryIO:
    return io.BufferedReader(download)
