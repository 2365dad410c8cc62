"""Requests over HTTP: through the proxies of the environment, with trusted certificates, and with redirects.

A request is made once; whoever makes it knows whether to make it again.
"""

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, LocationValueError
from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers, parse_url

from nixoci.errors import BlobError
from nixoci.http_proxy import Proxy, proxy_for
from nixoci.oci.certificates import trust_directory, trusting_context

CERTIFICATES_VARIABLE = "NIX_SSL_CERT_FILE"
"""The variable of a file of trusted certificates, which Nix and its fetchers read."""

_CONNECTIONS = 4
"""Connections to one server that stay open between requests."""

_REDIRECTS = 10

_DRAINED = 1 << 16
"""Bytes of an answer that nobody wants; with more of them, a new connection costs less than reading them."""

_PORTS = {"http": 80, "https": 443}
_MOVED = frozenset({301, 302, 303, 307, 308})
_TIMES = urllib3.Timeout(connect=30.0, read=60.0)
_SECONDS = re.compile(r"[0-9]{1,9}")
_SHOWN = 100
_REFUSED = re.compile(r"Tunnel connection failed: (4(?!08|29)[0-9]{2})\b")
"""Matches the message of http.client about a proxy that will not connect next time either."""

_ALERT = re.compile("_ALERT_(.+)")
"""Matches OpenSSL's name of the reason for which a server ends a TLS connection."""


