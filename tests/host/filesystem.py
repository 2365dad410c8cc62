"""File systems of a machine of the test host, on which no round pays for what the round before left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.host.process import run

if TYPE_CHECKING:
    from tests.host.machine import Machine

PLACES = {"memory": "dev/shm", "disk": "var/tmp"}
"""Where the files lie in which the file systems are."""


def fits_in_memory(size: int) -> bool:
    """Tell whether that many bytes, and as many again for programs, are free in memory."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    (available,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return available << 10 > 2 * size


def mount_new(machine: Machine, folder: str, *, on: str = "memory", gigabytes: int = 8) -> None:
    """Mount a new ext4 file system at a folder of the machine.

    It is ext4 because the kernel mounts no EROFS file of a tmpfs. On a disk the file system's own pages alone are
    cached: to mount it again is to start with an empty page cache.
    """
    image = machine.root / PLACES[on] / f"{Path(folder).name}.img"
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(gigabytes << 30)
    run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", image])
    machine.run(["mkdir", "--parents", folder])
    mount(machine, folder, on=on)


def mount(machine: Machine, folder: str, *, on: str = "memory") -> None:
    """Mount a file system that `mount_new` made, and that was unmounted."""
    image = machine.root / PLACES[on] / f"{Path(folder).name}.img"
    direct = ["--direct-io=on"] if on == "disk" else []
    # the kernel frees the loop device with the mount
    device = run(["losetup", "--find", "--show", *direct, image]).stdout.strip()
    number = os.minor(Path(device).stat().st_rdev)
    machine.run(["sh", "-ec", f"mknod {device} b 7 {number}; mount -o noatime {device} {folder}; rm {device}"])
    run(["losetup", "--detach", device])


def put_in_memory(machine: Machine, *folders: str) -> None:
    """Let folders of a machine lie in new file systems in memory, with what they have; Nix's daemon starts anew.

    Then no disk takes part in what is measured, nor what other machines do with it. ext4 without a journal, which some
    machines have, uses no inode for minutes after its file was deleted and looks at each such inode for each new file:
    after an image path of 11 000 files was deleted, Nix took six seconds more of processor time to make another one.
    """
    machine.run(["systemctl", "stop", "nix-daemon.service", "nix-daemon.socket"])
    for folder in folders:
        machine.run(["cp", "--archive", folder, "/root/copy"], timeout=600)
        mount_new(machine, folder)
        machine.run(["sh", "-ec", 'cp --archive /root/copy/. "$0"; rm --recursive /root/copy', folder], timeout=600)
    machine.run(["systemctl", "start", "nix-daemon.socket"])


def store_in_memory(machine: Machine, gigabytes: int = 4) -> None:
    """Let the images that a machine builds lie in memory while it builds them, if there is room."""
    if fits_in_memory(gigabytes << 30):
        mount_new(machine, "/var/lib/containers", gigabytes=gigabytes)


def used(machine: Machine, folder: str) -> tuple[int, int]:
    """Return the bytes and the inodes that are in use in a mounted file system."""
    machine.run(["sync", "--file-system", folder])
    shown = machine.run(["df", "--block-size=1", "--output=used,iused", folder]).stdout
    size, inodes = map(int, shown.splitlines()[1].split())
    return size, inodes
