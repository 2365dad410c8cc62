"""Layers become one tree: whiteouts, opaques, type changes, symlinked parents, hardlinks."""

from __future__ import annotations

import re
from itertools import permutations

import pytest

from nixoci.errors import LayerError, LimitError
from nixoci.tree.limits import Limits
from nixoci.tree.model import Inode, Kind
from tests.support.layers import (
    content,
    description,
    directory,
    file,
    hardlink,
    header,
    layer,
    lookup,
    merge,
    names,
    opaque,
    pax,
    symlink,
    whiteout,
)


def refused(*layers: bytes, message: str, limits: Limits | None = None, error: type[LayerError] = LayerError) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        merge(*layers, limits=limits)


def merged_in_any_order(lower: bytes, *members: bytes) -> Inode:
    """The tree of a layer over `lower`, which must be the same in whatever order its entries come."""
    trees = [merge(lower, layer(*order)) for order in permutations(members)]
    assert all(description(tree) == description(trees[0]) for tree in trees)
    return trees[0]


# layers of nothing, the root


def test_no_layers_and_empty_layers_give_an_empty_root() -> None:
    for layers in ((), (b"",), (layer(), layer())):
        root = merge(*layers)
        assert names(root) == []
        assert (root.kind, root.mode, root.uid, root.gid, root.mtime) == (Kind.DIRECTORY, 0o755, 0, 0, 0)


def test_the_same_layer_twice_is_the_layer_once() -> None:
    once = layer(directory(b"d/", mode=0o700), file(b"d/f", b"data"), hardlink(b"d/g", b"d/f"))
    root = merge(once, once)
    assert description(root) == description(merge(once))
    assert names(root) == [b"d/", b"d/f", b"d/g"]
    assert lookup(root, b"d/f") is lookup(root, b"d/g")


def test_a_root_entry_sets_the_root_s_attributes_and_keeps_its_children() -> None:
    root = merge(layer(file(b"a")), layer(directory(b"./", mode=0o1777, uid=3, gid=4, mtime=5)))
    assert names(root) == [b"a"]
    assert (root.mode, root.uid, root.gid, root.mtime) == (0o1777, 3, 4, 5_000_000_000)


@pytest.mark.parametrize(
    "entry", [file(b"./"), symlink(b".", b"/tmp"), hardlink(b"/", b"x"), header(b"./", b"6"), header(b"/", b"3")]
)
def test_a_root_that_is_no_directory_is_refused(entry: bytes) -> None:
    refused(layer(file(b"x"), entry), message="layer L0: entry '/': the root of a layer must be a directory")


# over each other


def test_a_directory_over_a_directory_keeps_the_children_and_takes_the_attributes() -> None:
    xattr = pax({b"SCHILY.xattr.user.a": b"1"})
    root = merge(
        layer(xattr, directory(b"d/", mode=0o700, uid=1, gid=2, mtime=3), file(b"d/f")),
        layer(directory(b"d/", mode=0o2750, uid=5, gid=6, mtime=7), file(b"d/g")),
    )
    d = lookup(root, b"d")
    assert names(root) == [b"d/", b"d/f", b"d/g"]
    assert (d.mode, d.uid, d.gid, d.mtime, d.xattrs) == (0o2750, 5, 6, 7_000_000_000, {})


KINDS = {
    Kind.REGULAR: file(b"x", b"data"),
    Kind.SYMLINK: symlink(b"x", b"target"),
    Kind.CHARACTER: header(b"x", b"3", device=(1, 3)),
    Kind.BLOCK: header(b"x", b"4", device=(8, 0)),
    Kind.FIFO: header(b"x", b"6"),
    Kind.DIRECTORY: directory(b"x/"),
}


