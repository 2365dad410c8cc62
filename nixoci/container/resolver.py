"""Name resolution of a container: its name servers (resolv.conf(5)) and its own lines of /etc/hosts.

Each reader takes the path of the option that the text belongs to, which its errors start with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nixoci.container.characters import is_address
from nixoci.errors import ContainerError

HOST_GATEWAY = "host-gateway"
"""podman's word for the address of the host, as the container sees it."""

_NO_FILE = "none"
_NO_DOMAIN = "."
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.*[A-Za-z]){_LABEL}(?:\.{_LABEL})*\.?")
_DOMAIN_LENGTH = 254
_OPTION = re.compile(r"[a-z0-9-]+(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A line of /etc/hosts; `address` may be `HOST_GATEWAY`."""

    address: str
    names: tuple[str, ...]

    @property
    def line(self) -> str:
        """The line, as podman writes it."""
        return f"{self.address}\t{' '.join(self.names)}\n"


@dataclass(frozen=True, slots=True)
class Resolver:
    """Changes to /etc/resolv.conf; an empty list leaves that part as the network has it.

    `search` may be the one domain `.`, which stands for none. `image_file` means the image's own file.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    image_file: bool = False

    @property
    def replaced(self) -> tuple[str, ...]:
        """The keywords of lines that the changes replace."""
        parts = ((self.servers, ("nameserver",)), (self.search, ("search", "domain")), (self.options, ("options",)))
        return tuple(keyword for values, keywords in parts if values for keyword in keywords)

    @property
    def lines(self) -> str:
        """The lines of the changes, in podman's order."""
        search = [] if _NO_DOMAIN in self.search else [*self.search]
        lines = [f"search {' '.join(search)}\n"] if search else []
        lines += [f"nameserver {server}\n" for server in self.servers]
        lines += [f"options {' '.join(self.options)}\n"] if self.options else []
        return "".join(lines)


def host_entry(option: str, value: str) -> HostEntry:
    """Read `NAME[;NAME]...:ADDRESS` (podman-run(1), `--add-host`).

    >>> host_entry("extraHosts[0]", "db;db.local:fd00::1")
    HostEntry(address='fd00::1', names=('db', 'db.local'))

    Raises:
        ContainerError: It is not of that form.
    """
    names, _, address = value.partition(":")
    parts = names.split(";")
    if not all(_HOST.fullmatch(name) for name in parts) or not (address == HOST_GATEWAY or is_address(address)):
        raise ContainerError(
            f"{option}: {value!r} is not a line of /etc/hosts; expected NAME[;NAME]...:ADDRESS, with an IP address or"
            f" {HOST_GATEWAY}"
        )
    return HostEntry(address, tuple(parts))


def parse_resolver(
    paths: tuple[str, str, str], dns: Sequence[str], search: Sequence[str], options: Sequence[str]
) -> Resolver:
    """Read the options `dns`, `dnsSearch` and `dnsOptions`, whose paths are `paths`.

    Raises:
        ContainerError: podman refuses a value.
    """
    if _NO_FILE in dns:
        if len(dns) > 1:
            raise ContainerError(f"{paths[0]}: 'none' is the image's resolv.conf; drop it or the addresses")
        for path, values in ((paths[1], search), (paths[2], options)):
            if values:
                raise ContainerError(f"{path}: the image's resolv.conf (dns) stays as it is; drop one of the two")
        return Resolver(image_file=True)
    if _NO_DOMAIN in search and len(search) > 1:
        raise ContainerError(f"{paths[1]}: '.' means no domain; drop it or the others")
    for path, values, allowed, expected in (
        (paths[0], dns, is_address, "an IP address; give that of a name server"),
        (paths[1], search, _is_domain, "a domain; expected for example example.org"),
        (paths[2], options, _OPTION.fullmatch, "an option of resolv.conf; expected NAME[:N]"),
    ):
        for index, value in enumerate(values):
            if not allowed(value):
                raise ContainerError(f"{path}[{index}]: {value!r} is not {expected}")
    return Resolver(tuple(dns), tuple(search), tuple(options))


def _is_domain(value: str) -> bool:
    return value == _NO_DOMAIN or (len(value) <= _DOMAIN_LENGTH and _DOMAIN.fullmatch(value) is not None)
