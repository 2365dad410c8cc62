"""Storage: the images of a host in each kind of store, what garbage collection gives back, and the memory they share.

All ways get the same images in the same order, each on a new file system of its own.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench_delta import layers
from benchmarks.evaluation import memory_driver, other_images
from benchmarks.evaluation.images import MAJOR, SMALL, builder, host_images
from benchmarks.evaluation.model import Row
from benchmarks.evaluation.parts import Part, Step
from benchmarks.evaluation.tables import COUNT, MEGABYTES, commands, line, table
from tests.host.filesystem import mount_new, used

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.evaluation.model import Result
    from benchmarks.evaluation.parts import Lab
    from tests.host.images import Image
    from tests.host.machine import Machine

LONG = 900.0
STORAGE = "containers-storage"
OPTIMISED = "Nix store, optimised"
NIX_STORE = "Nix store"
TREES = "flattened trees"
OBJECTS = "composefs objects"

WAYS = {
    STORAGE: "skopeo copy IMAGE containers-storage:NAME",
    "containers-storage, no base shared": "skopeo copy IMAGE containers-storage:[overlay@NAME]NAME",
    "registry layers": "skopeo copy IMAGE oci:LAYOUT:NAME",
    TREES: "nixoci extract IMAGE PATH; du PATH/rootfs",
    NIX_STORE: "nixoci extract IMAGE PATH; nixoci image-store STORE PATH",
    OPTIMISED: "nix-store --option auto-optimise-store true --add PATH STORE",
    OBJECTS: "mkcomposefs --digest-store=OBJECTS PATH/rootfs FILE",
    "EROFS, zstd": "mkfs.erofs -zzstd -C65536 FILE PATH/rootfs",
}
"""The ways to store an image, and the commands that put one there."""

QUICK = tuple(way for way in WAYS if not way.startswith("EROFS"))
"""Those that take less time; files that are compressed for themselves share nothing with others."""

NIX = ["nix-store", "--store", "local?root=/mnt/optimised"]
ROOTS = "/mnt/optimised/nix/var/nix/gcroots"

# Puts an image into each store: its source, its name with version, and the ways.
ADD = """
image=$1 name=$2
shift 2
copy() { skopeo copy --quiet "$image" "containers-storage:[overlay@$1]localhost/$name:1"; }
for way in "$@"; do case $way in
  storage) copy "/mnt/storage/all+/run/evaluation/all" ;;
  apart) copy "/mnt/apart/$name+/run/evaluation/$name" ;;
  registry) skopeo copy --quiet "$image" "oci:/mnt/registry/layout:$name" ;;
  nix)
    nixoci extract "$image" "/mnt/nix/$name"
    nixoci image-store "/mnt/nix/store-$name" "/mnt/nix/$name" ;;
  optimised) for path in "/mnt/nix/$name" "/mnt/nix/store-$name"; do
      made=$(nix-store --store 'local?root=/mnt/optimised' --option auto-optimise-store true --add "$path")
      ln -s "$made" "/mnt/optimised/nix/var/nix/gcroots/$(basename "$path")"
    done ;;
  objects) mkcomposefs --digest-store=/mnt/objects/objects "/mnt/nix/$name/rootfs" "/mnt/objects/$name.cfs" ;;
  zstd) mkfs.erofs --quiet "-z$way" -C65536 "/var/tmp/$way.erofs" "/mnt/nix/$name/rootfs" ;;
esac; done
"""

# Removes images from each store that can: their names.
REMOVE = """
storage="--root /mnt/storage/all --runroot /run/evaluation/all --storage-driver overlay"
for name in "$@"; do
  podman $storage rmi "localhost/$name:1" > /dev/null
  chmod -R u+w "/mnt/nix/$name" "/mnt/nix/store-$name"
  umount "/mnt/apart/$name/overlay" # which podman's storage binds to itself
  rm -r "/mnt/apart/$name" "/mnt/nix/$name" "/mnt/nix/store-$name" "/mnt/objects/$name.cfs"
  rm "/mnt/optimised/nix/var/nix/gcroots/$name" "/mnt/optimised/nix/var/nix/gcroots/store-$name"
