"""The names by which the substituter may be asked.

A web page can give its own name the address of this machine (DNS rebinding); a browser then takes the substituter for
the page's own server and lets the page read the answers, private caches among them. The header `Host` still has the
page's name.
"""

import re
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address

from nixoci.errors import StoreError

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^][:/@\s]+)(?::[0-9]*)?")
_LOCALHOST = "localhost"

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_MAX_NAME = 253


def host_name(text: str) -> str:
    """Return the name of a machine in lower case, an IP address in one form.

    >>> host_name("Cache.lan"), host_name("[2001:DB8:0::1]")
    ('cache.lan', '2001:db8::1')

    Raises:
        StoreError: It is none.
    """
    address = _plain_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    if address is not None:
        return address
    name = text.lower().removesuffix(".")
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise StoreError(f"{text!r} is not the name of a machine; give one without port, such as cache.lan")
    return name


def is_own_host(header: str, address: str, names: Collection[str] = ()) -> bool:
    """Return whether a header `Host` names this machine: as loopback, by the address that was asked, or by a name.

    >>> is_own_host("localhost:8642", "127.0.0.1"), is_own_host("page.example:8642", "127.0.0.1")
    (True, False)

    Args:
        header: The value of the header.
        address: The address of this machine's end of the connection.
        names: Further names of this machine, as of `host_name`.
    """
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    host = found[1].strip("[]").lower().removesuffix(".")
    if host == _LOCALHOST or host in names:
        return True
    named = _plain_address(host)
    return named is not None and (ip_address(named).is_loopback or named in {_plain_address(address), *names})


def _plain_address(text: str) -> str | None:
    """Return an IP address as text in one form, an IPv4 address in an IPv6 one as itself; None if it is no address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
