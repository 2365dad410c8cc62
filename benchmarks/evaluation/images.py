"""Images of a host: services and language runtimes on the base of the sample images, and those of other builders.

Versions are a release of Debian (`old`), the same with its updates (`new`), and of some the next release (`major`).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from benchmarks.evaluation import other_images
from tests.host.apt import debootstrap
from tests.host.cache import cached, key
from tests.host.filesystem import store_in_memory
from tests.host.images import BASE_PACKAGES, INSIDE, PACKAGE, SLIM, Image, images, images_dir, inside
from tests.host.machine import Machine
from tests.host.process import LONG
from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tests.host.images import Pair

RECIPE = Path(__file__).with_name("packages.Containerfile")

SERVICES = {
    "apache": "apache2",
    "gcc": "gcc libc6-dev",
    "haproxy": "haproxy",
    "java": "openjdk-17-jre-headless",
    "lighttpd": "lighttpd",
    "mariadb": "mariadb-server",
    "memcached": "memcached",
    "mosquitto": "mosquitto",
    "node": "nodejs",
    "php": "php-fpm",
    "rabbitmq": "rabbitmq-server",
    "ruby": "ruby",
}
"""Images besides the sample images, and the packages that are installed in each."""

MAJOR = ("apache", "haproxy", "mariadb", "memcached", "node", "ruby")
"""Images that also exist on the next release of Debian."""

NEXT_SUITE = "trixie"

# Writes a layout of the lowest layer of an image alone.
BASE = """
import hashlib, json, shutil, sys
from pathlib import Path
source, tag, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
blobs = target / "blobs/sha256"
blobs.mkdir(parents=True)

