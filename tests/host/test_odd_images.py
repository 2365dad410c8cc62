"""Odd images under podman: one store lists and mounts all of them, with the trees that podman itself makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.host.containers import own_storage
from tests.support.odd_images import LOWER, ODD_DOCUMENTS, ODD_LAYERS, ONE, write_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine

FOLDER = "/home/odd-images"
TAGS = {name: name.replace(" ", "-").replace("'", "").lower() for name in (*ODD_DOCUMENTS, *ODD_LAYERS)}

EXTRACT = """
cd "$0"
for tag; do
    /opt/nixoci/bin/nixoci extract "oci:layout:$tag" "images/$tag" --name odd --reference "docker.io/library/odd:$tag"
done
/opt/nixoci/bin/nixoci image-store store images/* --mkcomposefs=/usr/bin/mkcomposefs
"""

LIST = """
container=$(podman create --network=none "$0" /x)
mounted=$(podman mount "$container")
find "$mounted" -mindepth 1 -printf "/%P %y %#m %l\\n" | sort
podman rm "$container" > /dev/null
"""

PULL = """
cd "$0"
podman pull --quiet "oci:layout:$1"
"""

REFUSED = {
    "a time without a zone",
    "a time that is none",
    "an empty time in the history",
    "a whiteout below a new symlink",
    "an opaque marker in a new symlink",
}
"""Images that podman itself does not take: its store on overlayfs has no place for such a whiteout."""


@pytest.fixture(scope="module")
def odd(machine: Machine) -> Iterator[Machine]:
    """A machine with a layout of all odd images and a store over them."""
    folder = machine.root / FOLDER.lstrip("/")
    (folder / "images").mkdir(parents=True)
    for name, changes in ODD_DOCUMENTS.items():
        write_image(folder / "layout", [ONE], tag=TAGS[name], **changes)
    for name, (members, _) in ODD_LAYERS.items():
        write_image(folder / "layout", [LOWER, b"".join(members) + bytes(1024)], tag=TAGS[name])
    machine.run(["sh", "-e", "-c", EXTRACT, FOLDER, *TAGS.values()], timeout=300)
    for file, store in (("ours.conf", Path(f"{FOLDER}/store")), ("theirs.conf", None)):
        text = own_storage(f"{FOLDER}/{file}.own", f"/run/odd-{file}", store=store)
        machine.run(["tee", f"{FOLDER}/{file}"], input=text)
    yield machine
    for file in ("ours.conf", "theirs.conf"):
        machine.run(["podman", "image", "umount", "--all"], env=conf(file), check=False)
        machine.run(["podman", "system", "reset", "--force"], env=conf(file), check=False)
    machine.run(["rm", "--recursive", "--force", FOLDER])


def conf(file: str) -> dict[str, str]:
    return {"CONTAINERS_STORAGE_CONF": f"{FOLDER}/{file}"}


def test_podman_lists_a_store_of_odd_images(odd: Machine) -> None:
    listed = json.loads(odd.run(["podman", "images", "--format=json"], env=conf("ours.conf")).stdout)
    names = {name for image in listed for name in image["Names"]}
    assert names == {f"docker.io/library/odd:{tag}" for tag in TAGS.values()}


@pytest.mark.parametrize("name", [*ODD_DOCUMENTS, *ODD_LAYERS])
def test_podman_makes_the_same_tree_of_an_odd_image(odd: Machine, name: str) -> None:
    ours = odd.run(["sh", "-e", "-c", LIST, f"docker.io/library/odd:{TAGS[name]}"], env=conf("ours.conf")).stdout
    expected = ODD_LAYERS[name][1] if name in ODD_LAYERS else ["/x"]
    assert [line.split(" ")[0] for line in ours.splitlines()] == expected
    theirs = odd.run(["sh", "-e", "-c", PULL, FOLDER, TAGS[name]], env=conf("theirs.conf"), check=False)
    assert (theirs.returncode != 0) == (name in REFUSED), theirs.stderr
    if name not in REFUSED:
        image = theirs.stdout.strip()
        lines = odd.run(["sh", "-e", "-c", LIST, image], env=conf("theirs.conf")).stdout.splitlines()
        # on overlayfs podman keeps AUFS's own files, which its other drivers and Docker's leave out
        assert ours.splitlines() == [line for line in lines if not line.startswith("/.wh.")]