@pytest.mark.parametrize("below", KINDS)
@pytest.mark.parametrize("above", KINDS)
@pytest.mark.parametrize("one_layer", [False, True])
def test_what_comes_later_replaces_what_was_there(below: Kind, above: Kind, one_layer: bool) -> None:
    inside = file(b"x/child") if below is Kind.DIRECTORY else b""
    lower, upper = KINDS[below] + inside, KINDS[above]
    root = merge(layer(lower, upper)) if one_layer else merge(layer(lower), layer(upper))
    assert lookup(root, b"x").kind is above
    keeps = below is above is Kind.DIRECTORY
    assert list(lookup(root, b"x").children) == ([b"child"] if keeps else [])


def test_the_last_of_two_entries_of_one_name_wins() -> None:
    root = merge(layer(file(b"x", b"first", mode=0o600), file(b"x", b"second!", mode=0o644)))
    assert (lookup(root, b"x").size, lookup(root, b"x").mode) == (7, 0o644)


def test_names_that_only_look_alike_are_kept_apart() -> None:
    alike = [b"A", b"a", b"caf\xc3\xa9", b"cafe\xcc\x81", b"\xff", b"a\\b", b"a\nb", b" a", b"a ", b"..a", b"wh.a"]
    assert names(merge(layer(*map(file, alike)))) == sorted(alike)


def test_a_file_over_one_name_of_a_hardlinked_file_leaves_the_other_names() -> None:
    lower = layer(file(b"a", b"old"), hardlink(b"b", b"a"))
    root = merge(lower, layer(file(b"a", b"new!")))
    assert (lookup(root, b"a").size, lookup(root, b"b").size) == (4, 3)


# whiteouts


def test_a_whiteout_removes_from_lower_layers_recursively() -> None:
    lower = layer(file(b"a"), directory(b"d/"), file(b"d/x/y"), symlink(b"s", b"d"))
    assert names(merge(lower, layer(whiteout(b"a"), whiteout(b"d"), whiteout(b"s")))) == []
    assert names(merge(lower, layer(whiteout(b"d/x/y")))) == [b"a", b"d/", b"d/x/", b"s"]


def test_a_whiteout_of_a_symlink_leaves_what_it_points_to() -> None:
    assert names(merge(layer(file(b"d/f"), symlink(b"s", b"d")), layer(whiteout(b"s")))) == [b"d/", b"d/f"]


def test_a_whiteout_of_nothing_does_nothing() -> None:
    root = merge(layer(file(b"a")), layer(whiteout(b"b"), whiteout(b"c/d"), whiteout(b"a/x"), opaque(b"e")))
    assert names(root) == [b"a"]


def test_a_whiteout_is_not_a_pattern() -> None:
    lower = layer(file(b"a"), file(b"a b"), file(b"x*"), file(b"xy"), file(b"["))
    assert names(merge(lower, layer(whiteout(b"a b"), whiteout(b"x*")))) == [b"[", b"a", b"xy"]


def test_an_entry_of_the_same_layer_survives_in_any_order() -> None:
    root = merged_in_any_order(layer(file(b"a", b"old")), whiteout(b"a"), file(b"a", b"newer"))
    assert lookup(root, b"a").size == 5


def test_a_directory_that_is_whited_out_and_made_anew_holds_only_what_is_new() -> None:
    lower = layer(directory(b"d/", mode=0o700, uid=7), file(b"d/old"), file(b"d/sub/old"), file(b"d/both", b"1"))
    root = merged_in_any_order(lower, whiteout(b"d"), directory(b"d/", mode=0o711), file(b"d/new"))
    assert names(root) == [b"d/", b"d/new"]
    assert (lookup(root, b"d").mode, lookup(root, b"d").uid) == (0o711, 0)


