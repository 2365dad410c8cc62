"""The notations of Compose in those of the container model: times, sizes, words, ports, paths."""

import posixpath
import re
import shlex
from dataclasses import dataclass
from fractions import Fraction

from nixoci.compose.node import Node
from nixoci.container.notation import NANOSECONDS

_DURATION = re.compile(r"([0-9]{1,19}(?:\.[0-9]{0,15})?|\.[0-9]{1,19})(ns|us|µs|ms|s|m|h|d|w)")
_SECONDS = re.compile(r"[0-9]{1,19}")
_NANOSECONDS = NANOSECONDS | {"µs": 1_000, "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[0-9]+(?:\.[0-9]+){3}):)?(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)"
)


def duration(node: Node, what: str) -> int:
    """Return a time such as `1m30s` or `1.5s`, in nanoseconds; a number is one of seconds."""
    text = node.text(what).strip()
    if _SECONDS.fullmatch(text):
        return int(text) * 10**9
    found = _DURATION.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise node.error(f"{what}: {text!r} is not a duration; expected for example 30s or 1m30s")
    return sum(round(Fraction(number) * _NANOSECONDS[unit]) for number, unit in found)


def duration_text(node: Node, what: str) -> str:
    """Return a time in the model's notation, which has no fractions."""
    left = duration(node, what)
    parts = []
    for unit, length in reversed(NANOSECONDS.items()):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def seconds(node: Node, what: str) -> int:
    """Return a time in whole seconds, rounded up."""
    return -(-duration(node, what) // 10**9)


def size(node: Node, what: str) -> str:
    """Return a size such as `512M`, `1.5gb` or `1048576` in the model's notation."""
    text = node.text(what).strip()
    found = _SIZE.fullmatch(text)
    if found is None:
        raise node.error(f"{what}: {text!r} is not a size; expected for example 512m or 2g")
    number, unit = found[1], found[2].lower()
    if "." not in number and unit != "t":
        return number + unit.replace("b", "")
    return str(int(Fraction(number) * 1024 ** "bkmgt".index(unit or "b")))


def words(node: Node, what: str) -> list[str]:
    """Return a command: a list, or text that is split as a shell does, without any expansion."""
    if not node.is_scalar:
        return texts(node, what)
    try:
        return shlex.split(node.text(what))
    except ValueError as error:
        raise node.error(f"{what}: {node.shown()}: {error}; close it, or write a list") from error


def texts(node: Node, what: str) -> list[str]:
    """Return the texts of a list, or of a single value."""
    return [item.text(what) for item in node.one_or_more(what)]


def text_pairs(node: Node, what: str) -> dict[str, str]:
    """Return the texts of a mapping or a list of pairs; nothing is the empty text."""
    return {name: "" if item.value is None else item.text(f"{what}.{name}") for name, item in node.pairs(what).items()}


def hosts(node: Node, what: str) -> list[str]:
    """Return `NAME:ADDRESS` lines of a mapping or a list (`NAME:ADDRESS` or `NAME=ADDRESS`)."""
    return [
        f"{name}:{address.text(what).removeprefix('[').removesuffix(']')}"
        for name, item in node.pairs(what, separators="=:").items()
        for address in item.one_or_more(f"{what}.{name}")
    ]


def limits(node: Node, what: str) -> dict[str, int | str]:
    """Return limits of processes: a number, or `SOFT:HARD`."""
    found: dict[str, int | str] = {}
    for name, item in node.items(what).items():
        if item.is_scalar:
            found[name] = item.number(f"{what}.{name}")
            continue
        fields = item.items(f"{what}.{name}")
        if other := [key for key in fields if key not in {"soft", "hard"} and not key.startswith("x-")]:
            raise item.error(f"{what}.{name}: no key {other[0]!r}; give soft and hard")
        try:
            soft, hard = fields["soft"].number(f"{what}.{name}.soft"), fields["hard"].number(f"{what}.{name}.hard")
        except KeyError as error:
            raise item.error(f"{what}.{name}: {error.args[0]} is missing; give soft and hard") from error
        found[name] = f"{soft}:{hard}"
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFields:
    """The parts of a published port; `published` is empty if the engine picks one."""

    ip: str
    published: str
    target: str
    protocol: str

    def __str__(self) -> str:
        ip = f"[{self.ip}]" if ":" in self.ip else self.ip
        host = f"{ip}:{self.published}:" if ip else f"{self.published}:" if self.published else ""
        return f"{host}{self.target}" + ("" if self.protocol == "tcp" else f"/{self.protocol}")


def port_fields(node: Node, what: str) -> PortFields:
    """Return the parts of a port in the short or the long syntax."""
    if isinstance(node.value, dict):
        fields = node.value
        if "target" not in fields:
            raise node.error(f"{what}: target is missing; give the port of the container")
        given = {name: fields[name].text(f"{what}.{name}") for name in ("host_ip", "published") if name in fields}
        protocol = fields["protocol"].text(f"{what}.protocol") if "protocol" in fields else "tcp"
        return PortFields(
            ip=given.get("host_ip", ""),
            published=given.get("published", ""),
            target=fields["target"].text(f"{what}.target"),
            protocol=protocol,
        )
    numbers, _, protocol = node.text(what).partition("/")
    found = _PORT.fullmatch(numbers)
    if found is None:
        raise node.error(f"{what}: {node.shown()} is not a port; expected [[IP:]HOST:]CONTAINER[/tcp|udp|sctp]")
    ip = (found["ip"] or "").removeprefix("[").removesuffix("]")
    return PortFields(ip=ip, published=found["published"] or "", target=found["target"], protocol=protocol or "tcp")


def host_path(node: Node, text: str, home: str) -> str:
    """Return a path of the host in full: a relative one begins at its file's directory, `~` is the home directory.

    Raises:
        ComposeError: The path begins with `~`, and `home` is empty.
    """
    if text == "~" or text.startswith("~/"):
        if not home:
            raise node.error(f"{text!r}: the user has no home directory; set HOME, or write the path in full")
        text = home + text[1:]
    return posixpath.normpath(posixpath.join(str(node.place.directory), text))
