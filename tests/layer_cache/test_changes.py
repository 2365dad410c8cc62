"""The tree of one layer, with the markers that overlayfs knows: device 0:0, and trusted.overlay.opaque."""

from __future__ import annotations

import re

import pytest

from nixoci.errors import LayerError, LimitError
from nixoci.layer_cache.changes import Changes, read_changes
from nixoci.tree.limits import Limits
from nixoci.tree.model import Kind
from tests.support.layers import (
    directory,
    file,
    hardlink,
    header,
    layer,
    lookup,
    names,
    opaque,
    pax,
    reader,
    symlink,
    whiteout,
)

DEVICE = header(b"d/gone", b"3", device=(0, 0))


def changes(*members: bytes, limits: Limits | None = None) -> Changes:
    limits = limits or Limits()
    return read_changes(reader(layer(*members), limits=limits), layer="L", limits=limits)


def hidden(found: Changes, path: bytes) -> bool:
    inode = lookup(found.root, path)
    return inode.kind is Kind.CHARACTER and inode.device == (0, 0)


def is_opaque(found: Changes, path: bytes) -> bool:
    return lookup(found.root, path).xattrs.get(b"trusted.overlay.opaque") == b"y"


@pytest.mark.parametrize("marker", [whiteout(b"d/gone"), DEVICE])
def test_a_whiteout_is_a_device(marker: bytes) -> None:
    found = changes(directory(b"d"), marker, file(b"d/new"))
    assert names(found.root) == [b"d/", b"d/gone", b"d/new"]
    assert hidden(found, b"d/gone")
    assert not is_opaque(found, b"d")


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_marker_is_an_xattr(first: bool) -> None:
    members = [directory(b"d", uid=7), file(b"d/new")]
    found = changes(*([opaque(b"d"), *members] if first else [*members, opaque(b"d")]))
    assert names(found.root) == [b"d/", b"d/new"]
    assert is_opaque(found, b"d")
    assert lookup(found.root, b"d").uid == 7


def test_a_layer_that_hides_all_others_is_refused() -> None:
    """Linux merges the roots of an overlay's layers, whatever their xattrs say."""
    message = (
        "layer L: entry '.wh..wh..opq': it hides all lower layers, which no mount of the layer can show; use the image"
        " without a layer cache"
    )
    with pytest.raises(LayerError, match=f"^{re.escape(message)}$"):
        changes(file(b"a"), opaque())


@pytest.mark.parametrize("marker", [whiteout(b"d"), header(b"d", b"3", device=(0, 0))])
def test_a_directory_in_the_place_of_a_hidden_one_shows_nothing_of_it(marker: bytes) -> None:
    found = changes(marker, directory(b"d", mode=0o700), file(b"d/new"))
    assert names(found.root) == [b"d/", b"d/new"]
    assert is_opaque(found, b"d")


def test_a_file_in_the_place_of_a_hidden_one_is_just_there() -> None:
    found = changes(file(b"a", b"new"), whiteout(b"a"))
    assert names(found.root) == [b"a"]
    assert lookup(found.root, b"a").kind is Kind.REGULAR


def test_what_lies_below_a_name_that_the_layer_replaces_is_hidden_with_it() -> None:
    found = changes(file(b"a"), symlink(b"b", b"c"), whiteout(b"a/x"), whiteout(b"b/x"), opaque(b"b"))
    assert names(found.root) == [b"a", b"b"]


def test_a_marker_makes_the_directories_on_its_way() -> None:
    found = changes(whiteout(b"usr/lib/x"), opaque(b"var/lib"))
    assert names(found.root) == [b"usr/", b"usr/lib/", b"usr/lib/x", b"var/", b"var/lib/"]
    assert found.implied == [b"usr", b"usr/lib", b"var", b"var/lib"]


def test_directories_without_an_entry_are_named() -> None:
    found = changes(directory(b"a"), file(b"a/b/c/x"), directory(b"late/d"), directory(b"late"))
    assert found.implied == [b"a/b", b"a/b/c"]


def test_the_root_belongs_to_root_if_no_entry_says_more() -> None:
    root = changes(file(b"a")).root
    assert (root.mode, root.uid, root.mtime) == (0o755, 0, 0)
    assert changes(directory(b"./", mode=0o700)).root.mode == 0o700


def test_files_of_aufs_are_no_whiteouts() -> None:
    assert names(changes(directory(b".wh..wh.plnk"), file(b".wh..wh.aufs"), file(b"a")).root) == [b"a"]


def test_markers_of_the_image_itself_are_no_markers() -> None:
    found = changes(pax({b"SCHILY.xattr.trusted.overlay.opaque": b"y"}) + directory(b"d"))
    assert not is_opaque(found, b"d")


def test_a_hardlink_to_a_lower_layer_is_refused() -> None:
    with pytest.raises(LayerError, match=r"^layer L: entry 'a': a hardlink to 'b', which is not there$"):
        changes(hardlink(b"a", b"b"))


def test_the_directories_that_markers_imply_are_limited() -> None:
    deep = [whiteout(b"/".join(b"%d" % (number + at) for at in range(20))) for number in range(10)]
    changes(*deep, limits=Limits(entries=1000))
    with pytest.raises(LimitError, match=r"^layer L: more than 100 entries in the image, the limit; raise it"):
        changes(*deep, limits=Limits(entries=100))
