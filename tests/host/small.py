"""Images of a few programs of the test host, for tests that need an image but not a large one."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nixoci.oci.digest import Digest
from tests.host.cache import cached, key
from tests.host.images import Image, Pair
from tests.host.process import run
from tests.host.rootfs import rootfs
from tests.support.layers import directory, file, layer, symlink
from tests.support.layout import blob_path, write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("sh", "cat", "ls", "mkdir", "rm", "sleep", "stat", "test", "touch", "true", "wc")
VERSIONS = ("1", "2")


def small_images(name: str = "small") -> Pair:
    """Return two versions of an image, with a layer in common; each name is another image of the same base.

    Both have the file /version, and in /var/mail a directory of another group, setgid.
    """
    folder = cached(f"images/{name}-{key(Path(__file__))}-{rootfs().name}", lambda folder: _build(folder, name))
    old, new = (Image(name=name, tag=version, layout=folder) for version in VERSIONS)
    return Pair(old=old, new=new)


def small_layers(version: str) -> list[bytes]:
    """Return the tar streams of a version's layers, the lowest first."""
    folder = small_images().old.layout

    def blob(digest: str) -> bytes:
        return blob_path(folder, Digest.parse(digest)).read_bytes()

    manifests = json.loads((folder / "index.json").read_bytes())["manifests"]
    described = next(each for each in manifests if version in each["annotations"].values())
    return [gzip.decompress(blob(each["digest"])) for each in json.loads(blob(described["digest"]))["layers"]]


def _build(folder: Path, name: str) -> None:
    base = layer(*_base())
    config = {"config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin"]}}
    for version in VERSIONS:
        own = layer(file(b"version", f"{name} {version}\n".encode()))
        write_layout(folder, [base, own], config=config, tag=version)


def _base() -> Iterator[bytes]:
    for path in (b"etc", b"proc", b"run", b"tmp", b"usr", b"usr/bin", b"var"):
        yield directory(path)
    yield directory(b"var/mail", mode=0o2775, gid=8)
    yield symlink(b"bin", b"usr/bin")
    yield file(b"etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    yield file(b"etc/group", b"root:x:0:\nmail:x:8:\n")
    yield symlink(b"lib", b"usr/lib")
    yield symlink(b"lib64", b"usr/lib64")
    root, libraries = rootfs(), set[str]()
    for program in PROGRAMS:
        yield file(f"usr/bin/{program}".encode(), (root / f"usr/bin/{program}").read_bytes(), mode=0o755)
        needed = run(["chroot", str(root), "ldd", f"/usr/bin/{program}"]).stdout
        libraries |= set(re.findall(r"(?:/usr)?(/lib\S+)", needed))
    for parent in sorted({f"usr{parent}" for path in libraries for parent in Path(path).parents if parent.name}):
        yield directory(parent.encode())
    for library in sorted(libraries):
        yield file(f"usr{library}".encode(), (root / f"usr{library}").read_bytes(), mode=0o755)
