"""Real images, built from Debian packages: each a base, what apt installs, and a layer that configures and deletes.

They hold what is hard to carry: suid programs, a file capability, hardlinks, a directory that only one user reads,
whiteouts. Each exists twice, once from the release alone and once with its updates: a real step from one
version to the next.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.host.apt import debootstrap
from tests.host.cache import cache_dir, cached, key
from tests.host.filesystem import store_in_memory
from tests.host.machine import Machine
from tests.host.process import LONG
from tests.host.rootfs import rootfs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUITE = "bookworm"
BASE_PACKAGES = ("iputils-ping", "libcap2-bin", "ca-certificates")
"""ping carries a file capability, if the program that sets one is there when it is installed."""

SLIM = (
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--aptopt=Acquire::GzipIndexes "true"',
    '--aptopt=Dir::Cache::pkgcache ""',
    '--aptopt=Dir::Cache::srcpkgcache ""',
)
"""As in the slim base image that most images are built on: no documentation, no caches of apt's."""

FILES = Path(__file__).parent / "images"
PACKAGE = {"nginx": "nginx-light", "postgres": "postgresql-15", "python": "python3", "redis": "redis-server"}
"""Image names, and the package whose version is the image's."""

UPDATED = {"old": False, "new": True}
"""Bases of images, and whether their packages have their updates."""

INSIDE = "/images"
"""Where machines see the folder of images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One built image: a tag of an OCI layout that also holds the other version of its pair."""

    name: str
    tag: str
    layout: Path

    @property
    def source(self) -> str:
        """The image as skopeo and nixoci name it outside of a machine."""
        return f"oci:{self.layout}:{self.tag}"

    @property
    def inside(self) -> str:
        """The image as skopeo and nixoci name it inside a machine."""
        return f"oci:{inside(self.layout)}:{self.tag}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The same image before and after its packages' updates."""

    old: Image
    new: Image


def images_dir() -> Path:
    """Return the folder that holds all images and is mounted in machines; it exists."""
    folder = cache_dir() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def inside(folder: Path) -> str:
    """Return where machines see a folder of images."""
    return f"{INSIDE}/{folder.relative_to(images_dir())}"


def images() -> dict[str, Pair]:
    """Return the sample images by name, built if they are not in the cache."""
    folder = cached(f"images/{_key()}", lambda folder: _build(folder, tuple(PACKAGE), tuple(UPDATED)))
    return {name: Pair(old=_image(folder, name, 0), new=_image(folder, name, 1)) for name in PACKAGE}


def sample_image(name: str) -> Image:
    """Return the older version of a sample image; if it is not in the cache, no other is built."""
    complete = images_dir() / _key()
    if not complete.exists():
        complete = cached(f"images/{_key()}-{name}", lambda folder: _build(folder, (name,), ("old",)))
    return _image(complete, name, 0)


def _key() -> str:
    return key(FILES, Path(__file__))


def _image(folder: Path, name: str, which: int) -> Image:
    """Return one of the images in a layout: they were written in order."""
    index = json.loads((folder / name / "index.json").read_text(encoding="utf-8"))
    tag = index["manifests"][which]["annotations"]["org.opencontainers.image.ref.name"]
    return Image(name=name, tag=tag, layout=folder / name)


def _build(folder: Path, names: Sequence[str], bases: Sequence[str]) -> None:
    """Build images, each on each base, and call the last of each name `latest`."""
    with ThreadPoolExecutor() as threads:
        # next to what the machine below needs
        made: list[Future[Path | None]] = [threads.submit(rootfs)]
        for base in bases:
            install = partial(debootstrap, updates=UPDATED[base], options=SLIM)
            made.append(threads.submit(install, folder / f"{base}.tar", SUITE, BASE_PACKAGES))
        for each in made:
            each.result()
    with Machine(private_network=False, binds={FILES: "/containerfiles"}, writable={folder: "/out"}) as machine:
        store_in_memory(machine)
        for base in bases:
            machine.run(["podman", "import", f"/out/{base}.tar", f"localhost/{base}"], timeout=LONG)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda name: _build_versions(machine, name, bases), names))
    for base in bases:
        (folder / f"{base}.tar").unlink()


def _build_versions(machine: Machine, name: str, bases: Sequence[str]) -> None:
    """Build an image on each base, and call the last `latest`."""
    tags: list[str] = []
    for base in bases:
        tags.append(_build_image(machine, name, base, PACKAGE[name], tags))
    layout = f"oci:/out/{name}"
    machine.run(["skopeo", "copy", "--quiet", f"{layout}:{tags[-1]}", f"{layout}:latest"])


def _build_image(machine: Machine, name: str, base: str, package: str, taken: Sequence[str]) -> str:
    """Build one image and add it to its layout under its package's upstream version; return that tag."""
    local = f"localhost/{name}-{base}"
    context = [f"--file=/containerfiles/{name}.Containerfile", f"--build-arg=BASE=localhost/{base}", "/var/empty"]
    machine.run(["mkdir", "--parents", "/var/empty"])
    machine.run(["buildah", "build", "--isolation=chroot", "--layers", f"--tag={local}", *context], timeout=LONG)
    # a version is what apt calls it, without epoch and revision
    show = ["dpkg-query", "--show", "--showformat=${source:Upstream-Version}", package]
    version = machine.run(["podman", "run", "--rm", "--network=none", "--entrypoint=", local, *show]).stdout
    tag = next(tag for tag in _tags(version.split(":")[-1]) if tag not in taken)
    machine.run(["skopeo", "copy", "--quiet", f"containers-storage:{local}", f"oci:/out/{name}:{tag}"], timeout=LONG)
    return tag


def _tags(version: str) -> Iterator[str]:
    """Yield tags for an upstream version: itself, then as rebuilt, for an update that only patched the package."""
    version = version.partition("+")[0]
    yield version
    yield from (f"{version}-{number}" for number in range(1, 10))