def test_a_whited_out_directory_into_which_its_layer_puts_entries_is_an_implied_one() -> None:
    lower = layer(directory(b"d/", mode=0o700, uid=7, mtime=9), directory(b"d/sub/", mode=0o700), file(b"d/sub/old"))
    root = merged_in_any_order(lower, whiteout(b"d"), file(b"d/sub/new"), file(b"d/x"))
    assert names(root) == [b"d/", b"d/sub/", b"d/sub/new", b"d/x"]
    for path in (b"d", b"d/sub"):
        inode = lookup(root, path)
        assert (inode.mode, inode.uid, inode.mtime) == (0o755, 0, 0)


def test_a_whited_out_directory_that_becomes_another_kind() -> None:
    lower = layer(file(b"d/old"))
    root = merged_in_any_order(lower, whiteout(b"d"), file(b"d"))
    assert names(root) == [b"d"]


def test_a_whiteout_through_a_symlinked_parent_stays_inside() -> None:
    lower = layer(file(b"etc/passwd"), file(b"real/x"), symlink(b"link", b"/real"), symlink(b"out", b"../../etc"))
    root = merge(lower, layer(whiteout(b"link/x"), whiteout(b"out/passwd")))
    assert names(root) == [b"etc/", b"link", b"out", b"real/"]


def test_a_whiteout_below_what_is_not_a_directory_does_nothing() -> None:
    assert names(merge(layer(file(b"f")), layer(whiteout(b"f/x")))) == [b"f"]


def test_a_whiteout_of_a_name_of_255_bytes_works() -> None:
    name = b"n" * 255
    lower = layer(pax({b"path": name}), file(b"x"))
    assert names(merge(lower, layer(pax({b"path": b".wh." + name}), file(b"x")))) == []


@pytest.mark.parametrize("kind", [directory, lambda name: symlink(name, b"x"), lambda name: header(name, b"3")])
def test_a_whiteout_may_be_of_any_kind(kind: object) -> None:
    assert callable(kind)
    assert names(merge(layer(file(b"a")), layer(kind(b".wh.a")))) == []


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."])
def test_a_whiteout_of_no_name_is_refused(name: str) -> None:
    refused(
        layer(file(name.encode())),
        message=f"layer L0: entry '{name}': a whiteout without a name; the layer is malformed",
    )


@pytest.mark.parametrize("name", [".wh.d/x", "a/.wh.d/b/x", "a/.wh..wh..opq/x", "a/.wh..wh.plnk/1.2"])
def test_an_entry_under_a_whiteout_is_refused(name: str) -> None:
    refused(
        layer(file(name.encode())),
        message=f"layer L0: entry '{name}': it lies under a whiteout; the layer is malformed",
    )


# opaque


def test_an_opaque_marker_hides_all_lower_children_in_any_order() -> None:
    lower = layer(directory(b"d/", mode=0o700, uid=7), file(b"d/old"), file(b"d/sub/old"), file(b"kept"))
    root = merged_in_any_order(lower, opaque(b"d"), file(b"d/new"), file(b"d/sub/new"))
    assert names(root) == [b"d/", b"d/new", b"d/sub/", b"d/sub/new", b"kept"]
    assert (lookup(root, b"d").mode, lookup(root, b"d").uid) == (0o700, 7)


def test_an_opaque_directory_takes_the_attributes_of_its_entry() -> None:
    lower = layer(directory(b"d/", mode=0o700), file(b"d/old"))
    root = merged_in_any_order(lower, opaque(b"d"), directory(b"d/", mode=0o711, uid=3))
    assert names(root) == [b"d/"]
    assert (lookup(root, b"d").mode, lookup(root, b"d").uid) == (0o711, 3)


def test_an_opaque_root_hides_everything() -> None:
    lower = layer(directory(b"./", mode=0o700), file(b"a"), file(b"d/b"))
    root = merged_in_any_order(lower, opaque(), file(b"d/new"))
    assert names(root) == [b"d/", b"d/new"]
    assert root.mode == 0o700


def test_an_opaque_marker_hides_only_lower_layers() -> None:
    middle = layer(opaque(b"d"), file(b"d/two"))
    assert names(merge(layer(file(b"d/one")), middle, layer(file(b"d/three")))) == [b"d/", b"d/three", b"d/two"]


