"""The sample images in a machine's store, extracted once for all machines.

Extraction takes much longer than a boot. So one machine does it, its /nix is cached, and every other machine starts
with hard links to the same files. A test that wrote to one of them would change them for all. Most of these tests
prove that to be impossible, and the files are checked before they are used again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.host.cache import cache_dir, cached, cached_of_newest, key
from tests.host.containers import STORAGE_CONF, Host, sample_sources
from tests.host.images import INSIDE, images_dir
from tests.host.leftovers import discard
from tests.host.machine import Machine
from tests.host.process import LONG, run
from tests.host.python import CHECKOUT, dependencies
from tests.host.rootfs import rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USED = """
import sys
from importlib import import_module
from nixoci.cli import VERBS
for verb in ("extract", "image-store"):
    import_module(f"nixoci.cli.{VERBS[verb][0]}")
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "nixoci"), sep="\\n")
"""
"""Prints the files of nixoci on which the content of the store depends."""


KEPT = 4
"""Number of folders to keep, those used last; each checkout and each change of the code has its own, of a gigabyte."""


@contextmanager
def sample_host(*names: str, apart: bool = False) -> Iterator[Host]:
    """Boot a machine that has the newer version of each sample image in its store, and an image store over all.

    The host knows the images that are named; all, if none is. With `apart` the files are copies and no links, for a
    test that might damage them.
    """
    made = _made()
    known: dict[str, dict[str, str]] = json.loads((made / "host.json").read_text(encoding="utf-8"))
    paths, hashes = ({name: known[what][name] for name in names or known[what]} for what in ("paths", "hashes"))
    with Machine(binds={images_dir(): INSIDE}, nix=made / "nix", link=not apart) as machine:
        machine.run(["mkdir", "--parents", Path(STORAGE_CONF).parent])
        machine.run(["tee", STORAGE_CONF], input=(made / "storage.conf").read_text(encoding="utf-8"))
        yield Host(machine, paths, hashes)


def _made() -> Path:
    """Return the cached folder: /nix as `nix`, the image paths and their hashes in `host.json`, and `storage.conf`.

    If machines have another file system than the cache, it is a copy there, of which they can have links.
    """
    machines = cache_dir() / "machines"
    machines.mkdir(exist_ok=True)
    if machines.stat().st_dev == cache_dir().stat().st_dev:
        return _kept()
    return _intact(f"{machines.name}/{_name()}", _copy)


def _kept() -> Path:
    cached_of_newest(_name(), _make, KEPT, discard)
    return _intact(_name(), _make)


def _intact(name: str, build: Callable[[Path], None]) -> Path:
    """Return a cached folder, which is built again if a test has written to its store."""
    made = cached(name, build)
    if altered(made / "nix/store"):
        discard(made)
        made = cached(name, build)
    return made


def _copy(folder: Path) -> None:
    run(["cp", "--archive", f"{_kept()}/.", str(folder)], timeout=LONG)


@cache
def _name() -> str:
    used = subprocess.run([sys.executable, "-c", USED], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    files = sorted(Path(line) for line in used.stdout.split("\n") if line)
    from_what = [str(place) for place in (rootfs(), dependencies(rootfs()), *sample_sources().values())]
    return f"prepared-{key(*from_what, *files, Path(__file__))}"


def altered(store: Path) -> str:
    """Return the name of a file of a store path that has been written to, if there is one."""
    # Nix gives every file of a store path one time and takes every right to write away
    find = ["find", str(store), "-mindepth", "2", "-path", f"{store}/.links", "-prune", "-o", "!", "-type", "l"]
    return run([*find, "(", "-newermt", "@1", "-o", "-perm", "/222", ")", "-print", "-quit"]).stdout.rstrip("\n")


def _make(folder: Path) -> None:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        host = Host.build(machine, sample_sources())
        (folder / "storage.conf").write_text(machine.run(["cat", STORAGE_CONF]).stdout, encoding="utf-8")
        (folder / "host.json").write_text(json.dumps({"paths": host.paths, "hashes": host.hashes}), encoding="utf-8")
        machine.take_nix(folder / "nix")