done
nix-store --store 'local?root=/mnt/optimised' --gc > /dev/null 2>&1
cd /mnt/objects
composefs-info objects ./*.cfs | sort -u > /tmp/kept
(cd objects && find . -type f | sed 's|^\\./||' | sort) > /tmp/all
comm -13 /tmp/kept /tmp/all | (cd objects && xargs --no-run-if-empty rm)
"""

FOLDERS = {
    STORAGE: "storage",
    "containers-storage, no base shared": "apart",
    "registry layers": "registry",
    NIX_STORE: "nix",
    OPTIMISED: "optimised",
    OBJECTS: "objects",
}
"""The file system of each way, below /mnt; flattened trees are part of the Nix store."""

FILES = {"EROFS, zstd": "zstd"}
"""Ways that keep a file for each image, which shares nothing with others, and their compression.

lz4hc was measured too, and took the same space within one percent.
"""

ON_ONE_BASE = (
    *("apache", "haproxy", "lighttpd", "memcached", "mosquitto", "nginx"),
    *("node", "php", "python", "redis", "ruby"),
)
"""The first images of the host, which share a base; larger ones would fill the disk of a small machine."""

NAMES = (*ON_ONE_BASE, *sorted(other_images.BUILDERS))
"""The images of the host, in the order in which they are added."""

QUICK_NAMES = tuple(SMALL)

ACROSS = tuple(name for name in MAJOR if name in NAMES)
"""Those that also exist on the next release."""

LAYERS = ("storage", "apart", "registry")
"""Those that keep layers, and need no tree."""

# Prints the disk space and the inodes of the trees alone, and the space of each kind of sidecar.
SIDECARS = """
import json, os, sys
from pathlib import Path

def usage(folder):
    seen, size = set(), 0
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        if status.st_ino not in seen:
            seen.add(status.st_ino)
            size += status.st_blocks * 512
    return size, len(seen)

found = {name: [0, 0] for name in ("tree", "metadata.dump", "image.json", "EROFS file", "image store, rest")}
def add(kind, size, inodes):
    found[kind] = [found[kind][0] + size, found[kind][1] + inodes]
for path in Path("/mnt/nix").iterdir():
    if path.name.startswith("store-"):
        size, inodes = usage(path)
        (blob,) = path.rglob("composefs.blob")
        erofs = blob.lstat().st_blocks * 512
        add("EROFS file", erofs, 1)
        add("image store, rest", size - erofs, inodes - 1)
    elif path.name != "lost+found":
        add("tree", *usage(path / "rootfs"))
        for name in ("metadata.dump", "image.json"):
            add(name, (path / name).lstat().st_blocks * 512, 1)
print(json.dumps(found))
"""


# Prints for each way the kind of mounts, and the mounts of images by their names, as memory_driver.py takes them.
MOUNTS = """
import json, os, sys
from pathlib import Path

def layers(storage, name):
    images = json.loads((storage / "overlay-images/images.json").read_bytes())
    (top,) = (image["layer"] for image in images if f"localhost/{name}:1" in image["names"])
    lower = storage / "overlay" / top / "lower"
    below = lower.read_text().split(":") if lower.exists() else []
    return [str((storage / "overlay" / part).resolve()) for part in (f"{top}/diff", *below)]

def tree(path, store):
    (blob,) = store.rglob("composefs.blob")
    return [str(blob), str(path / "rootfs")]

names = sys.argv[1:]
roots = Path("/mnt/optimised/nix/var/nix/gcroots")
known = [prefix + name for name in names for prefix in ("", "store-")]
optimised = {name: Path("/mnt/optimised" + os.readlink(roots / name)) for name in known}
print(json.dumps({
    "containers-storage": ["layers", [layers(Path("/mnt/storage/all"), name) for name in names]],
    "containers-storage, no base shared": ["layers", [layers(Path("/mnt/apart") / name, name) for name in names]],
    "Nix store": ["store", [tree(Path("/mnt/nix") / name, Path("/mnt/nix") / f"store-{name}") for name in names]],
    "Nix store, optimised": ["store", [tree(optimised[name], optimised[f"store-{name}"]) for name in names]],
}))
"""
DRIVER = "python3 -m benchmarks.evaluation.memory_driver"
SEEN = "as each container sees it"
CONTAINERS = 20


class Stores:
    """One new file system for each way, to which the same images are added."""

    def __init__(self, machine: Machine, ways: Sequence[str]) -> None:
        self.machine = machine
        self.ways = [way for way in ways if way in FOLDERS]
        machine.run(["sh", "-c", "rm -rf /run/evaluation"])
        for way in self.ways:
            machine.run(["sh", "-c", 'umount "$0" 2> /dev/null; true', f"/mnt/{FOLDERS[way]}"])
            mount_new(machine, f"/mnt/{FOLDERS[way]}", on="disk", gigabytes=20)
        machine.run(["mkdir", "--parents", ROOTS])
        self.empty = {way: self._used(way) for way in self.ways}
        self.files: dict[str, dict[str, int]] = {way: {} for way in FILES if way in ways}

    def add(self, image: Image, name: str) -> None:
        """Add an image; the ways that start from its tree beside those that do not."""

        def run(folders: list[str]) -> None:
            self.machine.run(["sh", "-ec", ADD, "sh", image.inside, name, *folders], timeout=LONG)

        folders = [FOLDERS[way] for way in self.ways]
        trees = [each for each in folders if each not in LAYERS] + [FILES[way] for way in self.files]
        with ThreadPoolExecutor() as threads:
            list(threads.map(run, ([each for each in folders if each in LAYERS], trees)))
        for way, sizes in self.files.items():
            file = self.machine.root / f"var/tmp/{FILES[way]}.erofs"
            sizes[name] = file.stat().st_blocks * 512
            file.unlink()

    def remove(self, names: Sequence[str]) -> None:
        self.machine.run(["sh", "-ec", REMOVE, "sh", *names], timeout=LONG)
        for sizes in self.files.values():
            for name in names:
                del sizes[name]

    def rows(self, name: str, subject: str) -> Iterator[Row]:
        """Yield the bytes and inodes of each way since the stores were empty."""
        for way in self.ways:
            for unit, before, now in zip(("B", "inodes"), self.empty[way], self._used(way), strict=True):
                yield Row(
                    table=name, subject=subject, variant=way, unit=unit, samples=(now - before,), command=WAYS[way]
                )
        for way, sizes in self.files.items():
            row = Row(table=name, subject=subject, variant=way, unit="B", command=WAYS[way])
            yield replace(row, samples=(sum(sizes.values()),))
            yield replace(row, unit="inodes", samples=(len(sizes),))

    def sidecars(self, name: str, subject: str) -> Iterator[Row]:
        """Yield the bytes and inodes of the trees alone, and those of each kind of sidecar."""
        shown = self.machine.run(["python3", "-c", SIDECARS], timeout=LONG).stdout
        found: dict[str, list[int]] = json.loads(shown)
        for kind, counts in found.items():
            for unit, count in zip(("B", "inodes"), counts, strict=True):
                variant, of = (TREES, name) if kind == "tree" else (kind, "sidecars")
                command = WAYS[TREES if kind == "tree" else NIX_STORE]
                yield Row(table=of, subject=subject, variant=variant, unit=unit, samples=(count,), command=command)

    def memory(self, subject: str, names: Sequence[str]) -> Iterator[Row]:
        """Yield the memory of all programs and libraries of containers of these images, in each way to mount them."""
        found = json.loads(self.machine.run(["python3", "-c", MOUNTS, *names]).stdout)
        for way, (kind, mounts) in found.items():
            command = f"{DRIVER} {kind}"
            environment = {"PYTHONDONTWRITEBYTECODE": "1"}
            done = self.machine.run(
                command.split(), input=json.dumps(mounts), cwd="/src", env=environment, timeout=LONG
            )
            memory: dict[str, int] = json.loads(done.stdout)
            row = Row(table="memory", subject=subject, variant=way, unit="B", command=command)
            yield replace(row, samples=(memory["taken"],))
            if way == STORAGE:
                yield replace(row, variant=SEEN, samples=(memory["seen"],))

    def _used(self, way: str) -> tuple[int, int]:
        return used(self.machine, f"/mnt/{FOLDERS[way]}")


def list_images(lab: Lab) -> Iterator[Row]:
    """Yield the number and the bytes of each image's layers, before its update and after."""
    old, new = (_chosen(lab, version) for version in ("old", "new"))
    for name in old:
        both = [layers(image) for image in (old[name], new[name])]
        row = Row(table="images", subject=name, variant=builder(name), unit="B", command="skopeo inspect IMAGE")
        yield replace(row, samples=tuple(sum(each.values()) for each in both))
        yield replace(row, unit="layers", samples=tuple(len(each) for each in both))


def measure_host(lab: Lab) -> Iterator[Row]:
    """Add all images, then their updates, then remove the former."""
    stores = Stores(lab.machine, QUICK if lab.quick else tuple(WAYS))
    old, new = (_chosen(lab, version) for version in ("old", "new"))
    for count, (name, image) in enumerate(old.items(), start=1):
        stores.add(image, f"{name}-1")
        yield from stores.rows("host", _images(count))
    yield from stores.sidecars("host", _images(len(old)))
    one = next(name for name in ("nginx", *old) if name in old)  # a quick run has no nginx
    yield from stores.memory(f"{CONTAINERS} containers of one image", [f"{one}-1"] * CONTAINERS)
    yield from stores.memory(f"{len(old)} containers of as many images", [f"{name}-1" for name in old])
    for name, image in new.items():
        stores.add(image, f"{name}-2")
    both = f"{_images(len(old))} and their updates"
    yield from stores.rows("host", both)
    yield from stores.sidecars("host", both)
    stores.remove([f"{name}-1" for name in old])
    yield from stores.rows("host", "the updates, after garbage collection")


def measure_releases(lab: Lab) -> Iterator[Row]:
    """Add images of one release of Debian, and the same of the next."""
    stores = Stores(lab.machine, QUICK)
    found = host_images(ACROSS)
    for name in ACROSS:
        stores.add(found["new"][name], f"{name}-1")
    yield from stores.rows("releases", f"{_images(len(ACROSS))} of one release")
    for name in ACROSS:
        stores.add(found["major"][name], f"{name}-2")
    yield from stores.rows("releases", f"{_images(len(ACROSS))} of two releases")


def _chosen(lab: Lab, version: str) -> dict[str, Image]:
    """Return the images of a version; for a quick run, few."""
    return host_images(QUICK_NAMES if lab.quick else NAMES)[version]


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def steps(quick: bool) -> list[Step]:  # noqa: FBT001  # as all parts have it
    """Return the steps; a quick run has only one host."""
    found = [Step(name="images", measure=list_images), Step(name="host", measure=measure_host)]
    return found if quick else [*found, Step(name="releases", measure=measure_releases)]


def on_one_base(result: Result) -> int:
    """Return the number of the host's first images, which share a base."""
    builders = [row.variant for row in result.table("images") if row.unit == "B"]
    return next((number for number, each in enumerate(builders) if each != builders[0]), len(builders))


def _list(result: Result) -> list[str]:
    """Return the table of the images."""
    rows = {(row.subject, row.unit): row for row in result.table("images")}
    if not rows:
        return []
    lines = [line(["image", "built by", "layers", "MB", "MB, updated"]), line(["---"] * 5)]
    for name in dict.fromkeys(subject for subject, _ in rows):
        size, count = rows[name, "B"], rows[name, "layers"]
        sizes = [f"{sample / 1e6:.1f}" for sample in size.samples]
        lines.append(line([name, size.variant, f"{count.samples[0]:.0f}", *sizes]))
    (first, *_) = rows.values()
    return [*lines, "", commands([replace(first, variant="all", samples=())], "`storage`, table `images`")]


def report(result: Result) -> str:
    """Return the section."""
    rows = result.table("host")
    counts = [row.subject for row in rows if row.variant == STORAGE and row.unit == "B"]
    shared = on_one_base(result)
    numbers = {"1", "4", "8" if shared < 5 else str(shared), counts[-3].split()[0]}
    shown = [subject for subject in counts[:-2] if subject.split()[0] in numbers] + counts[-2:]
    chosen = [row for row in rows if row.subject in shown]
    apart = f"; the first {shared} share a base image, the others do not" if shared else " on one base image"
    lines = [
        (
            f"Images of one Debian release, added one by one to new ext4 file systems: {counts[-3]} of services,"
            f" tools and language runtimes{apart}. Their updates have all packages with their updates. `df` counts"
            " the space, with all metadata."
        ),
        "",
        *_list(result),
        table([row for row in chosen if row.unit == "B"], MEGABYTES, base=STORAGE),
        "Inodes:",
        "",
        table([row for row in chosen if row.unit == "inodes"], COUNT, base=STORAGE),
        commands(chosen, "`storage`, table `host`"),
        "Of the Nix store, what is beside the trees:",
        "",
        table([row for row in result.table("sidecars") if row.unit == "B"], MEGABYTES),
        commands(result.table("sidecars"), "`storage`, table `sidecars`"),
    ]
    lines += [
        (
            "Memory of the page cache, if all programs and libraries of all containers are in use. Pages that"
            " containers share"
            " count once; two files share them if they are one file on the disk:"
        ),
        "",
        table(result.table("memory"), MEGABYTES, base=STORAGE),
        commands(result.table("memory"), "`storage`, table `memory`"),
    ]
    if releases := result.table("releases"):
        lines += [
            "The same images of two releases of Debian:",
            "",
            table([row for row in releases if row.unit == "B"], MEGABYTES, base=STORAGE),
            commands(releases, "`storage`, table `releases`"),
        ]
    lines += ["![Space for the images of a host](evaluation/storage.svg)", ""]
    return "\n".join(lines)


PART = Part(
    name="storage",
    title="Storage and memory",
    sources=(Path(__file__), Path(memory_driver.__file__)),
    steps=steps,
    report=report,
)
