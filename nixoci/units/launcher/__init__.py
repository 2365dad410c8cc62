"""The program that systemd starts in a container's root: it becomes the container's user, then the container's program.

systemd looks up `User=` and `SupplementaryGroups=` in the accounts of the host, where the users of an image are not, or
are others. It also adds variables of its own, and drops those that it takes for invalid. So the service starts as root,
and the last steps are those of an OCI runtime, made here: a static ELF program of less than a page that needs nothing
of the image. It makes the system calls of a table and then executes the container's program, with the variables of the
table.

It also gives mounts the options that `BindPaths=` does not know, such as nosuid, and hides the paths of /proc and /sys
that podman hides. systemd reads the list of all mounts again for each such path, which would take longer than the rest
of a start. These mounts are the service's alone, because `RootDirectory=` gives it a namespace of mounts.

A systemd that does not know `PrivatePIDs=` would start a container among the processes of the host. So the first call
of its launcher fails unless this is the first process of a process namespace.

The code is in amd64.s and arm64.s. Each call of the table is its number and five arguments, as 64-bit words; bit 62 of
the number means that what it names may be missing. Number -1 is the end, whose arguments are the program's path,
arguments and variables.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from nixoci.container.capabilities import NUMBERS, Capabilities
from nixoci.container.users import User

_ADDRESS = 0x400000
_HEADERS = 64 + 56
_END = -1
_READ_EXECUTE = 5
_ARGUMENTS = 5

_MAY_BE_MISSING = 1 << 62

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND, _MS_REC = 4096, 16384
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SET = {"nosuid": _MS_NOSUID, "nodev": _MS_NODEV, "noexec": _MS_NOEXEC}
_CLEARED = {"suid": _MS_NOSUID, "dev": _MS_NODEV, "exec": _MS_NOEXEC}
"""The attributes of a mount (mount_setattr(2)) that options of mount(8) set and clear."""

_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_FIRST_PROCESS = 1
_SIGINFO = bytes(128)


DIRECTORIES: Final = frozenset(
    ("/proc/acpi", "/proc/scsi", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux")
)
"""The paths to hide that are directories."""

MOUNT_OPTIONS: Final = frozenset((*_SET, *_CLEARED))
"""The options of mount(8) that a launcher gives to mounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """An architecture: its number in ELF, its code, and the numbers of its system calls."""

    number: int
    code: bytes
    calls: dict[str, int]


