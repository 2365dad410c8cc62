"""Layer caches as EROFS files that Linux mounts, stacked by overlayfs as containerd stacks them.

With `NIXOCI_CONTAINERD` also in containerd 2.4: it names a folder with that containerd's programs `containerd`, `ctr`
and `containerd-shim-runc-v2`, which no Debian has yet, and with `crictl`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import LayerError
from nixoci.layer_cache.changes import read_changes
from nixoci.layer_cache.layout import entry_path
from nixoci.oci.digest import Digest
from nixoci.tree.limits import Limits
from nixoci.tree.model import Inode, Kind, walk
from tests.host.engines import ctr_output, install_runtime
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.stacks import Stack, random_stack
from tests.host.test_umoci import KINDS
from tests.support.layers import content, merge, reader
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Image, Pair

FOLDER = "/home/layers"
CACHE = f"{FOLDER}/cache"
STACKS = 600
NAMES = ("nginx", "redis")
CONTAINERD = os.environ.get("NIXOCI_CONTAINERD")
PROGRAMS = "/opt/containerd"

MOUNT = """
set -eu
mkdir -p "$1/empty" "$1/layers" "$1/stacks"
while read -r number files; do
    lower=
    for file in $files; do
        # lowerdir may have 256 bytes
        name=$(basename "$file" | cut -c 1-12)
        if ! [ -d "$1/layers/$name" ]; then
            mkdir "$1/layers/$name"
            mount -t erofs -o ro "$file" "$1/layers/$name"
        fi
        lower="$1/layers/$name:$lower"
    done
    mkdir "$1/stacks/$number"
    mount -t overlay -o "ro,lowerdir=$lower$1/empty" overlay "$1/stacks/$number"
done
"""
"""Mounts stacks of layers, each given as a line of its name and its files, the lowest first."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    binds = {images_dir(): INSIDE} | ({Path(CONTAINERD): PROGRAMS} if CONTAINERD else {})
    with Machine(binds=binds) as booted:
        booted.run(["mkdir", FOLDER])
        yield booted


@pytest.fixture(scope="module")
def cache(machine: Machine, images: dict[str, Pair]) -> list[dict[str, Any]]:
    """Make a cache of sample images, and return what the command printed."""
    sources = [images[name].old.inside for name in NAMES]
    made: list[dict[str, Any]] = json.loads(
        machine.run(["nixoci", "layer-cache", CACHE, *sources, "--json"], timeout=300).stdout
    )
    return made


def mount(machine: Machine, folder: str, stacks: dict[str, list[str]]) -> None:
    lines = "".join(f"{name} {' '.join(files)}\n" for name, files in stacks.items())
    machine.run(["sh", "-c", MOUNT, "sh", folder], input=lines, timeout=120)


def test_random_layers_stack_to_the_tree_that_nixoci_extracts(machine: Machine) -> None:
    stacks = {str(number): stack for number in range(STACKS) if is_comparable(stack := random_stack(number))}
    assert len(stacks) > STACKS / 10
    for number, stack in stacks.items():
        write_layout(machine.root / FOLDER.lstrip("/") / "random", stack.layers, tag=number)
    sources = [f"oci:{FOLDER}/random:{number}" for number in stacks]
    machine.run(["nixoci", "layer-cache", f"{FOLDER}/random-cache", *sources], timeout=120)
    files = {
        number: [f"{FOLDER}/random-cache/{entry_path(Digest.of(data))}" for data in stack.layers]
        for number, stack in stacks.items()
    }
    mount(machine, f"{FOLDER}/random-mounts", files)
    differences = []
    for number, stack in stacks.items():
        theirs = machine.root / f"{FOLDER.lstrip('/')}/random-mounts/stacks/{number}"
        expected = dict(map(of_inode, walk(merge(*stack.layers))))
        found = dict(of_file(theirs, path) for path in [theirs, *theirs.rglob("*")] if is_there(path))
        if any(b"./" not in data[:2] for data in stack.layers[1:]):  # the root is that of the highest layer
            expected.pop(b""), found.pop(b"")
        differences += [
            f"stack {number}: {path!r}: {found.get(path)}, expected {expected.get(path)}\n{stack}"
            for path in sorted(expected.keys() | found.keys())
            if expected.get(path) != found.get(path)
        ]
    assert not differences, "\n\n".join(differences)


