"""Facts about the machine that was measured, and the versions of the programs on it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

import nixoci

if TYPE_CHECKING:
    from tests.host.machine import Machine

PACKAGES = ("podman", "crun", "nix-bin", "skopeo", "erofs-utils", "composefs", "systemd", "util-linux")
"""Packages of the test host whose versions stand beside the figures."""


def machine_facts() -> dict[str, str]:
    """Return facts about the machine, and the load of its last quarter of an hour, which includes that of the run."""
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    models = re.findall(r"^model name\s*: (.*)$", processors, re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "processors": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "memory": f"{int(memory[0]) / 1e6:.1f} GB",
        "kernel": platform.release(),
        "load": f"{os.getloadavg()[2]:.1f}",
    }


def versions(machine: Machine) -> dict[str, str]:
    """Return the versions of nixoci and of the test host's packages."""
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *PACKAGES]
    packages = dict(line.split(" ") for line in machine.run(query).stdout.splitlines())
    return {"nixoci": nixoci.__version__, **packages}
