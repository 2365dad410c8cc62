"""The short notations of podman's command line: ports, mounts, devices, durations, signals.

Each reader takes the path of the option that the text belongs to (`containers.web.ports[0]`); its errors start with it.
"""

import ipaddress
import posixpath
import re
import signal
from dataclasses import dataclass
from enum import Enum

from nixoci.container.characters import NAME, is_address, line, text
from nixoci.errors import ContainerError

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_DURATION = re.compile(r"([0-9]{1,19})(ns|us|ms|s|m|h)")
NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
"""The units of durations, the shortest first."""
_CDI = re.compile(
    r"[a-z](?:[\w.-]*[a-z0-9])?/[a-z](?:[\w-]*[a-z0-9])?=[a-z0-9](?:[\w.:-]*[a-z0-9])?", re.ASCII | re.IGNORECASE
)
_SIZE = re.compile(r"([0-9]{1,15})([bkmgBKMG]?)")
_LIMIT = re.compile(r"(-1|[0-9]{1,19})(?::(-1|[0-9]{1,19}))?")
MOST = 2**63 - 1
"""The largest number that podman, systemd and OCI runtimes take as a limit."""

LONGEST = 2**31 - 1
"""Seconds that they wait at most."""

_LIMITS = frozenset(
    (
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
        *("rtprio", "rttime", "sigpending", "stack"),
    )
)
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(?:/[A-Za-z0-9][A-Za-z0-9_+-]*)*")
_ID_RANGE = r"[0-9]+:@?[0-9]+:[0-9]+"
_NAMESPACES = {
    "host": None,
    "auto": re.compile(rf"size=[0-9]+|(?:uid|gid)mapping={_ID_RANGE}"),
    "keep-id": re.compile(r"(?:uid|gid|size)=[0-9]+"),
    "nomap": None,
}
"""The modes of user namespaces, with the form of their options."""
_REAL_TIME = re.compile(r"RT(?:MIN\+|MAX-)[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class Port:
    """A published range of ports; `host` is None if podman picks them. `text` is the notation itself."""

    text: str
    address: str
    host: range | None
    container: range
    protocol: str

    def clashes(self, other: "Port") -> bool:
        """Return whether both need the same port of the host."""
        if self.host is None or other.host is None or self.protocol != other.protocol:
            return False
        return (
            _overlap(self.address, other.address)
            and self.host.start < other.host.stop
            and other.host.start < self.host.stop
        )


class Source(Enum):
    """The kind of a mount's source."""

    HOST_PATH = "host path"
    NAMED_VOLUME = "named volume"
    DECLARED_VOLUME = "declared volume"
    """A named volume that the deployment declares, so that a unit creates it."""
    ANONYMOUS_VOLUME = "anonymous volume"


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount or volume at the absolute, clean path `target`; the source of an anonymous volume is empty."""

    kind: Source
    source: str
    target: str
    options: tuple[str, ...] = ()

    @property
    def option_names(self) -> set[str]:
        """The options without their values."""
        return {option.partition("=")[0] for option in self.options}


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A file system in memory at the absolute, clean path `target`."""

    target: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the host; `access` has letters of `rwm`.

    The `source` of a CDI device is its name; it has no target and no access.
    """

    source: str
    target: str = ""
    access: str = ""

    @property
    def is_cdi(self) -> bool:
        """True for a device that a vendor's file describes (Container Device Interface)."""
        return "=" in self.source


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A limit of getrlimit(2).

    `name` is in lower case and without `RLIMIT_`; -1 is no limit.
    """

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """A mode of podman's user namespaces; `text` is the notation itself, `options` the names of its options."""

    text: str
    mode: str
    options: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NetworkReference:
    """A network that a container or pod joins, or the `container` whose network it shares.

    `name` is empty for a container's. `declared` means that a unit of this document makes the network or the container.
    """

    name: str
    options: str = ""
    container: str | None = None
    declared: bool = False


def clean_path(option: str, path: str) -> str:
    """Return an absolute path without `.`, `..`, doubled and final slashes (CVE-2022-23648)."""
    text(option, path)
    if not path.startswith("/"):
        raise ContainerError(f"{option}: {path!r} is not an absolute path; write it from the root of the container")
    return posixpath.normpath("/" + path.lstrip("/"))


def port(option: str, value: str) -> Port:
    """Read `[[IP:]HOST:]CONTAINER[/PROTOCOL]`; an IPv6 address is in brackets."""
    numbers, _, protocol = value.partition("/")
    address, _, rest = numbers.rpartition("]:") if numbers.startswith("[") else ("", "", numbers)
    parts = rest.split(":")
    if not address and len(parts) == 3:
        address, *parts = parts
    host_text, container_text = parts if len(parts) == 2 else ("", parts[-1])
    container = _ports(container_text)
    host = _ports(host_text) if host_text else None
    address = address.removeprefix("[")
    if (
        len(parts) > 2
        or container is None
        or (host_text and (host is None or len(host) != len(container)))
        or (protocol or "tcp") not in {"tcp", "udp", "sctp"}
        or (address and not is_address(address))
    ):
        raise ContainerError(f"{option}: {value!r} is not a port; expected [[IP:]HOST:]CONTAINER[/tcp|udp|sctp]")
    return Port(value, address, host, container, protocol or "tcp")


def volume(option: str, value: str) -> Mount:
    """Read `SOURCE:TARGET[:OPTIONS]`, or `TARGET` alone for an anonymous volume."""
    line(option, value)
    parts = value.split(":")
    if len(parts) > 3:
        raise ContainerError(f"{option}: {value!r} has a colon too many; expected SOURCE:TARGET[:OPTIONS]")
    if len(parts) == 1:
        return Mount(Source.ANONYMOUS_VOLUME, "", _mount_target(option, value))
    source, target, *rest = parts
    kind = Source.HOST_PATH if source.startswith("/") else Source.NAMED_VOLUME
    if not source:
        raise ContainerError(f"{option}: {value!r} has no source; expected SOURCE:TARGET[:OPTIONS]")
    if kind is Source.NAMED_VOLUME and not NAME.fullmatch(source):
        raise ContainerError(
            f"{option}: source {source!r} is neither an absolute path nor the name of a volume (letters, digits, _ . -)"
        )
    target = _mount_target(option, target)
    source = posixpath.normpath(source) if kind is Source.HOST_PATH else source
    return Mount(kind, source, target, _options(*rest))


def tmpfs(option: str, value: str) -> Tmpfs:
    """Read `TARGET[:OPTIONS]`."""
    target, _, options = line(option, value).partition(":")
    return Tmpfs(_mount_target(option, target), _options(options))


def device(option: str, value: str) -> Device:
    """Read `SOURCE[:TARGET][:rwm]`, or the name of a CDI device, `VENDOR/CLASS=NAME`."""
    if _CDI.fullmatch(value):
        return Device(value)
    parts = value.split(":")
    access = parts.pop() if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
    if (
        len(parts) > 2
        or not re.fullmatch(r"[rwm]{1,3}", access)
        or len(set(access)) < len(access)
        or not all(re.fullmatch(r"/dev/[\w./+@-]+", x) for x in parts)
    ):
        raise ContainerError(
            f"{option}: {value!r} is not a device; expected /dev/SOURCE[:/dev/TARGET][:rwm] or VENDOR/CLASS=NAME"
        )
    return Device(clean_path(option, parts[0]), clean_path(option, parts[-1]), access)


def network(option: str, value: str) -> NetworkReference:
    """Read `NAME[:OPTION=VALUE[,...]]` or `container:NAME` (podman-run(1), `--network`)."""
    name, colon, options = line(option, value).partition(":")
    if name == "container":
        if not options:
            raise ContainerError(f"{option}: {value!r} names no container; expected container:NAME")
        return NetworkReference("", container=options)
    if not name or (colon and not options):
        raise ContainerError(f"{option}: {value!r} is not a network; expected NAME[:OPTION=VALUE[,...]]")
    if colon and name in {"host", "none"}:
        raise ContainerError(f"{option}: the network {name!r} has no options; drop {options!r}")
    return NetworkReference(name, options)


def duration(option: str, value: str) -> int:
    """Read a time such as `1m30s`, in nanoseconds."""
    found = _DURATION.findall(value)
    if not found or "".join(number + unit for number, unit in found) != value:
        raise ContainerError(f"{option}: {value!r} is not a duration; expected for example 30s, 1m30s or 500ms")
    return sum(int(number) * NANOSECONDS[unit] for number, unit in found)


def size(option: str, value: str) -> int:
    """Read a size such as `512m`, in bytes; `k`, `m` and `g` are powers of 1024."""
    found = _SIZE.fullmatch(value)
    if found is None or not int(found[1]):
        raise ContainerError(f"{option}: {value!r} is not a size; expected for example 512m or 2g")
    count = int(found[1]) << 10 * "bkmg".index(found[2].lower() or "b")
    if count > MOST:
        raise ContainerError(f"{option}: {value!r} is beyond {MOST} bytes; give less, or leave it out for no limit")
    return count


def ulimit(option: str, name: str, value: int | str) -> Ulimit:
    """Read a limit: one number, or `SOFT:HARD`; -1 is no limit.

    >>> ulimit("ulimits.nofile", "nofile", "1024:-1")
    Ulimit(name='nofile', soft=1024, hard=-1)
    """
    if name not in _LIMITS:
        raise ContainerError(f"{option}: no limit {name!r}; podman has {', '.join(sorted(_LIMITS))}")
    found = _LIMIT.fullmatch(str(value))
    if found is None:
        raise ContainerError(f"{option}: {value!r} is not a limit; expected a number or SOFT:HARD, -1 for none")
    soft = int(found[1])
    hard = soft if found[2] is None else int(found[2])
    if max(soft, hard) > MOST:
        raise ContainerError(f"{option}: {value!r} is beyond {MOST}; give less, or -1 for no limit")
    if hard != -1 and not 0 <= soft <= hard:
        raise ContainerError(f"{option}: the soft limit of {value!r} is above the hard one; lower it")
    return Ulimit(name, soft, hard)


def user_namespace(option: str, value: str) -> UserNamespace:
    """Read `host`, `auto[:OPTIONS]`, `keep-id[:OPTIONS]` or `nomap` (podman-run(1), `--userns`)."""
    mode, colon, options = value.partition(":")
    if mode not in _NAMESPACES:
        raise ContainerError(
            f"{option}: no mode {mode!r}; expected one of {', '.join(_NAMESPACES)}, or use extraOptions"
        )
    form, given = _NAMESPACES[mode], options.split(",") if colon else []
    for each in given:
        if form is None or not form.fullmatch(each):
            raise ContainerError(f"{option}: {mode} has no option {each!r}; podman-run(1) has them under --userns")
    return UserNamespace(value, mode, frozenset(each.partition("=")[0] for each in given))


def timezone(option: str, value: str) -> str:
    """Return the name of a time zone, or `local`."""
    if not _ZONE.fullmatch(value):
        raise ContainerError(f"{option}: {value!r} is not a time zone; expected for example Europe/Berlin, or local")
    return value


def signal_name(option: str, value: str) -> str:
    """Return a signal's name with its `SIG`, from its name (with or without it) or its number."""
    name = value.upper().removeprefix("SIG")
    if re.fullmatch("[0-9]{1,3}", name):
        number = int(name)
        found = next((known.name for known in signal.Signals if known == number), None)
        if found is None and signal.SIGRTMIN < number < signal.SIGRTMAX:
            found = f"SIGRTMIN+{number - signal.SIGRTMIN}"
        if found is not None:
            return found
    elif f"SIG{name}" in signal.Signals.__members__ or _REAL_TIME.fullmatch(name):
        return f"SIG{name}"
    raise ContainerError(f"{option}: {value!r} is not a signal; expected for example SIGTERM, TERM or 15")


def _mount_target(option: str, path: str) -> str:
    target = clean_path(option, path)
    if target == "/":
        raise ContainerError(f"{option}: nothing can be mounted over the whole tree; name a directory below /")
    return target


def _options(value: str = "") -> tuple[str, ...]:
    return tuple(value.split(",")) if value else ()


def _ports(value: str) -> range | None:
    match = _PORT.fullmatch(value)
    if match is None:
        return None
    first = int(match[1])
    last = int(match[2] or first)
    return range(first, last + 1) if 0 < first <= last < 65536 else None


def _overlap(address: str, other: str) -> bool:
    """Return whether two addresses have one in common: podman binds `::` without the addresses of IPv4."""
    if not address or not other:
        return True
    one, two = ipaddress.ip_address(address), ipaddress.ip_address(other)
    return one.version == two.version and (one == two or one.is_unspecified or two.is_unspecified)
