"""What podman gives a container that asks for nothing (podman-run(1), containers.conf(5)), in runtime-spec terms."""

from typing import Any, Final

from nixoci.errors import ContainerError

CAPABILITIES: Final = (
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

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)

READONLY_PATHS: Final = (
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

KERNEL_MOUNTS: Final[tuple[dict[str, Any], ...]] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",  # noqa: S108 - a mount point inside
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64000k"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"],
    },
)

WRITABLE: Final = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - mount points inside
"""What can be written in a read-only container (podman-run(1), `--read-only-tmpfs`)."""

SYSCTL: Final = {"net.ipv4.ping_group_range": "0 0"}
"""For a network namespace of its own."""


def capabilities(option: str, changes: dict[str, bool]) -> tuple[list[str], list[str]]:
    """Return the bounding set (sorted), and of it what was added by name.

    `ALL` stands for all of them and is applied before single names.

    Raises:
        ContainerError: There is no such capability; the message starts with `option`.
    """
    every = {*CAPABILITIES, *OTHER_CAPABILITIES}
    bounding = set(CAPABILITIES)
    added: set[str] = set()
    for name, add in sorted(changes.items(), key=lambda change: change[0] != "ALL"):
        full = "CAP_" + name.removeprefix("CAP_")
        if full != "CAP_ALL" and full not in every:
            raise ContainerError(f"{option}: no capability {name!r}; capabilities(7) has the list")
        chosen = every if full == "CAP_ALL" else {full}
        bounding = bounding | chosen if add else bounding - chosen
        added = added | chosen if add else added - chosen
    return sorted(bounding), sorted(added)