class NoAnswerError(HTTPError):
    """A request has no answer, and may have one later.

    Attributes:
        pause: Seconds that the server asks to wait.
    """

    def __init__(self, message: str, *, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, whose body is still to be read.

    Attributes:
        host: The server that gave it, after all redirects.
        redirected: Set if that is another server than the one that was asked.
    """

    host: str
    redirected: bool
    _response: BaseHTTPResponse

    @property
    def status(self) -> int:
        """The status, such as 200."""
        return self._response.status

    @property
    def said(self) -> str:
        """The status in words, such as `404 Not Found`; the server's own words may be any."""
        return _said(self.status)

    @property
    def pause(self) -> float:
        """The seconds that the server asks to wait."""
        return parse_retry_after(self.header("Retry-After"), now=time.time())

    def header(self, name: str) -> str:
        """Return a header, several of the same name joined by commas, or an empty text."""
        return self._response.headers.get(name, "")

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most `count`, and none at the end only.

        Raises:
            HTTPError: The connection broke.
        """
        # not read(), which takes a chunk of the size -1 for all that comes
        return self._response.read1(count)

    def read_document(self, limit: int) -> bytes:
        """Return the whole body, or its first `limit` bytes.

        Raises:
            HTTPError: The connection broke.
        """
        parts: list[bytes] = []
        while limit and (part := self.read(limit)):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)

    def drop(self) -> None:
        """Let the next request have the connection, if the rest of the body is short; else close it."""
        try:
            self.read_document(_DRAINED)
        except HTTPError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection, if the body was not read to its end."""
        self._response.close()


class Client:
    """Connections to servers; several threads may make requests."""

    def __init__(self, *, certificates: Path | None, directory: Path | None = None, verify: bool = True) -> None:
        """Connect to nothing yet.

        Args:
            certificates: A file of certificates to trust; None for those of OpenSSL.
            directory: A directory of more certificates, and of those of the client, as `trust_directory` reads it.
            verify: Refuse servers whose certificates are not trusted.
        """
        self._certificates = certificates
        self._directory = directory
        self._verify = verify
        self._context: ssl.SSLContext | None = None
        self._pools: dict[tuple[str, Proxy | None], urllib3.PoolManager] = {}
        self._lock = Lock()

    def get(self, url: str, headers: Mapping[str, str], *, authorization: str | None = None) -> Answer:
        """Ask for `url` with the method GET, and follow redirects; no other server gets `authorization`.

        Raises:
            NoAnswerError: No server answers.
            BlobError: An address, a proxy or the certificates cannot be used; asking again would not help.
        """
        if parse_address(url) is None:
            raise BlobError(f"{urlsplit(url).netloc} is not the address of a server")
        first, at = url, url
        for _ in range(_REDIRECTS + 1):
            redirected = _server(at) != _server(first)
            own = {"User-Agent": "nixoci", "Accept-Encoding": "identity", **headers}
            if authorization is not None and not redirected:
                own["Authorization"] = authorization
            host = urlsplit(at).netloc
            answer = Answer(host=host, redirected=redirected, _response=self._request(at, own))
            if answer.status not in _MOVED:
                return answer
            location = answer.header("Location")
            answer.drop()
            target = parse_address(location, base=at)
            if target is None:
                raise BlobError(f"{host} redirects to {location[:_SHOWN]!a}, which is no HTTP address")
            at = target
        raise BlobError(f"{urlsplit(first).netloc} redirects more than {_REDIRECTS} times")

    def _request(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        try:
            return self._pool(url).request(
                "GET",
                url,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=_TIMES,
            )
        except LocationValueError as error:
            raise BlobError(f"{urlsplit(url).netloc} is not the address of a server: {error}") from error
        except (HTTPError, OSError) as error:
            host = urlsplit(url).netloc
            if found := _REFUSED.search(str(error)):
                raise BlobError(
                    f"{host} cannot be reached: the proxy answers {_said(int(found[1]))}; see docs/registries.md,"
                    " Environment"
                ) from error
            if error.args and isinstance(error.args[0], ssl.SSLCertVerificationError):
                raise BlobError(
                    f"{host} is not trusted: {error.args[0].verify_message}; builds trust the certificates in the file"
                    f" that {CERTIFICATES_VARIABLE} names, if their sandbox has it"
                ) from error
            if error.args and isinstance(error.args[0], ssl.SSLError):
                alert = _ALERT.search(error.args[0].reason or "")
                if alert is not None:
                    said = alert[1].lower().replace("_", " ")
                    raise BlobError(
                        f"{host} refuses the connection: {said}; builds have no certificate to show, if it wants one"
                    ) from error
            raise NoAnswerError(f"{host} cannot be reached: {error}") from error

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections that go the way of this address."""
        way = urlsplit(url).scheme, proxy_for(url)
        with self._lock:
            if way not in self._pools:
                self._pools[way] = self._connect(*way)
            return self._pools[way]

    def _connect(self, scheme: str, proxy: Proxy | None) -> urllib3.PoolManager:
        if self._context is None and (scheme == "https" or (proxy is not None and proxy.url.startswith("https:"))):
            self._context = self._trusted()
        if proxy is None:
            return urllib3.PoolManager(ssl_context=self._context, maxsize=_CONNECTIONS)
        return urllib3.ProxyManager(
            proxy.url,
            proxy_headers=None if proxy.login is None else make_headers(proxy_basic_auth=proxy.login),
            proxy_ssl_context=self._context,
            ssl_context=self._context,
            maxsize=_CONNECTIONS,
        )

    def _trusted(self) -> ssl.SSLContext:
        try:
            context = trusting_context(self._certificates)
        except OSError as error:
            raise BlobError(f"certificates {self._certificates}: cannot be read: {error.strerror}") from error
        if self._directory is not None:
            trust_directory(context, self._directory)
        if not self._verify:
            urllib3.disable_warnings(InsecureRequestWarning)  # the user has decided
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def parse_address(text: str, *, base: str = "") -> str | None:
    """Return an HTTP address, without a login and a fragment; None if `text` is none.

    Args:
        text: The address, or one that is relative to `base`.
        base: The address at which `text` was read.
    """
    try:
        parsed = parse_url(urljoin(base, text))
        urlsplit(parsed.url)  # stricter in some points
    except ValueError:
        return None
    if not text or parsed.scheme not in {"http", "https"} or not parsed.host:
        return None
    return parsed._replace(auth=None, fragment=None).url


def _said(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _server(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def parse_retry_after(text: str, *, now: float) -> float:
    """Return the seconds to wait (RFC 9110, 10.2.3), zero if `text` does not say it; `now` is a Unix time."""
    if _SECONDS.fullmatch(text.strip()):
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0.0