def is_comparable(stack: Stack) -> bool:
    """Tell whether the layers of a stack say all of what they change.

    A directory that a layer above others implies hides what is at its path, and one that the lowest implies for a
    marker is there. Only a merge of all layers can follow a symlink, or find a hardlink's target, in a lower layer.
    """
    try:
        merge(*stack.layers)
        trees = [read_changes(reader(data), layer="L", limits=Limits()) for data in stack.layers]
    except LayerError:
        return False
    lowest = {path for path, inode in walk(trees[0].root) if inode.is_directory}
    return not any(changes.implied for changes in trees[1:]) and lowest <= dict(walk(merge(stack.layers[0]))).keys()


def is_there(path: Path) -> bool:
    """Tell whether there is a file; overlayfs lists whiteouts too, in directories that one layer alone has."""
    return os.path.lexists(path)


def of_inode(found: tuple[bytes, Inode]) -> tuple[bytes, dict[str, object]]:
    path, inode = found
    shown = {"kind": inode.kind, "mode": inode.mode, "owner": (inode.uid, inode.gid), "mtime": inode.mtime}
    more = {
        "xattrs": inode.xattrs,
        "target": inode.target,
        "device": os.makedev(*inode.device),
        "content": hashlib.sha256(content(inode)).hexdigest() if inode.kind is Kind.REGULAR else "",
    }
    return path, shown | more


def of_file(root: Path, path: Path) -> tuple[bytes, dict[str, object]]:
    status = path.lstat()
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    names = os.listxattr(path, follow_symlinks=False)
    shown = {"kind": kind, "mode": stat.S_IMODE(status.st_mode), "owner": (status.st_uid, status.st_gid)}
    more = {
        "mtime": status.st_mtime_ns,
        "xattrs": {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names},
        "target": os.fsencode(os.readlink(path)) if kind is Kind.SYMLINK else b"",  # noqa: PTH115 - Path drops a `.`
        "device": status.st_rdev,
        "content": hashlib.sha256(path.read_bytes()).hexdigest() if kind is Kind.REGULAR else "",
    }
    return os.fsencode(path.relative_to(root)) if path != root else b"", shown | more


def test_an_image_stacks_to_what_umoci_unpacks(
    machine: Machine, images: dict[str, Pair], cache: list[dict[str, Any]]
) -> None:
    name = "nginx"
    image = images[name].old
    layout = image.inside.removeprefix("oci:")
    machine.run(["umoci", "unpack", "--image", layout, f"{FOLDER}/{name}"], timeout=120)
    known = {entry["diffId"]: entry["path"] for entry in cache}
    files = [f"{CACHE}/{known[diff_id]}" for diff_id in diff_ids(machine, image)]
    mount(machine, f"{FOLDER}/{name}-mounts", {name: files})
    root = machine.root / FOLDER.lstrip("/")
    ours, theirs = (
        dict(of_file(base, path) for path in base.rglob("*"))
        for base in (root / f"{name}-mounts/stacks/{name}", root / name / "rootfs")
    )
    assert len(theirs) > 3000
    assert ours.keys() == theirs.keys()
    differ = {
        path: (ours[path], theirs[path])
        for path in theirs
        if ours[path] != theirs[path] and ours[path] | {"mtime": 0} != theirs[path] | {"mtime": 0}
    }
    assert differ == {}
    # umoci leaves today's time on directories that it changes in passing
    assert all(ours[path]["mtime"] == theirs[path]["mtime"] for path in theirs if ours[path]["kind"] is Kind.REGULAR)
    assert any(entry["xattrs"] for entry in ours.values()), "no file has a capability"


def diff_ids(machine: Machine, image: Image) -> list[str]:
    config = json.loads(machine.run(["skopeo", "inspect", "--config", image.inside]).stdout)
    found: list[str] = config["rootfs"]["diff_ids"]
    return found


@pytest.mark.usefixtures("cache")
def test_another_user_makes_the_same_files(machine: Machine, images: dict[str, Pair]) -> None:
    again = "/home/alice/cache"
    machine.run(["nixoci", "layer-cache", again, images["nginx"].old.inside], user="alice", timeout=120)
    for path in machine.run(["find", ".", "-type", "f"], cwd=again).stdout.split():
        machine.run(["cmp", f"{again}/{path}", f"{CACHE}/{path}"])
        assert machine.run(["fsck.erofs", f"{again}/{path}"]).returncode == 0