def test_a_directory_may_be_opaque_in_one_layer_after_the_other() -> None:
    layers = [layer(opaque(b"d"), file(b"d/" + name), file(b"d/sub/" + name)) for name in (b"two", b"three")]
    assert names(merge(layer(file(b"d/one")), *layers)) == [b"d/", b"d/sub/", b"d/sub/three", b"d/three"]


def test_a_directory_may_be_whited_out_in_one_layer_after_the_other() -> None:
    layers = [layer(file(b"d/" + name), file(b"d/sub/" + name), whiteout(b"d")) for name in (b"two", b"three")]
    assert names(merge(layer(file(b"d/one")), *layers)) == [b"d/", b"d/sub/", b"d/sub/three", b"d/three"]


def test_an_opaque_marker_through_a_symlink_acts_on_its_target() -> None:
    lower = layer(file(b"real/old"), symlink(b"link", b"real"))
    assert names(merge(lower, layer(opaque(b"link")))) == [b"link", b"real/"]


# parents


def test_a_missing_parent_is_made_0755_root() -> None:
    root = merge(layer(file(b"a/b/c", uid=5)))
    assert names(root) == [b"a/", b"a/b/", b"a/b/c"]
    for path in (b"a", b"a/b"):
        inode = lookup(root, path)
        assert (inode.mode, inode.uid, inode.gid, inode.mtime) == (0o755, 0, 0, 0)


def test_a_parent_that_is_a_file_becomes_a_directory() -> None:
    root = merge(layer(file(b"a", mode=0o600)), layer(file(b"a/b")))
    assert names(root) == [b"a/", b"a/b"]
    assert lookup(root, b"a").mode == 0o755


@pytest.mark.parametrize(
    ("target", "place"),
    [
        (b"real", b"d/real/new"),
        (b"/real", b"real/new"),
        (b"./real/", b"d/real/new"),
        (b"../../../real", b"real/new"),
        (b"/../real", b"real/new"),
        (b"missing/deeper", b"d/missing/deeper/new"),
        (b"/", b"new"),
        (b"..", b"new"),
        (b"../hop", b"real/new"),
        (b"/real/../real/.", b"real/new"),
        (b"/real/inner", b"real/new"),
        (b"/file", b"file/new"),
        (b"/missing/../real", b"real/new"),
        (b"/file/../real", b"real/new"),
    ],
)
def test_a_symlinked_parent_is_resolved_inside_the_root(target: bytes, place: bytes) -> None:
    hops = symlink(b"hop", b"/real") + symlink(b"real/inner", b"../real")
    root = merge(
        layer(directory(b"real/"), file(b"file"), hops, symlink(b"d/link", target)), layer(file(b"d/link/new"))
    )
    assert lookup(root, place).kind is Kind.REGULAR
    assert lookup(root, b"d/link").kind is Kind.SYMLINK


@pytest.mark.parametrize("target", [b"/missing/../real", b"/file/../real"])
def test_what_a_symlink_only_passes_by_is_neither_made_nor_replaced(target: bytes) -> None:
    lower = layer(directory(b"real/"), file(b"file"), file(b"real/old"), symlink(b"link", target))
    root = merge(lower, layer(file(b"link/new"), whiteout(b"link/old")))
    assert names(root) == [b"file", b"link", b"real/", b"real/new"]


def test_chains_of_symlinks_are_followed() -> None:
    lower = layer(directory(b"usr/lib/"), symlink(b"lib", b"usr/lib"), symlink(b"a", b"b/x"), symlink(b"b", b"lib"))
    assert b"usr/lib/x/f" in names(merge(lower, layer(file(b"a/f"))))


def test_an_explicit_directory_replaces_a_symlink() -> None:
    root = merge(layer(file(b"real/f"), symlink(b"link", b"real")), layer(directory(b"link/"), file(b"link/g")))
    assert names(root) == [b"link/", b"link/g", b"real/", b"real/f"]


