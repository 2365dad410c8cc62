"""Files of new store paths that equal no old file, and the old file that each is compared with."""

from __future__ import annotations

import filecmp
import os
import re
from collections import defaultdict
from pathlib import Path

MAGIC = {
    b"\x7fELF": "ELF",
    b"!<arch>\n": "ar",
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BC\xc0\xde": "LLVM bitcode",
}
DIGITS = re.compile(r"[0-9]+")


def differing(had: list[str], paths: list[str]) -> list[tuple[Path | None, Path]]:
    """Return the files of new paths that equal no file of the old paths, each with its old version."""
    pairs = Pairs(had)
    files = [(root, file) for root in paths for file in regular_files(Path(root))]
    return [(pairs.partner(root, file), file) for root, file in files if not pairs.has(root, file)]


class Pairs:
    """The files of old paths, found by package and path, by content or by name with digits masked."""

    def __init__(self, old: list[str]) -> None:
        self._at: dict[tuple[str, str], Path] = {}
        self._masked: dict[str, list[Path]] = defaultdict(list)
        self._sizes: dict[int, list[Path]] = defaultdict(list)
        for root in old:
            for file in regular_files(Path(root)):
                self._at[package(root), str(file.relative_to(root))] = file
                self._masked[DIGITS.sub("0", self._name(root, file))].append(file)
                self._sizes[file.stat().st_size].append(file)

    def has(self, root: str, file: Path) -> bool:
        """Tell whether an old file is the same, at the same path first."""
        exact = self._exact(root, file)
        if exact is not None and same(exact, file):
            return True
        size = file.stat().st_size
        return size == 0 or any(same(other, file) for other in self._sizes[size] if other != exact)

    def partner(self, root: str, file: Path) -> Path | None:
        size = file.stat().st_size
        named = self._masked.get(DIGITS.sub("0", self._name(root, file)), [])
        nearest = min(named, key=lambda other: abs(other.stat().st_size - size), default=None)
        return self._exact(root, file) or nearest

    def _exact(self, root: str, file: Path) -> Path | None:
        return self._at.get((package(root), str(file.relative_to(root))))

    def _name(self, root: str, file: Path) -> str:
        return file.name if file != Path(root) else package(root)


def package(path: str) -> str:
    """Return a store path's name without hash and version."""
    return re.split(r"-[0-9]", Path(path).name[33:], maxsplit=1)[0]


def regular_files(root: Path) -> list[Path]:
    found = [root] if root.is_file() and not root.is_symlink() else []
    for folder, _, names in os.walk(root):
        found += [file for name in names if not (file := Path(folder, name)).is_symlink()]
    return sorted(found)


def kind(file: Path) -> str:
    """Name the kind of a file by its first bytes."""
    with file.open("rb") as opened:
        head = opened.read(4096)
    named = next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)
    return named or ("data" if b"\0" in head else "text")


def same(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)  # by blocks: a child's peak starts from what its parent holds
