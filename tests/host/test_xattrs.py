"""Xattrs in a container of an image store are those that podman gives an ordinary image, and none hinders a change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import own_storage
from tests.support.layers import file, layer, pax
from tests.support.odd_images import write_image
from tests.support.xattrs import DROPPED, KEPT, REFUSED, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine

FOLDER = "/home/xattrs"
EQUALS = pax({b"LIBARCHIVE.xattr.user.a%3Db%3D": b"PQ=="}) + file(b"equals")
"""An xattr that is lost with podman, which reads no notation that can spell its name."""

KEPT_BY_PODMAN = "an empty capability"
"""An xattr that podman keeps, and with which no file can be started, or changed in a container."""

LIST_AND_CHANGE = """
import json, os, sys

found = {}
for name in os.listdir(sys.argv[1]):
    path = os.path.join(sys.argv[1], name)
    xattrs = found[name] = {}
    for xattr in os.listxattr(path, follow_symlinks=False):
        try:
            xattrs[xattr] = os.getxattr(path, xattr, follow_symlinks=False).hex()
        except OSError as error:
            xattrs[xattr] = error.strerror
    os.utime(path, (1, 1), follow_symlinks=False)
print(json.dumps(found))
"""

MOUNT = """
container=$(podman create --network=none "$0" /x)
python3 -c "$1" "$(podman mount "$container")"
podman rm "$container" > /dev/null
"""


@pytest.fixture(scope="module")
def host(machine: Machine) -> Iterator[Machine]:
    """A machine with podman's own storage in our.conf and theirs.conf, the first over an image store."""
    folder = machine.root / FOLDER.lstrip("/")
    folder.mkdir()
    cases = [*KEPT.values(), *DROPPED.values()]
    sound = [case for case in cases if case.podman and case is not DROPPED[KEPT_BY_PODMAN]]
    write_image(folder / "layout", [layer(*members(cases), EQUALS)], tag="all")
    write_image(folder / "layout", [layer(*members(sound))], tag="podman")
    extract = ["nixoci", "extract", "oci:layout:all", "path", "--name=xattrs", "--reference=docker.io/library/xattrs:1"]
    machine.run(extract, cwd=FOLDER)
    machine.run(["nixoci", "image-store", "store", "path", "--mkcomposefs=/usr/bin/mkcomposefs"], cwd=FOLDER)
    for name, store in (("ours.conf", Path(f"{FOLDER}/store")), ("theirs.conf", None)):
        text = own_storage(f"{FOLDER}/{name}.own", f"/run/xattrs-{name}", store=store)
        (folder / name).write_text(text, encoding="utf-8")
    yield machine
    for name in ("ours.conf", "theirs.conf"):
        machine.run(["podman", "system", "reset", "--force"], env=conf(name), check=False)
    machine.run(["rm", "--recursive", "--force", FOLDER])


def members(cases: Any) -> Iterator[bytes]:
    """Yield the entry of each case, with a path that says which it is."""
    for case in cases:
        yield case.members(path_of(case))


def path_of(case: Case) -> bytes:
    known = {id(each): key for table in (KEPT, DROPPED) for key, each in table.items()}
    return known[id(case)].replace(" ", "-").encode()


def conf(name: str) -> dict[str, str]:
    return {"CONTAINERS_STORAGE_CONF": f"{FOLDER}/{name}"}


def xattrs_of(host: Machine, image: str, config: str) -> dict[str, dict[str, str]]:
    done = host.run(["sh", "-e", "-c", MOUNT, image, LIST_AND_CHANGE], env=conf(config))
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def test_xattrs_are_those_that_podman_gives_an_ordinary_image(host: Machine) -> None:
    ours = xattrs_of(host, "docker.io/library/xattrs:1", "ours.conf")
    pulled = host.run(["podman", "pull", "--quiet", "oci:layout:podman"], env=conf("theirs.conf"), cwd=FOLDER)
    theirs = xattrs_of(host, pulled.stdout.strip(), "theirs.conf")
    for case in KEPT.values():
        path = path_of(case).decode()
        assert ours[path] == theirs[path] == {case.name.decode("utf-8", "surrogateescape"): case.value.hex()}
    for case in DROPPED.values():
        path = path_of(case).decode()
        assert ours[path] == theirs.get(path, {}) == {}
    assert ours["equals"] == {"user.a=b=": "3d"}


@pytest.mark.parametrize("name", [*REFUSED, *(name for name, case in DROPPED.items() if not case.podman)])
def test_podman_refuses_values_that_nixoci_refuses(host: Machine, name: str) -> None:
    folder = host.root / FOLDER.lstrip("/")
    case = REFUSED.get(name) or DROPPED[name]
    write_image(folder / "layout", [layer(case.members())], tag="refused")
    done = host.run(["podman", "pull", "oci:layout:refused"], env=conf("theirs.conf"), cwd=FOLDER, check=False)
    assert done.returncode != 0
    assert "lsetxattr /n: " in done.stderr