@pytest.mark.parametrize(
    "loop",
    [
        (symlink(b"s", b"s"),),
        (symlink(b"s", b"t"), symlink(b"t", b"s")),
        (symlink(b"s", b"/s/x"),),
        (symlink(b"s", b"./../s/."),),
    ],
)
@pytest.mark.parametrize("entry", [file(b"s/f"), directory(b"s/d"), symlink(b"s/l", b"x")])
def test_a_loop_of_symlinks_is_refused(loop: tuple[bytes, ...], entry: bytes) -> None:
    name = entry.split(b"\0", 1)[0].decode()
    refused(layer(*loop, entry), message=f"layer L0: entry '{name}': its directory 's' is a loop of symlinks")


@pytest.mark.parametrize("hide", [whiteout(b"s/f"), opaque(b"s")])
def test_a_whiteout_through_a_loop_of_symlinks_hides_nothing(hide: bytes) -> None:
    lower = layer(directory(b"a"), file(b"a/f"), symlink(b"s", b"t"), symlink(b"t", b"a"))
    expected = [b"a/", b"a/f", b"s", b"t"]
    assert names(merge(lower, layer(symlink(b"t", b"s")), layer(hide))) == expected
    assert names(merged_in_any_order(lower, symlink(b"t", b"s"), hide)) == expected


def test_forty_symlinks_are_no_loop_and_forty_one_are() -> None:
    def chain(length: int) -> bytes:
        return b"".join(symlink(b"s%d" % number, b"s%d" % (number + 1)) for number in range(length))

    assert b"s40/f" in names(merge(layer(chain(40), file(b"s0/f"))))
    refused(layer(chain(41), file(b"s0/f")), message="layer L0: entry 's0/f': its directory 's0' is a loop of symlinks")


# what a symlink's target would make is held to the rules for names


def test_a_path_is_not_too_deep_through_a_symlink() -> None:
    deep = symlink(b"s", b"d/" * 10)
    assert b"d/" * 10 + b"f" in names(merge(layer(deep, file(b"s/f")), limits=Limits(depth=11)))
    refused(
        layer(deep, file(b"s/f")),
        message="layer L0: entry 's/f': 11 directories deep through symlinks, the limit is 10;"
        " raise it with --max-depth if you trust the image",
        limits=Limits(depth=10),
        error=LimitError,
    )


TOO_LONG = "its name is too long through symlinks; a name has at most 255 bytes, a path 3840"


def test_a_directory_made_through_a_symlink_has_no_impossible_name() -> None:
    target = pax({b"linkpath": b"n" * 256})
    refused(
        layer(target, symlink(b"s", b""), file(b"s/f")), message=f"layer L0: entry 's/f': {TOO_LONG}", error=LimitError
    )


def test_a_path_is_not_too_long_through_a_symlink() -> None:
    target = pax({b"linkpath": (b"n" * 255 + b"/") * 14 + b"n" * 254})
    lower = layer(target, symlink(b"s", b""), file(b"s/f"))
    assert max(map(len, names(merge(lower)))) == 3840
    refused(lower, layer(file(b"s/ff")), message=f"layer L1: entry 's/ff': {TOO_LONG}", error=LimitError)


def test_a_directory_made_through_a_symlink_is_no_whiteout() -> None:
    refused(
        layer(symlink(b"s", b"a/.wh.b"), file(b"s/f")),
        message="layer L0: entry 's/f': it lies under a whiteout; the layer is malformed",
    )


# hardlinks


def test_a_hardlink_is_the_same_file_in_its_own_and_in_a_lower_layer() -> None:
    root = merge(layer(file(b"a", b"data", mode=0o640)), layer(hardlink(b"d/b", b"a"), hardlink(b"c", b"/./d//b")))
    assert lookup(root, b"a") is lookup(root, b"d/b") is lookup(root, b"c")
    assert lookup(root, b"c").mode == 0o640


