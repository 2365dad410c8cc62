"""Memory of the page cache when all programs and libraries of many containers are mapped at once.

Runs on the test host with nothing but the standard library. It prints a JSON object: the bytes as each container sees
them, and the bytes that they take, in which pages that several mappings share count once.

    python3 -m benchmarks.evaluation.memory_driver layers|store < MOUNTS

MOUNTS is a JSON list with an entry for each container: the folders of its layers, the highest first, or its metadata
file and its tree.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import stat
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.evaluation.mounts_driver import EMPTY, lowerdirs, mount, unmount

FOLDERS = ("usr/bin", "usr/sbin", "usr/lib", "usr/libexec", "bin", "sbin", "lib")
"""Folders of programs and libraries; those of them that are links to others are left out."""

ELF = b"\x7fELF"
WORK = Path("/run/evaluation/memory")


def main() -> None:
    kind = sys.argv[1]
    maps: list[mmap.mmap] = []
    before = mapped()
    with ExitStack() as cleanup:
        for number, given in enumerate(json.load(sys.stdin)):
            root = mounted(kind, number, given, cleanup)
            maps += [made for folder in folders_of(root) for made in programs(folder)]
        now = mapped()
        for made in maps:
            made.close()
    print(json.dumps({name: now[name] - before[name] for name in now}))  # noqa: T201  # the answer


def mounted(kind: str, number: int, given: list[str], cleanup: ExitStack) -> Path:
    """Mount a container's root, read-only."""
    target, meta = WORK / str(number), WORK / f"{number}-meta"
    for place in (target, meta, EMPTY):
        place.mkdir(parents=True, exist_ok=True)
    if kind == "layers":
        options = lowerdirs([*given, EMPTY])
    else:
        mount("-t", "erofs", "-o", "ro", given[0], meta)
        cleanup.callback(unmount, meta)
        options = [f"lowerdir={meta}::{given[1]}", "metacopy=on"]
    mount("-t", "overlay", "overlay", "-o", ",".join(["ro", *options]), target)
    cleanup.callback(unmount, target)
    return target


def folders_of(root: Path) -> list[Path]:
    return [root / folder for folder in FOLDERS if (root / folder).is_dir() and not (root / folder).is_symlink()]


def programs(folder: Path) -> list[mmap.mmap]:
    """Map all ELF files of a folder, with all of their pages."""
    found = []
    for path in folder.rglob("*"):
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        with path.open("rb") as file:
            if file.read(4) == ELF:
                flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
                found.append(mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ))
    return found


def mapped() -> dict[str, int]:
    """Return the bytes of files that this process has mapped, and the share of it in pages that are mapped often."""
    text = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text(encoding="ascii")
    values = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return {"seen": values["Rss"] - values["Anonymous"], "taken": values["Pss_File"]}


if __name__ == "__main__":
    main()
