import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.pairing import Candidate, OldNames, OldTrees, choose_predecessors, package_name
from nixoci.delta.plan import plan_delta
from nixoci.delta.scan import Scanned
from nixoci.nix_store.path import STORE_DIR, PathInfo
from tests.delta.trees import closure, store_path


@pytest.mark.parametrize(
    ("name", "package"),
    [("nginx-1.27", "nginx"), ("nginx", "nginx"), ("python3.12-pip-24", "python3.12-pip"), ("gtk+3-3.24-dev", "gtk+3")],
)
def test_the_name_of_a_package_has_no_version(name: str, package: str) -> None:
    assert package_name(store_path(name, "a")) == package


@pytest.mark.parametrize(
    ("old", "found"),
    [
        (["app-1.27", "app-1.26", "app"], ["app-1.27"]),
        (["app-1.26", "app-2.1", "app-1.26-dev"], ["app-1.26", "app-2.1"]),
        (["app-1", "app-1.26-dev", "apple-1.27"], ["app-1", "app-1.26-dev"]),
        (["apple-1.27"], []),
    ],
)
def test_older_versions_are_found_by_name(old: list[str], found: list[str]) -> None:
    names = OldNames(store_path(name, "a") for name in old)
    assert names.versions(store_path("app-1.27", "b")).paths == sorted(store_path(name, "a") for name in found)


def test_each_path_has_a_predecessor_of_its_own() -> None:
    def info(letter: str, size: int) -> PathInfo:
        return PathInfo(path=store_path("app", letter), nar_hash="", nar_size=size)

    old = {each.path: each for each in (info("a", 100), info("b", 200), info("c", 300))}
    kept = {store_path("app", "c")}
    new = [info("x", 290), info("y", 290), info("z", 290)]
    names = OldNames(old)
    chosen = choose_predecessors(new, old, names, kept)
    assert chosen == [store_path("app", letter) for letter in "bac"]
    other = PathInfo(path=store_path("other", "x"), nar_hash="", nar_size=1)
    assert choose_predecessors([other], old, names, kept) == [None]


SIZES = st.lists(st.integers(0, 4), max_size=9)


@given(SIZES, SIZES, st.sets(st.integers(0, 8)))
def test_a_predecessor_is_free_then_replaced_then_of_the_nearest_size(
    old_sizes: list[int], sizes: list[int], kept_numbers: set[int]
) -> None:
    old = {info.path: info for number, size in enumerate(old_sizes) for info in [numbered(number, size)]}
    kept = {numbered(number, 0).path for number in kept_numbers}
    new = [numbered(99 + number, size) for number, size in enumerate(sizes)]
    chosen = choose_predecessors(new, old, OldNames(old), kept)
    taken: set[str] = set()
    for info, found in zip(new, chosen, strict=True):
        best = min(
            old,
            key=lambda path: (path in taken, path in kept, abs(old[path].nar_size - info.nar_size), path),
            default=None,
        )
        assert found == best
        taken |= {found} if found is not None else set()


@given(
    st.lists(st.dictionaries(st.sampled_from([b"a1", b"a2", b"d/a3", b"b"]), st.integers(0, 4)), max_size=5),
    st.sampled_from([b"a1", b"a9", b"b", b"c"]),
    st.integers(0, 4),
    st.lists(st.integers(0, 4), unique=True),
)
def test_the_older_version_of_a_file_is_at_its_path_or_of_its_name_and_nearest_size(
    trees: list[dict[bytes, int]], path: bytes, size: int, numbers: list[int]
) -> None:
    paired = [number for number in numbers if number < len(trees)]
    index = OldTrees([(Path(), tree(files)) for files in trees])
    at_path = [Candidate(base, path, trees[base][path]) for base in paired if trees[base].get(path)]
    named = [
        Candidate(base, other, found)
        for base, files in enumerate(trees)
        for other, found in files.items()
        if found and other.rpartition(b"/")[2].rstrip(b"0123456789") == path.rstrip(b"0123456789")
    ]
    named.sort(key=lambda file: (file.base not in paired, abs(file.size - size), file.base, file.path))
    assert index.file_predecessor(path, size, paired) == next(iter([*at_path, *named]), None)


def test_the_work_does_not_grow_faster_than_the_paths_of_one_name(tmp_path: Path) -> None:
    def plan(count: int) -> Callable[[], object]:
        """Return the planning of an update of as many paths that have the same name, as have files in them."""
        stores = [tmp_path / f"{count}-{version}" for version in range(2)]
        made = []
        for version, real in enumerate(stores):
            real.mkdir()
            made.append(
                closure(
                    real,
                    {
                        numbered(version * 1000 + number, 0).path: {
                            b"module-%d" % (2 * number + version): b"%d of %d" % (version, number) * 9
                        }
                        for number in range(count)
                    },
                )
            )
        return lambda: plan_delta(*made, similar=False)

    few, many = plan(40), plan(160)
    few()  # what happens only once does not count
    assert calls(many) < 6 * calls(few)


