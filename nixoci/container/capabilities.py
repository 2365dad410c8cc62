"""Linux capabilities: their names, podman's defaults, and a container's own."""

from dataclasses import dataclass
from typing import Final

from nixoci.errors import ContainerError

DEFAULT_CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""The capabilities of a container that changes none (containers.conf(5), `default_capabilities`)."""

OTHER_CAPABILITIES: Final = (
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYSLOG",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
)
"""The rest of capabilities(7)."""

_IN_ORDER: Final = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE"
    " NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT"
    " SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
    " MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)

NUMBERS: Final = {f"CAP_{name}": number for number, name in enumerate(_IN_ORDER.split())}
"""The numbers of the capabilities (linux/capability.h)."""

_EVERY = frozenset((*DEFAULT_CAPABILITIES, *OTHER_CAPABILITIES))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A container's capabilities, sorted: the bounding set, and the part of it that was added by name."""

    bounding: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def may_mount(self) -> bool:
        """True if a process may mount, and so make a read-only mount writable."""
        return "CAP_SYS_ADMIN" in self.bounding


def parse_capabilities(option: str, changes: dict[str, bool]) -> Capabilities:
    """Apply changes to podman's defaults: first those of `ALL` (every capability), then those of single names.

    Raises:
        ContainerError: There is no such capability; the message starts with `option`.
    """
    bounding = frozenset(DEFAULT_CAPABILITIES)
    added: frozenset[str] = frozenset()
    for name, add in sorted(changes.items(), key=lambda change: change[0] != "ALL"):
        full = "CAP_" + name.removeprefix("CAP_")
        if full != "CAP_ALL" and full not in _EVERY:
            raise ContainerError(f"{option}: no capability {name!r}; capabilities(7) has the list")
        chosen = _EVERY if full == "CAP_ALL" else {full}
        bounding = bounding | chosen if add else bounding - chosen
        added = added | chosen if add else added - chosen
    return Capabilities(tuple(sorted(bounding)), tuple(sorted(added)))
