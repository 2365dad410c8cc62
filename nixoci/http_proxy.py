"""The proxy of a request, as the environment names it: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`."""

import os
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from nixoci.errors import BlobError

_EXPECTED = "expected http://HOST:PORT or https://HOST:PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        url: Its address, `http` or `https`, without a login.
        login: `USER:PASSWORD` as it is sent, one character a byte; None without one.
    """

    url: str
    login: str | None


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for an address; None if it is reached directly.

    Raises:
        BlobError: The environment names one that is not an HTTP proxy; the message holds no password.
    """
    parts = urlsplit(url)
    for variable in (f"{parts.scheme}_proxy", "all_proxy"):
        if text := _value(variable):
            exceptions = _value("no_proxy")
            direct = proxy_bypass_environment(parts.netloc, {"no": exceptions}) or _is_address_of(
                parts.hostname or "", exceptions
            )
            return None if direct else parse_proxy(text, variable=variable)
    return None


def _is_address_of(host: str, exceptions: str) -> bool:
    """Return whether a host is an IP address, or in one of the networks such as `10.0.0.0/8`, that have no proxy.

    The text of an IPv6 address may have several forms, with brackets and without.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for exception in exceptions.split(","):
        with suppress(ValueError):
            if address in ip_network(exception.strip().strip("[]"), strict=False):
                return True
    return False


def parse_proxy(text: str, *, variable: str) -> Proxy:
    """Read the address of a proxy; one without a scheme is an `http` one, as for curl.

    >>> parse_proxy("user:a%40b@proxy.example:3128", variable="https_proxy")
    Proxy(url='http://proxy.example:3128', login='user:a@b')

    Raises:
        BlobError: Not the address of an HTTP proxy.
    """
    text = text.strip()
    try:
        parsed = parse_url(text if "://" in text else f"http://{text}")
    except LocationParseError as error:
        # the message of `error` has the whole address, and with it the password
        raise BlobError(f"{variable} is not the address of a proxy; {_EXPECTED}") from error
    if parsed.scheme not in {"http", "https"}:
        raise BlobError(f"{variable} names a proxy of the kind {parsed.scheme}, which nixoci cannot use; {_EXPECTED}")
    if not parsed.host:
        raise BlobError(f"{variable} names no host; {_EXPECTED}")
    login = None
    if parsed.auth:
        # a percent sign stands for a byte; make_headers writes Latin-1
        login = unquote(parsed.auth, "latin-1")
        login = login if ":" in login else f"{login}:"
    return Proxy(url=parsed._replace(auth=None, path=None, query=None, fragment=None).url, login=login)


def _value(variable: str) -> str:
    """Return the value of a variable or of its name in capitals.

    Nix gives a build an empty text for one that is not set, and urllib's `getproxies` then ignores the other.
    """
    return os.environ.get(variable) or os.environ.get(variable.upper()) or ""
