"""The statements about file systems below the store, and about many images, files and layers."""

from __future__ import annotations

from benchmarks.bench_growth import TOOLS
from benchmarks.evaluation.statements import Outcome, Probe

IMAGES = 5000
"""The number of images of the lock in `MANY_IMAGES`."""

MANY_IMAGES = "/root/many-images"
MAKE = "/root/make-image.py"
"""Where limits.py puts that lock, and bench_growth.py's program that writes a layout."""

DISK = "/var/tmp"  # noqa: S108  # a plain file system of the machine

_RUN = "podman run --rm --network=none IMAGE stat --format=%a:%G /etc/shadow"


def _below(kind: str, mount: str) -> Probe:
    """Return the probe of an image and its image store on a file system that `mount` mounts at $at."""
    return Probe(
        about=f"{kind} below the store",
        says="runs the image from there, with its owners and modes",
        outcome=Outcome.SAME,
        command=f"at=/mnt/{kind} && mkdir --parents $at && {mount} && trap 'umount $at; rm -f {DISK}/{kind}.img' EXIT"
        " && cp --archive FILES $at/path && nixoci image-store $at/store $at/path --storage-conf=$at/storage.conf"
        f' && test "$(CONTAINERS_STORAGE_CONF=$at/storage.conf {_RUN})" = 640:shadow',
    )


def _on_loop(kind: str) -> Probe:
    image = f"{DISK}/{kind}.img"
    return _below(kind, f"truncate --size=1G {image} && mkfs.{kind} -q {image} && mount -o loop {image} $at")


def _of_size(about: str, files: int, layers: int, *, long: bool = False) -> Probe:
    """Return the probe of an image that podman mounts with all of its files."""
    folder = f"{DISK}/{files}-{layers}"
    # in memory, as for bench_growth.py: a disk would take most of the time, for the blocks of small files
    mount = f"mount -t tmpfs -o size=16g,nr_inodes=0 tmpfs {folder}"
    last = f"d{layers - 1}.{(files // layers - 1) // 1000}/file{files // layers - 1}"
    return Probe(
        about=about,
        says="is extracted, and podman mounts it with all files",
        outcome=Outcome.SAME,
        command=f"mkdir {folder} && {mount} && trap 'podman rm --force --all; umount {folder}; rmdir {folder}' EXIT"
        f" && python3 {MAKE} {folder} {files} 0 {layers} && export CONTAINERS_STORAGE_CONF={folder}/storage.conf"
        f" && nixoci extract oci:{folder} {folder}/path --name many --reference localhost/many:1 --max-entries 2000000"
        f" && nixoci image-store {folder}/store {folder}/path --storage-conf={folder}/storage.conf"
        f' && mounted=$(podman mount $(podman create --network=none localhost/many:1 /x)) && test -e "$mounted/{last}"'
        f' && test $(find "$mounted" -name "file*" | wc --lines) = {files // layers * layers}',
        long=long,
    )


MACHINE_PROBES = (
    *(_on_loop(kind) for kind in ("ext4", "xfs", "btrfs")),
    _below("tmpfs", "mount -t tmpfs tmpfs $at"),
    Probe(
        about=f"a lock of {IMAGES} images",
        says="is listed, and Nix evaluates all of its images and their store",
        outcome=Outcome.SAME,
        command=f"cd {MANY_IMAGES} && test $(nixoci list | grep --count registry.example) = {IMAGES}"
        f" && nix-instantiate --quiet {TOOLS} --attr imageStore",
    ),
    _of_size("an image of 127 layers", 12_700, 127),
    _of_size("an image of 1 000 000 files", 1_000_000, 1, long=True),
)
