"""A stand-in for mkfs.erofs, for tests of what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.units.samples import executable

if TYPE_CHECKING:
    from pathlib import Path

MKFS = """#!/bin/sh
if [ "$1" = --version ]; then echo "mkfs.erofs (erofs-utils) 1.8.3"; exit; fi
for file; do :; done
cat > "$file"
"""
"""A stand-in whose file is the tar stream that it was given."""


def mkfs(folder: Path, text: str = MKFS) -> str:
    """Write the stand-in to a new or existing folder and return its path."""
    folder.mkdir(exist_ok=True)
    return executable(folder / "mkfs.erofs", text)
