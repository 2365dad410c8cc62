"""Debian file systems, from whichever mirror this machine's own apt is configured with."""

from __future__ import annotations

import os
import re
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.host.filesystem import fits_in_memory
from tests.host.process import LONG, run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


LARGE = 2 << 30
"""The bytes that the tree of a tar file may take."""

# Mounts a file system in memory, which goes with the command.
IN_MEMORY = 'mount -t tmpfs -o mode=0755 tmpfs "$0"; exec "$@"'


class NoMirrorError(Exception):
    """apt on this machine has no Debian mirror configured."""


def mirrors() -> tuple[str, str]:
    """Return the base URIs of Debian's archive and of its security archive, as this machine's apt has them.

    apt itself reads its configuration, in both of its formats, so that what is disabled stays disabled; and it tells
    what it would ask for before it ever has asked.
    """
    would_fetch = run(["apt-get", "update", "--print-uris"]).stdout
    archive = security = ""
    for base, suite in re.findall(r"'([^']+)/dists/([^']+)/InRelease'", would_fetch):
        if suite.endswith("-security"):
            security = security or base
        elif urlsplit(base).path.rstrip("/").endswith("/debian"):
            archive = archive or base
    if not archive:
        raise NoMirrorError("apt has no Debian archive among its sources; add one to /etc/apt/sources.list.d")
    return archive, security or f"{archive}-security"


def sources(suite: str, *, updates: bool) -> list[str]:
    """Return apt source lines of a suite, as released or with its updates and security fixes."""
    archive, security = mirrors()
    lines = [f"deb {archive} {suite} main"]
    if updates:
        lines += [f"deb {archive} {suite}-updates main", f"deb {security} {suite}-security main"]
    return lines


def debootstrap(
    target: Path,
    suite: str,
    packages: Iterable[str],
    *,
    updates: bool = False,
    variant: str = "minbase",
    options: Iterable[str] = (),
    also: Iterable[str] = (),
) -> None:
    """Install a minimal Debian with these packages into a folder, or a tar file if `target` is named so.

    The variant `extract` unpacks packages of any architecture and configures none. `options` go to mmdebstrap. `also`
    are suites besides, for packages that are given as PACKAGE/SUITE.
    """
    command = [
        "mmdebstrap",
        "--quiet",
        f"--variant={variant}",
        # a mirror may be some weeks behind
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--include={','.join(packages)}",
        *options,
        suite,
        str(target),
        *sources(suite, updates=updates),
        *(line for other in also for line in sources(other, updates=False)),
    ]
    with TemporaryDirectory(dir=target.parent) as temporary:
        if target.suffix == ".tar" and fits_in_memory(LARGE):
            # of a tar file's tree nothing remains, and in memory it takes half of the time
            command = ["unshare", "--mount", "sh", "-ec", IN_MEMORY, temporary, *command]
        run(command, env=os.environ | {"TMPDIR": temporary}, timeout=LONG)
