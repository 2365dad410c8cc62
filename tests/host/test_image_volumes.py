"""The files of an image that a mount in memory, or a volume that the image declares, covers: as under podman."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import Host
from tests.host.images import INSIDE, images_dir
from tests.host.images import images as sample_images
from tests.host.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

# file capabilities are those of cap_net_raw+ep
FILL = """
import os, sys
for name in ("data", "pipe"):
    top = f"{sys.argv[1]}/{name}"
    os.mkdir(top, 0o750)
    with open(f"{top}/file", "w") as file:
        file.write("content")
    os.chmod(f"{top}/file", 0o4755)
    os.setxattr(f"{top}/file", "user.name", b"value")
    os.setxattr(f"{top}/file", "security.capability", bytes.fromhex("01000002002000000000000000000000" + "00000000"))
    os.link(f"{top}/file", f"{top}/link")
    os.symlink("file", f"{top}/symlink")
    os.mkdir(f"{top}/directory", 0o2770)
    os.chown(f"{top}/directory", 5, 6)
    for path in (f"{top}/file", f"{top}/directory"):
        os.utime(path, (1000, 1000))
    os.chown(top, 7, 8)
os.mkfifo(f"{top}/fifo", 0o620)
"""
PROBE = """
import json, os
top = os.environ["TOP"]
def facts(path):
    found = os.lstat(path)
    names = [] if os.path.islink(path) else sorted(os.listxattr(path))
    return [oct(found.st_mode), found.st_uid, found.st_gid, found.st_nlink, {
        name: os.getxattr(path, name).hex() for name in names
    }]
seen = {name: facts(f"{top}/{name}") for name in sorted(os.listdir(top))}
times = {name: os.lstat(f"{top}/{name}").st_mtime for name in ("file", "directory")}
options = [line.split()[5].split(",") for line in open("/proc/self/mountinfo") if line.split()[4] == top]
kept = [sorted({"ro", "rw", "nosuid", "nodev", "noexec"}.intersection(found)) for found in options]
with open(f"{top}/new", "w") as file:
    file.write("new")
try:
    os.mkdir("/new")
    root = "written"
except OSError as error:
    root = error.strerror
print("SEEN", json.dumps([seen, times, facts(top)[:3], kept, root]), flush=True)
"""
COMMAND = ["python3", "-c", PROBE]
WAYS = {
    "crun": {"backend": "bundle"},
    "runc": {"backend": "bundle", "runtime": "runc"},
    "systemd": {"backend": "systemd"},
}
PLACES = "/data", "/pipe"


class Volumes:
    """An image that declares two volumes with files, in podman's own storage and as an image path."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        base = "containers-storage:localhost/base"
        machine.run(["skopeo", "copy", "--quiet", sample_images()["python"].new.inside, base], timeout=300)
        machine.run(["tee", "/var/fill.py"], input=FILL)
        build = (
            "made=$(buildah from localhost/base); python3 /var/fill.py $(buildah mount $made);"
            " buildah config --user=root --volume=/data --volume=/pipe $made;"
            " buildah commit --quiet $made localhost/odd"
        )
        machine.run(["sh", "-ec", build], timeout=300)
        copy = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
        machine.run([*copy, "containers-storage:localhost/odd", "oci:/var/tmp/odd:latest"], timeout=300)
        self.host = Host.build(machine, {"odd": "oci:/var/tmp/odd:latest"})

    def by_podman(self, top: str, runtime: str, *options: str) -> Any:
        """Return what the probe sees of a directory in `podman run` of the original; None if that fails."""
        run = ["podman", f"--runtime={runtime}", "run", "--rm", "--pull=never", "--network=none", f"--env=TOP={top}"]
        done = self.machine.run([*run, *options, "localhost/odd", *COMMAND], check=False)
        return None if done.returncode else json.loads(done.stdout.removeprefix("SEEN "))

    def container(self, top: str, **options: Any) -> dict[str, Any]:
        """Return a container that runs the probe on a directory."""
        started = {"entrypoint": COMMAND[:1], "cmd": COMMAND[1:], "environment": {"TOP": top}, "networks": ["none"]}
        return {"image": "odd"} | started | options


@pytest.fixture(scope="module")
def volumes() -> Iterator[Volumes]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield Volumes(machine)


def test_a_read_only_container_has_the_images_volumes_whole_and_writable(volumes: Volumes) -> None:
    containers = {
        f"{way}{top.replace('/', '-')}": volumes.container(top, readOnly=True, **chosen)
        for way, chosen in WAYS.items()
        for top in PLACES
    }
    seen = volumes.host.seen_by_all("/var/read-only", containers)
    for top in PLACES:
        theirs = volumes.by_podman(top, "crun", "--read-only")
        assert theirs is not None
        assert theirs[0]["file"][3:] == [
            2,
            {"security.capability": "01000002002000000000000000000000" + "00000000", "user.name": b"value".hex()},
        ]
        assert theirs[1] == {"file": 1000, "directory": 1000}
        assert theirs[3:] == [[["nodev", "nosuid", "rw"]], "Read-only file system"]
        for way in WAYS:
            ours = seen[f"{way}{top.replace('/', '-')}"]
            assert ours == theirs, (way, top)


def test_a_runtimes_copy_in_memory_is_that_of_podman(volumes: Volumes) -> None:
    """A limit of the runtimes: crun drops capabilities and hard links, runc all attributes, and it fails at a fifo."""
    ways = {name: chosen for name, chosen in WAYS.items() if name != "systemd"}
    containers = {
        f"copy-{way}{top.replace('/', '-')}": volumes.container(top, tmpfs=[top], restart="no", **chosen)
        for way, chosen in ways.items()
        for top in PLACES
    }
    volumes.host.deploy("/var/copies", containers)
    volumes.host.start_all(containers)
    for way in ways:
        for top in PLACES:
            name = f"copy-{way}{top.replace('/', '-')}"
            theirs = volumes.by_podman(top, way, f"--tmpfs={top}")
            if theirs is None:
                assert (way, top) == ("runc", "/pipe")
                assert "tmpcopyup: failed to copy /pipe" in volumes.machine.journal(f"{name}.service")
                continue
            ours = volumes.host.said(name)
            # times are those of the starts, and in podman the directory itself belongs to root
            assert [ours[0], *ours[3:]] == [theirs[0], *theirs[3:]], (way, top)
            assert ours[2] == ["0o40750", 7, 8]


def test_the_store_is_as_it_was(volumes: Volumes) -> None:
    assert volumes.host.measure() == volumes.host.hashes