def test_a_hardlink_to_a_symlink_is_the_symlink() -> None:
    root = merge(layer(file(b"f"), symlink(b"s", b"f"), hardlink(b"h", b"s")))
    assert lookup(root, b"h") is lookup(root, b"s")


@pytest.mark.parametrize("member", [header(b"x", b"3", device=(1, 3)), header(b"x", b"6")])
def test_a_hardlink_to_a_device_or_a_fifo(member: bytes) -> None:
    root = merge(layer(member, hardlink(b"h", b"x")))
    assert lookup(root, b"h") is lookup(root, b"x")


def test_the_directory_of_a_hardlink_s_target_may_be_a_symlink() -> None:
    root = merge(layer(file(b"usr/lib/f"), symlink(b"lib", b"/usr/lib")), layer(hardlink(b"h", b"lib/f")))
    assert lookup(root, b"h") is lookup(root, b"usr/lib/f")


def test_the_target_of_a_hardlink_may_be_whited_out_later() -> None:
    root = merge(layer(file(b"a", b"data")), layer(hardlink(b"b", b"a"), whiteout(b"a")))
    assert names(root) == [b"b"]
    assert lookup(root, b"b").size == 4


def test_a_hardlink_to_itself_changes_nothing() -> None:
    assert names(merge(layer(file(b"a", b"data"), hardlink(b"a", b"a")))) == [b"a"]


@pytest.mark.parametrize("target", ["missing", "a/missing", "f/below-a-file"])
def test_a_hardlink_to_nowhere_is_refused(target: str) -> None:
    refused(
        layer(file(b"f"), hardlink(b"h", target.encode())),
        message=f"layer L0: entry 'h': a hardlink to '{target}', which is not there",
    )


@pytest.mark.parametrize(("target", "shown"), [(b"d", "d"), (b"./", ""), (b"d/", "d")])
def test_a_hardlink_to_a_directory_is_refused(target: bytes, shown: str) -> None:
    refused(
        layer(directory(b"d/"), hardlink(b"h", target)),
        message=f"layer L0: entry 'h': a hardlink to '{shown or '/'}', which is a directory",
    )


def test_a_hardlink_through_a_loop_is_refused_by_its_own_name() -> None:
    refused(
        layer(symlink(b"s", b"s"), hardlink(b"h", b"s/f")),
        message="layer L0: entry 'h': its directory 's' is a loop of symlinks",
    )


# limits


def test_the_entry_limit_counts_all_layers() -> None:
    one = layer(file(b"a"), file(b"b"))
    merge(one, one, limits=Limits(entries=4))
    refused(
        one,
        one,
        message="layer L1: more than 3 entries in the image, the limit; raise it with --max-entries if you trust the"
        " image",
        limits=Limits(entries=3),
        error=LimitError,
    )


def test_the_entry_limit_counts_directories_that_no_entry_describes() -> None:
    merge(layer(file(b"a/b/c/d")), limits=Limits(entries=4))
    refused(
        layer(file(b"a/b/c/d")),
        message="layer L0: more than 3 entries in the image, the limit; raise it with --max-entries if you trust the"
        " image",
        limits=Limits(entries=3),
        error=LimitError,
    )


def test_the_size_limit_counts_what_sparse_files_declare() -> None:
    def sparse(name: bytes) -> bytes:
        records = {b"GNU.sparse.size": b"1000", b"GNU.sparse.map": b"", b"GNU.sparse.name": name}
        return pax(records) + file(b"x")

    merge(layer(sparse(b"a")), layer(sparse(b"b")), limits=Limits(total_size=2000))
    refused(
        layer(sparse(b"a")),
        layer(sparse(b"b")),
        message="layer L1: entry 'b': more than 1999 bytes of files in the image, the limit;"
        " raise it with --max-size if you trust the image",
        limits=Limits(total_size=1999),
        error=LimitError,
    )


