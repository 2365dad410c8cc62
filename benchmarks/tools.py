"""Programs that only benchmarks need: unpacked Debian packages of the test host's release, beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.host.apt import debootstrap
from tests.host.cache import cached, key
from tests.host.rootfs import SUITE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INSIDE = "/tools"
"""Where machines see the programs."""


def tools(packages: Sequence[str]) -> Path:
    """Return a cached folder with these packages and all that they depend on, to be bound at `INSIDE`."""
    made = cached(f"tools-{key(*packages, SUITE)}", lambda folder: _build(folder, packages))
    return made / "root"


def command(program: str) -> list[str]:
    """Return the start of an argv that runs one of the programs with its own libraries."""
    libraries = f"{INSIDE}/usr/lib/x86_64-linux-gnu"
    return [f"{libraries}/ld-linux-x86-64.so.2", "--library-path", libraries, f"{INSIDE}/usr/bin/{program}"]


def _build(folder: Path, packages: Sequence[str]) -> None:
    debootstrap(folder / "root", SUITE, packages, variant="extract")
