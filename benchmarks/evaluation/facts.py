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

PROGRAMS = {
    "podman": ["podman", "--version"],
    "crun": ["crun", "--version"],
    "Nix": ["nix", "--version"],
    "skopeo": ["skopeo", "--version"],
    "mkfs.erofs": ["mkfs.erofs", "--version"],
    "composefs": ["mkcomposefs", "--version"],
    "systemd": ["systemctl", "--version"],
}
"""The commands by which programs of the test host state their version."""


def machine_facts() -> dict[str, str]:
    """Return the facts by which two runs are known to be of the same machine."""
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    models = re.findall(r"^model name\s*: (.*)$", processors, re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "processors": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "memory": f"{int(memory[0]) / 1e6:.1f} GB",
        "kernel": platform.release(),
    }


def versions(machine: Machine) -> dict[str, str]:
    """Return the versions of nixoci and of the programs on the test host."""
    found = {"nixoci": nixoci.__version__}
    for name, command in PROGRAMS.items():
        first = machine.run(command).stdout.splitlines()[0]
        found[name] = re.findall(r"\d+(?:\.\d+)+|\d+", first)[-1 if name == "Nix" else 0]
    return found