def test_a_raised_depth_limit_is_one_that_works() -> None:
    path = b"/".join([b"d"] * 1900)
    lower = layer(pax({b"path": path + b"/f"}), file(b"x"))
    assert len(names(merge(lower, layer(opaque()), limits=Limits(depth=5000)))) == 0
    upper = layer(pax({b"path": path + b"/g"}), file(b"x"), whiteout(b"d"))
    assert len(names(merge(lower, upper, limits=Limits(depth=5000)))) == 1901


LOWER = layer(directory(b"a"), file(b"a/f"), directory(b"b"), file(b"b/f"), symlink(b"s", b"/b"))


@pytest.mark.parametrize("hide", [whiteout(b"a/f"), opaque(b"a")])
@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_does_not_follow_a_symlink_of_its_own_layer(hide: bytes, *, first: bool) -> None:
    link = symlink(b"a", b"/b")
    members = [hide, link] if first else [link, hide]
    assert names(merge(LOWER, layer(*members))) == [b"a", b"b/", b"b/f", b"s"]


@pytest.mark.parametrize("hide", [whiteout(b"s/f"), opaque(b"s")])
@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_does_not_follow_a_symlink_that_its_layer_replaces(hide: bytes, *, first: bool) -> None:
    link = symlink(b"s", b"b")
    members = [hide, link] if first else [link, hide]
    assert b"b/f" in names(merge(LOWER, layer(*members)))


@pytest.mark.parametrize("hide", [whiteout(b"s/f"), opaque(b"s")])
def test_a_whiteout_follows_a_symlink_of_a_lower_layer(hide: bytes) -> None:
    assert names(merge(LOWER, layer(hide, file(b"s/new")))) == [b"a/", b"a/f", b"b/", b"b/new", b"s"]


def test_a_character_device_0_0_is_overlayfs_own_whiteout() -> None:
    gone = header(b"f", b"3", device=(0, 0))
    below = layer(file(b"f"), file(b"kept"))
    assert names(merge(below, layer(gone))) == [b"kept"]
    assert names(merge(below, layer(file(b"f"), gone))) == [b"kept"]
    assert names(merge(below, layer(gone, file(b"f", b"new")))) == [b"f", b"kept"]
    assert names(merge(below, layer(gone), layer(file(b"f")))) == [b"f", b"kept"]
    block = header(b"f", b"4", device=(0, 0))
    assert lookup(merge(below, layer(block)), b"f").kind is Kind.BLOCK


def test_a_file_of_aufs_is_what_its_hardlinks_are() -> None:
    root = merge(
        layer(
            directory(b".wh..wh.plnk"),
            file(b".wh..wh.plnk/1.2", b"shared", mode=0o755),
            hardlink(b"a", b".wh..wh.plnk/1.2"),
            hardlink(b"b", b"./.wh..wh.plnk/1.2"),
        )
    )
    assert names(root) == [b"a", b"b"]
    assert content(lookup(root, b"a")) == b"shared"
    assert lookup(root, b"a") is lookup(root, b"b")


def test_a_file_of_aufs_belongs_to_its_layer() -> None:
    refused(
        layer(file(b".wh..wh.plnk/1.2")),
        layer(hardlink(b"a", b".wh..wh.plnk/1.2")),
        message="layer L1: entry 'a': a hardlink to '.wh..wh.plnk/1.2', which is not there",
    )


@pytest.mark.parametrize("name", [b".wh..wh.aufs", b".wh..wh.orph/x", b".wh..wh.plnk/1.2", b".wh..wh..opq/x"])
def test_names_of_aufs_are_no_files_and_hide_nothing(name: bytes) -> None:
    assert names(merge(layer(file(b"wh.aufs"), file(b"f")), layer(file(name)))) == [b"f", b"wh.aufs"]
