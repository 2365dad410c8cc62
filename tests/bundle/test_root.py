from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nixoci.bundle.config import bundle_config
from nixoci.bundle.root import Root
from nixoci.container.model import Secret, WritableLayer
from nixoci.tree.model import Children, Inode, Kind
from tests.container.samples import make_image, resolved

FOLDER = Path("/out/bundles/c")


def root_of(path: Path, extra: dict[str, Inode] | None = None, **options: Any) -> Root:
    container = resolved(make_image(path, extra=extra), **({"cmd": ["run"], "networks": ["none"]} | options))
    return bundle_config(container, None, folder=FOLDER).root


def test_a_root_is_the_stores_tree_only_if_nothing_is_missing_or_lost(tmp_path: Path) -> None:
    plain = {"data": Inode(Kind.DIRECTORY)}
    assert root_of(tmp_path / "1", plain, read_only=True) is Root.TREE
    assert root_of(tmp_path / "2", plain) is Root.VOLATILE
    assert root_of(tmp_path / "3", plain, writable_layer=WritableLayer.PERSISTENT) is Root.PERSISTENT
    assert root_of(tmp_path / "4", read_only=True) is Root.IMAGE  # /data is another user's
    assert root_of(tmp_path / "5", plain, read_only=True, workdir="/nowhere") is Root.VOLATILE
    assert root_of(tmp_path / "6", plain, read_only=True, volumes=["/a:/nowhere"]) is Root.VOLATILE
    assert root_of(tmp_path / "8", plain, read_only=True, volumes=["named:/data"]) is Root.IMAGE
    assert root_of(tmp_path / "9", plain, read_only=True, capabilities={"SYS_ADMIN": True}) is Root.IMAGE
    assert root_of(tmp_path / "7", plain, read_only=True, secrets={"s": Secret(source="/s")}) is Root.TREE


@pytest.mark.parametrize(
    "inode",
    [
        Inode(Kind.REGULAR, 0o600),
        Inode(Kind.REGULAR, 0o4755),
        Inode(Kind.REGULAR, 0o744),
        Inode(Kind.REGULAR, 0o644, gid=1),
        Inode(Kind.REGULAR, 0o644, xattrs={b"user.x": b""}),
        Inode(Kind.FIFO, 0o644),
        Inode(Kind.DIRECTORY, 0o1777),
    ],
)
def test_what_a_store_path_cannot_hold_needs_an_overlay(tmp_path: Path, inode: Inode) -> None:
    extra = {"data": Inode(Kind.DIRECTORY), "odd": inode}
    assert root_of(tmp_path, extra, read_only=True) is Root.IMAGE


def test_a_root_of_the_store_is_read_only(tmp_path: Path) -> None:
    tree = make_image(tmp_path, extra={"data": Inode(Kind.DIRECTORY)})
    container = resolved(tree, cmd=["run"], networks=["none"], read_only=True)
    config = bundle_config(container, None, folder=FOLDER).config
    assert config["root"] == {"path": str(tree.image.rootfs), "readonly": True}


def test_the_images_volumes_of_a_read_only_container_are_in_its_layer(tmp_path: Path) -> None:
    kept = Inode(Kind.DIRECTORY, children=Children({b"file": Inode(Kind.REGULAR, 0o644)}))
    extra = {"kept": kept, "link": Inode(Kind.SYMLINK, 0o777, target=b"kept")}
    image = make_image(tmp_path, {"Volumes": {"/link": {}, "/data": {}, "/none": {}}}, extra=extra)

    def mounts_of(root: Root, *, mounted: bool = True, **options: Any) -> dict[str, dict[str, Any]]:
        container = resolved(image, cmd=["run"], networks=["none"], **options)
        bundle = bundle_config(container, None, folder=FOLDER, image=(lambda: "/mounted") if mounted else None)
        assert bundle.root is root
        assert bundle.config["root"]["path"] == "/run/nixoci/c/root"
        return {mount["destination"]: mount for mount in bundle.config["mounts"]}

    mounts = mounts_of(Root.VOLATILE, read_only=True)
    assert mounts["/link"]["source"] == "/run/nixoci/c/root/kept"
    assert {"rw", "nosuid", "nodev"} <= set(mounts["/link"]["options"])
    # an empty one is the same in memory
    assert mounts["/data"]["type"] == mounts["/none"]["type"] == "tmpfs"
    assert mounts_of(Root.VOLATILE, read_only=True, volumes=["/a:/link"])["/link"]["source"] == "/a"
    assert "/link" not in mounts_of(Root.VOLATILE)
    assert mounts_of(Root.VOLATILE, mounted=False, read_only=True)["/link"]["type"] == "tmpfs"