def read(descriptor):
    return json.loads((source / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())

def write(document, descriptor):
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return descriptor | {"digest": f"sha256:{digest}", "size": len(data)}

index = json.loads((source / "index.json").read_bytes())
named = "org.opencontainers.image.ref.name"
described = next(each for each in index["manifests"] if each["annotations"][named] == tag)
manifest = read(described)
config = read(manifest["config"])
layer = manifest["layers"][0]
shutil.copy(source / "blobs" / layer["digest"].replace(":", "/"), blobs)
config["rootfs"]["diff_ids"] = config["rootfs"]["diff_ids"][:1]
config.pop("history", None)
config["config"] = {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
manifest = {**manifest, "config": write(config, manifest["config"]), "layers": [layer]}
described = write(manifest, described) | {"annotations": {named: "base"}}
(target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
shutil.copy(source / "oci-layout", target)
"""

SMALL = dict.fromkeys(("small", "other-small"), "nixoci's tests, of a few programs")
"""Images for quick runs, on one base, and what builds them."""

LISTS = "/var/lib/lists"
"""The folder of a machine that has apt's lists of packages, for each version of the base."""

# Fetches the lists that a base wants: the base and the folder.
FETCH_LISTS = """
mkdir --parents "$1"
buildah from --quiet --name lists "$0"
buildah run --isolation=chroot --volume "$1:/var/lib/apt/lists" lists apt-get update --quiet=2
buildah rm lists
"""

BASES = ("old", "new", "major")
"""The versions, and the tags of their bases."""


def host_images(names: Iterable[str]) -> dict[str, dict[str, Image]]:
    """Return images by version and name, built if they are not in the cache."""
    chosen = list(names)
    others = [name for name in chosen if name not in PACKAGE and name not in SMALL]
    # those that wait for no other image come first
    others.sort(key=lambda name: name in SERVICES or name in other_images.APPLICATIONS)
    # the machine ends before the thread that has booted it, whose end it would not survive
    with ThreadPoolExecutor(3) as threads, Builder() as builder:
        building = threads.map(builder.layout, others)
        samples = images()
        layouts = dict(zip(others, building, strict=True))
    found = {version: dict[str, Image]() for version in BASES}
    for name in chosen:
        if name in PACKAGE or name in SMALL:
            pair = samples[name] if name in PACKAGE else small_images(name)
            found["old"][name], found["new"][name] = pair.old, pair.new
        else:
            for version in _versions(name):
                found[version][name] = Image(name=name, tag=version, layout=layouts[name])
    return found


def builder(name: str) -> str:
    """Return what builds an image, and upon what."""
    return (other_images.BUILDERS | SMALL).get(name, "buildah, upon one base")


def _versions(name: str) -> tuple[str, ...]:
    return BASES if name in MAJOR else BASES[:2]


def _bases() -> Path:
    """Return a layout of the bases: the lowest layers of the sample images, and a new one of the next release."""
    nginx = images()["nginx"]
    parts = json.dumps([BASE, NEXT_SUITE, BASE_PACKAGES, SLIM, nginx.old.layout.parent.name])
    return cached(f"images/bases-{key(parts)}", lambda folder: _build_bases(folder, nginx)) / "base"


def _build_bases(folder: Path, nginx: Pair) -> None:
    debootstrap(folder / "major.tar", NEXT_SUITE, BASE_PACKAGES, updates=True, options=SLIM)
    with Machine(binds={images_dir(): INSIDE}, writable={folder: "/out"}) as machine:
        for version, image in (("old", nginx.old), ("new", nginx.new)):
            layout = image.inside.split(":")[1]
            machine.run(["python3", "-c", BASE, layout, image.tag, f"/root/{version}"])
            machine.run(["skopeo", "copy", "--quiet", f"oci:/root/{version}:base", f"oci:/out/base:{version}"])
        machine.run(["podman", "import", "/out/major.tar", "localhost/major"], timeout=LONG)
        machine.run(["skopeo", "copy", "--quiet", "containers-storage:localhost/major", "oci:/out/base:major"])
    (folder / "major.tar").unlink()


class Builder:
    """A machine that builds images, booted for the first that is not in the cache, as a context manager.

    Threads may share it. Each base is unpacked there once, for all images upon it.
    """

    def __init__(self) -> None:
        self._running = ExitStack()
        self._lock = Lock()
        self._machine: Machine | None = None
        self._unpacked = set[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._running.close()

    def layout(self, name: str) -> Path:
        """Return the layout of an image in all of its versions."""
        if name in other_images.BUILDERS:
            return other_images.layout(name, self._booted)
        bases = _bases()
        parts = json.dumps([name, SERVICES[name], _versions(name), bases.parent.name])
        return cached(f"images/host-{key(RECIPE, parts)}", lambda folder: self._build(folder, name, bases)) / name

    def _build(self, folder: Path, name: str, bases: Path) -> None:
        for version in _versions(name):
            machine, base = self._with_base(version, bases)
            local = f"localhost/{name}-{version}"
            arguments = [f"--build-arg=BASE={base}", f"--build-arg=PACKAGES={SERVICES[name]}"]
            volume = f"--volume={LISTS}/{version}:/var/lib/apt/lists:ro"
            # no step has an image of its own: one that images share would go with the first that is removed
            build = ["buildah", "build", "--isolation=chroot", "--layers=false", volume, f"--tag={local}", *arguments]
            machine.run([*build, "--file=/containerfiles/packages.Containerfile", "/var/empty"], timeout=LONG)
            tagged = f"oci:{inside(folder)}/{name}:{version}"
            machine.run(["skopeo", "copy", "--quiet", f"containers-storage:{local}", tagged], timeout=LONG)
            machine.run(["buildah", "rmi", local])

    def _with_base(self, version: str, bases: Path) -> tuple[Machine, str]:
        """Return the machine, and what a base is called in its storage."""
        local = f"localhost/{version}"
        machine = self._booted()
        with self._lock:
            if version not in self._unpacked:
                copy = ["skopeo", "copy", "--quiet", f"oci:{inside(bases)}:{version}", f"containers-storage:{local}"]
                machine.run(copy, timeout=LONG)
                machine.run(["sh", "-ec", FETCH_LISTS, local, f"{LISTS}/{version}"], timeout=LONG)
                self._unpacked.add(version)
            return machine, local

    def _booted(self) -> Machine:
        """Return the machine, which is booted now if it was not yet."""
        with self._lock:
            if self._machine is None:
                folders = {RECIPE.parent: "/containerfiles"}
                machine = Machine(private_network=False, binds=folders, writable={images_dir(): INSIDE})
                self._machine = self._running.enter_context(machine)
                self._machine.run(["mkdir", "--parents", "/var/empty"])
                store_in_memory(self._machine)
            return self._machine