HEX, LINK, NIX = (
    ["1e5eab7f4ebbb432cc291a6d1108580080ba86880b654c0885510ebe622c77c5", "d6" * 32],
    ["FZ2ODCJBNJFRCMT7QLAM4SLGOD", "ENWLJDWALUWYYTWAZCWA64ZFM7"],
    ["54z4q9whbban63hd41h7cj5zcsrqkvlb", "2z3n8xfj6g5dklb58whbf7jw15yjnj40"],
)


@pytest.mark.parametrize(
    "names",
    [
        [f"overlay-layers/{digest}.tar-split.gz" for digest in HEX],
        [f"overlay/{digest}/link" for digest in HEX],
        [f"overlay/l/{link}" for link in LINK],
        [f"gcroots/{digest}-name" for digest in NIX],
        [f"lib/{digest[:40]}.debug" for digest in HEX],
    ],
)
def test_a_name_may_be_the_digest_of_a_content(names: list[str]) -> None:
    """Image stores name layers by digests, so that each version of an image has other names."""
    old, new = (name.encode() for name in names)
    index = OldTrees([(Path(), tree({b"other": 3, old: 3}))])
    assert index.file_predecessor(new, 3, [0]) == Candidate(0, old, 3)


def test_a_directory_may_have_the_digest_of_a_content_as_its_name() -> None:
    old, new = (f"overlay/{digest}".encode() for digest in HEX)
    index = OldTrees([(Path(), tree({old + b"/composefs.blob": 3}))])
    assert index.directory(Scanned(b"d"), new, [0]) == Candidate(0, old, 0)


def test_of_several_directories_that_digests_name_the_most_alike_is_taken() -> None:
    """Images of one store have the same files of metadata, each in a directory of its layer."""
    first, second, third, new = (b"overlay/" + digest * 32 for digest in (b"1a", b"2b", b"3c", b"4d"))
    files = {first + b"/data/blob": 10, second + b"/data/blob": 300, third + b"/data/blob": 310, third + b"/link": 1}
    index = OldTrees([(Path(), tree(files))])

    def found(*sizes: int) -> bytes:
        names = zip((b"data/blob", b"link"), sizes, strict=False)
        top = tree({new + b"/" + name: size for name, size in names}).children[b"overlay"]
        directory = index.directory(top.children[new.rsplit(b"/", 1)[1]], new, [0])
        assert directory is not None
        return directory.path

    assert (found(20), found(290), found(400)) == (first, second, second)
    assert found(20, 1) == third, "it has the same names"


def test_a_digest_for_a_name_does_not_hide_the_file_that_is_alike(tmp_path: Path) -> None:
    """A repository of ostree has thousands of files, each named by the digest of its content."""
    one, other, new = (f"{digest * 32}.file".encode() for digest in ("1a", "2b", "3c"))
    lines, others = ([b"%x" % (number * factor) for number in range(1 << 36, (1 << 36) + 400)] for factor in (77, 99))
    grown = [*lines, b"a line that is new"]
    texts = {one: b"\n".join(lines), other: b"\n".join([*others, b"another line that is here"])}
    old = closure(tmp_path, {store_path("repo-1", "a"): texts})
    after = closure(tmp_path, {store_path("repo-2", "b"): {new: b"\n".join(grown), **texts}})
    (content,) = plan_delta(old, after, similar=False).contents
    assert content.predecessor == Candidate(0, other, len(texts[other])), "the nearest in size"
    (content,) = plan_delta(
        old, closure(tmp_path, {store_path("repo-3", "c"): {new: b"\n".join(grown)}}), similar=True
    ).contents
    assert content.predecessor == Candidate(0, one, len(texts[one]))


def test_a_digest_for_a_name_leads_to_a_file_that_nothing_is_alike(tmp_path: Path) -> None:
    one, other, new = (f"{digest * 32}.gz".encode() for digest in ("1a", "2b", "3c"))
    noise = {one: random.Random(1).randbytes(2000), other: random.Random(2).randbytes(5000)}
    old = closure(tmp_path, {store_path("cache-1", "a"): noise})
    after = closure(tmp_path, {store_path("cache-2", "b"): {new: random.Random(3).randbytes(4900)}})
    (content,) = plan_delta(old, after, similar=True).contents
    assert content.predecessor == Candidate(0, other, 5000)


def test_words_are_no_digests() -> None:
    index = OldTrees([(Path(), tree({b"an/ABSOLUTE": 3, b"an/abcdef": 3}))])
    assert index.file_predecessor(b"an/RELATIVE", 3, [0]) is None
    assert index.file_predecessor(b"an/fedcba", 3, [0]) is None


def numbered(number: int, size: int) -> PathInfo:
    return PathInfo(path=f"{STORE_DIR}/{number:032}-app", nar_hash="", nar_size=size)


def tree(files: dict[bytes, int]) -> Scanned:
    top = Scanned(b"d")
    for path, size in sorted(files.items()):
        node = top
        *folders, name = path.split(b"/")
        for folder in folders:
            node = node.children.setdefault(folder, Scanned(b"d", digest=path))
            node.total += size
        node.children[name] = Scanned(b"f", size=size, segments=(path,), digest=path)
    return top


def calls(function: Callable[[], object]) -> int:
    """Return the number of calls of functions of any kind that a call makes on this thread."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count