def test_a_mount_of_the_snapshots_among_the_roots_keeps_their_layers(machine: Machine) -> None:
    """As docs/layer-cache.md has it; the snapshots are links by the configured path of the cache."""
    machine.run(["sh", "-c", 'mkdir -p "$0/a/sha256" && echo 1 > "$0/a/sha256/layer"', f"{FOLDER}/kept"])
    path = machine.run(["nix-store", "--add", f"{FOLDER}/kept/a"]).stdout.strip()
    snapshots, roots = f"{FOLDER}/snapshots", "/nix/var/nix/gcroots/containerd-erofs"
    machine.run(["mkdir", "-p", f"{snapshots}/1/fs", roots])
    machine.run(["ln", "-s", f"{path}/sha256/layer", f"{snapshots}/1/layer.erofs"])
    machine.run(["mount", "--bind", snapshots, roots])
    assert machine.run(["nix-store", "--delete", path], check=False).returncode != 0
    assert f"{roots}/1/layer.erofs" in machine.run(["nix-store", "--query", "--roots", path]).stdout
    machine.run(["rm", f"{snapshots}/1/layer.erofs"])
    machine.run(["nix-store", "--delete", path])
    machine.run(["umount", roots])


CONFIG = f"""
version = 3
root = "{FOLDER}/containerd"
state = "/run/containerd-2.4"

[grpc]
  address = "/run/containerd-2.4.sock"

[plugins."io.containerd.snapshotter.v1.erofs"]
  layer_content_caches = ["{CACHE}"]

[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]

[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_unpacks = 3

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "erofs"
  differ = "erofs"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "erofs"
"""


@pytest.mark.skipif(not CONTAINERD, reason="NIXOCI_CONTAINERD names no folder with containerd 2.4")
@pytest.mark.usefixtures("cache")
def test_containerd_pulls_without_a_layer(machine: Machine, images: dict[str, Pair]) -> None:
    machine.run(["tee", "/etc/containerd-2.4.toml"], input=CONFIG)
    runc = install_runtime(machine)
    path = f"--setenv=PATH={PROGRAMS}:/usr/sbin:/usr/bin"
    start = ["systemd-run", "--quiet", "--unit=containerd-2.4", "--service-type=notify", path]
    machine.run([*start, f"{PROGRAMS}/containerd", "--config=/etc/containerd-2.4.toml"])
    ctr = [f"{PROGRAMS}/ctr", "--address=/run/containerd-2.4.sock"]
    crictl = [f"{PROGRAMS}/crictl", "--image-endpoint=unix:///run/containerd-2.4.sock"]
    with Registry(machine) as registry:
        reference, other = (registry.push(images[name].old) for name in NAMES)
        registry.clear()
        machine.run([*ctr, "images", "pull", "--plain-http", "--snapshotter=erofs", reference], timeout=60)
        machine.run([*crictl, "pull", other], timeout=60)  # as kubelet does
        fetched = [request.path for request in registry.requests() if "/blobs/" in request.path]
    assert len(fetched) == 2, "other blobs than the two configs"
    snapshots = f"{FOLDER}/containerd/io.containerd.snapshotter.v1.erofs/snapshots"
    links = machine.run(["find", snapshots, "-name", "layer.erofs", "-printf", "%l\\n"]).stdout.split()
    layers = {layer for name in NAMES for layer in diff_ids(machine, images[name].old)}
    assert len(links) >= len(layers)
    assert all(link.startswith(f"{CACHE}/sha256/") for link in links)
    script = "stat --format=%U:%a /usr/bin/su && getcap /usr/bin/ping && echo mine > /file && cat /file"
    run = [*ctr, "run", "--rm", "--snapshotter=erofs", f"--runc-binary={runc}"]
    shown = ctr_output(machine, run, reference, "test", "sh", "-c", script)
    assert shown == "root:4755\n/usr/bin/ping cap_net_raw=ep\nmine"
    machine.run(["systemctl", "stop", "containerd-2.4"])
