"""The file system of the test host: Debian with Nix, podman and the tools that tests compare with."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.host.apt import debootstrap
from tests.host.cache import cached, key
from tests.host.process import run

SUITE = "forky"  # the first Debian whose podman, Nix and composefs are all recent enough

NIX = ("nix-bin", "nix-setup-systemd", "composefs", "erofs-utils")
CONTAINERS = (
    *("podman", "crun", "runc", "skopeo", "buildah", "umoci", "docker-registry", "fuse-overlayfs", "catatonit"),
    *("nftables", "netavark", "aardvark-dns", "passt", "uidmap"),
)
ENGINES = ("docker.io", "docker-cli", "docker-compose", "containerd", "iptables")
SYSTEM = (
    *(
        "systemd-sysv",
        "systemd-container",
        "dbus",
        "dbus-user-session",
        "libpam-systemd",
        "python3",
        "python3-venv",
        "ca-certificates",
    ),
    *("openssh-server", "openssh-client", "curl", "iproute2", "procps", "rsync", "sudo", "apache2-utils", "git"),
    *("libcap2-bin", "attr"),
)
DELTAS = ("rdiff", "xdelta3", "zstd", "bsdiff", "desync")
PACKAGES = NIX + CONTAINERS + ENGINES + SYSTEM + DELTAS

MASKED = (
    "docker-registry.service",  # the tests start their own, on ports of their choice
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
)
ON_DEMAND = (
    *("ssh.service", "netavark-dhcp-proxy.socket"),
    *("docker.service", "docker.socket", "containerd.service"),
)

FILES = Path(__file__).parent / "root"
"""Configuration that is laid over the installed packages."""


def rootfs() -> Path:
    """Return the cached root file system; nobody writes there, machines boot overlays of it."""
    return cached(f"root-{key(FILES, Path(__file__))}", _build)


def _build(folder: Path) -> None:
    debootstrap(folder, SUITE, PACKAGES)
    shutil.copytree(FILES, folder, dirs_exist_ok=True)
    # enabled or not, a unit that the tests do not ask for costs boot time and may want a port of the outer machine
    run(["chroot", folder, "systemctl", "--quiet", "mask", *MASKED])
    run(["chroot", folder, "systemctl", "--quiet", "disable", *ON_DEMAND])
    run(["chroot", folder, "useradd", "--create-home", "--shell=/bin/bash", "--groups=nix-users", "alice"])
    for kind in ("subuids", "subgids"):
        run(["chroot", folder, "usermod", f"--add-{kind}=100000-165535", "alice"])
    (folder / "etc/hostname").unlink(missing_ok=True)
    (folder / "etc/resolv.conf").unlink(missing_ok=True)
