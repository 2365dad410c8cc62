"""Platforms of machines, and the best match among an image's (image-spec image-index.md; variants as in containerd)."""

import platform
import re
import sys
from collections.abc import Iterable
from typing import TypeVar

from nixoci.errors import PlatformError
from nixoci.oci.model import Platform

T = TypeVar("T")

_MACHINES = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "i386": "linux/386",
    "i486": "linux/386",
    "i586": "linux/386",
    "i686": "linux/386",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
    "armv8l": "linux/arm/v8",
    "armv7l": "linux/arm/v7",
    "armv6l": "linux/arm/v6",
    "armv5tel": "linux/arm/v5",
    "riscv64": "linux/riscv64",
    "ppc64le": "linux/ppc64le",
    "s390x": "linux/s390x",
    "loongarch64": "linux/loong64",
    "mips64": f"linux/mips64{'le' if sys.byteorder == 'little' else ''}",
}
"""Platforms by `uname -m`; `nix_language/expressions/lock.nix` has them by Nix's systems."""

KNOWN_PLATFORMS = tuple(sorted(set(_MACHINES.values())))
"""The platforms of usual machines; images may have others."""

_IMPLIED = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
"""The variant of an architecture that is named without one."""

_NUMBERED = re.compile(r"v([0-9]+)(?:\.([0-9]+))?")


def machine_platform(machine: str | None = None) -> Platform:
    """Return the platform of the images that a machine runs.

    Args:
        machine: The output of `uname -m`; by default that of this machine.

    Raises:
        PlatformError: Not a known machine.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise PlatformError(f"machine {machine!r}: its OCI platform is not known; give one with --platform")
    return Platform.parse(_MACHINES[machine])


def is_attestation(offered: Platform) -> bool:
    """Return whether a manifest of this platform is an attestation of another manifest, and not an image."""
    return "unknown" in {offered.os, offered.architecture}


def best_match(wanted: Platform, offered: Iterable[tuple[Platform, T]]) -> T | None:
    """Return the item with the best platform: the highest variant that is not above the wanted one.

    If several are equally good, the first one counts (image-spec image-index.md, `manifests`).
    """
    ranked = [(rank, item) for platform, item in offered if (rank := _rank(wanted, platform)) is not None]
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _rank(wanted: Platform, offered: Platform) -> tuple[int, int] | None:
    """Return the rank of a platform, higher is better; None if it does not match."""
    wanted, offered = wanted.normalized, offered.normalized
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return None
    most, found = (_variant(one) for one in (wanted, offered))
    numbers = [_NUMBERED.fullmatch(variant) for variant in (most, found)]
    if not all(numbers):
        # variants that have no order: either the same one, or an image without any
        return (1, 0) if most == found else (0, 0) if not found else None
    limit, value = ((int(number[1]), int(number[2] or 0)) for number in numbers if number)
    return value if value <= limit else None


def _variant(platform: Platform) -> str:
    return platform.variant or _IMPLIED.get(platform.architecture, "")