_MACHINES: Final = {
    "amd64": _Machine(
        number=62,
        code=bytes.fromhex(
            "4989e4488d1d66000000488b03488b7b08488b7310488b53184c8b53204883c3"
            "304c8b43f84989c5480fbaf03e4885c078280f054885c079d1490fbae53e7306"
            "4883f8fe74c4bf7e0000004883f8fe7502ffc7b83c0000000f054885f6750549"
            "8d742410b83b0000000f05ebd90f1f00"
        ),
        calls={
            "chdir": 80,
            "setgroups": 116,
            "setresuid": 117,
            "setresgid": 119,
            "capset": 126,
            "prctl": 157,
            "rt_sigqueueinfo": 129,
            "mount": 165,
            "mount_setattr": 442,
        },
    ),
    "arm64": _Machine(
        number=183,
        code=bytes.fromhex(
            "f4030091f30200106802c1a8610ac1a86312c1a8f50308aa08f941926801f8b7"
            "010000d420ffffb67500f0b61f0800b1c0feff541f0800b1c00f80d20014809a"
            "a80b80d2010000d4410000b581420091a81b80d2010000d4f7ffff171f2003d5"
        ),
        calls={
            "chdir": 49,
            "capset": 91,
            "setresuid": 147,
            "setresgid": 149,
            "setgroups": 159,
            "prctl": 167,
            "rt_sigqueueinfo": 138,
            "mount": 40,
            "mount_setattr": 442,
        },
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The process that a launcher becomes; without `argv` it has the launcher's own arguments but the first.

    `first` lets it run only as the first process of a process namespace. `masked` are paths that it hides before, and
    `read_only` those that it makes read-only, as a runtime of the runtime-spec does; those that are missing are left
    alone. `mount_options` are options of mount(8) by the mount point: those of `MOUNT_OPTIONS` are set or cleared.
    """

    path: str
    environment: dict[str, str]
    directory: str
    user: User
    capabilities: Capabilities
    argv: tuple[str, ...] = ()
    first: bool = False
    masked: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    mount_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def render_launcher(process: Process, *, architecture: str) -> bytes:
    """Return the ELF program that becomes a process.

    Its exit code is 127 if the program or the directory is not there, and 126 if anything else fails, as in a shell.

    Args:
        process: The process.
        architecture: Go's name of the architecture, `amd64` or `arm64`.
    """
    machine = _MACHINES[architecture]
    calls = [*_calls(process), ("end", _program(process))]
    words = _ARGUMENTS + 1
    start = _HEADERS + len(machine.code)
    data = _Data(_ADDRESS + start + len(calls) * words * 8)
    table = b""
    for name, arguments in calls:
        number = _END if name == "end" else machine.calls[name.rstrip("?")]
        if name.endswith("?"):
            number |= _MAY_BE_MISSING
        values = [data.place(each) if isinstance(each, bytes | list) else each for each in arguments]
        table += struct.pack(f"<{words}q", number, *values, *[0] * (_ARGUMENTS - len(values)))
    body = machine.code + table + data.content
    return _headers(machine.number, _HEADERS + len(body)) + body


def system_calls(process: Process) -> frozenset[str]:
    """Return the names of the system calls by which a launcher becomes a process, besides execve and exit."""
    return frozenset(name.rstrip("?") for name, _ in _calls(process))


_Argument = int | bytes | list[bytes]
"""A number, or the bytes or the strings whose address is passed."""


def _calls(process: Process) -> Iterable[tuple[str, Sequence[_Argument]]]:
    """Yield the system calls that make root a container's user, in the order of an OCI runtime."""
    user, bounding = process.user, set(process.capabilities.bounding)
    kept = process.capabilities.bounding if user.uid == 0 else process.capabilities.added
    ambient = () if user.uid == 0 else kept
    if process.first:
        # rt_sigqueueinfo(2): a process may send what the kernel sends (a code of 0) to itself alone; signal 0 is none
        yield "rt_sigqueueinfo", (_FIRST_PROCESS, 0, _SIGINFO)
    yield from _paths(process)
    yield "chdir", (_string(process.directory),)
    yield "setgroups", (len(user.additional_gids), struct.pack(f"<{len(user.additional_gids)}I", *user.additional_gids))
    yield "setresgid", (user.gid,) * 3
    for name, number in NUMBERS.items():
        if name not in bounding:
            yield "prctl", (_PR_CAPBSET_DROP, number)
    yield "prctl", (_PR_SET_KEEPCAPS, 1)
    yield "setresuid", (user.uid,) * 3
    mask, inheritable = _mask(kept), _mask(ambient)
    halves = [(value & 0xFFFFFFFF, value >> 32) for value in (mask, mask, inheritable)]
    low, high = zip(*halves, strict=True)
    yield "capset", (struct.pack("<2I", _CAPABILITY_VERSION_3, 0), struct.pack("<6I", *low, *high))
    for name in ambient:
        yield "prctl", (_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, NUMBERS[name])


def _paths(process: Process) -> Iterable[tuple[str, Sequence[_Argument]]]:
    """Yield the system calls that change mounts, hide paths or make them read-only.

    `?` ends the name of a call that may fail.
    """
    for point, options in process.mount_options.items():
        set_, cleared = (sum(flags[each] for each in options if each in flags) for flags in (_SET, _CLEARED))
        attributes = struct.pack("<4Q", set_, cleared, 0, 0)
        yield "mount_setattr", (_AT_FDCWD, _string(point), 0, attributes, len(attributes))
    protected = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    for path in process.masked:
        if path in DIRECTORIES:
            yield "mount?", (_string("tmpfs"), _string(path), _string("tmpfs"), protected, 0)
        else:
            yield "mount?", (_string("/dev/null"), _string(path), 0, _MS_BIND, 0)
    for path in process.read_only:
        yield "mount?", (_string(path), _string(path), 0, _MS_BIND | _MS_REC, 0)
        attributes = struct.pack("<4Q", protected, 0, 0, 0)
        yield "mount_setattr?", (_AT_FDCWD, _string(path), _AT_RECURSIVE, attributes, len(attributes))


def _program(process: Process) -> Sequence[_Argument]:
    argv = [_string(each) for each in process.argv]
    variables = [_string(f"{name}={value}") for name, value in process.environment.items()]
    return _string(process.path), argv or 0, variables


def _mask(names: Iterable[str]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def _string(value: str) -> bytes:
    return value.encode() + b"\0"


class _Data:
    """The bytes that system calls point to, at an address."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.content = b""

    def place(self, value: bytes | list[bytes]) -> int:
        """Add bytes, or a list of strings that ends with NULL, and return the address."""
        if isinstance(value, list):
            addresses = [self.place(each) for each in value]
            value = struct.pack(f"<{len(addresses) + 1}Q", *addresses, 0)
        self.content += bytes(-len(self.content) % 8)
        address = self.address + len(self.content)
        self.content += value
        return address


def _headers(machine: int, size: int) -> bytes:
    """Return the headers of an ELF program of one segment (elf(5)), which is mapped as it is and never written."""
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    executable, version, entry, table = 2, 1, _ADDRESS + _HEADERS, 64
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", identity, executable, machine, version, entry, table, 0, 0, 64, 56, 1, 0, 0, 0
    )
    load, alignment = 1, 0x1000
    return header + struct.pack("<IIQQQQQQ", load, _READ_EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, alignment)
