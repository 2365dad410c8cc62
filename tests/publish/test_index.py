"""The index of deltas: what is written is read, and what no publisher writes is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compression import compress
from nixoci.errors import DocumentError, NixociError, UnsupportedVersionError
from nixoci.nix_store.hashes import NIX32, to_sri
from nixoci.publish.index import (
    MAX_INDEX,
    PUBLISHED_NAME,
    VERSION,
    Index,
    PublishedDelta,
    PublishedNarinfos,
    Release,
)
from nixoci.publish.path_set import encode, member
from tests.support.pages import block

NAME = f"{'a' * 32}-app-1.0"
DELTA = {"from": [NAME], "size": 5, "sha256": to_sri(bytes(32)), "download": 9}
PATHS = encode(map(member, ("a" * 32, "b" * 32)))
NARINFOS = {"size": 7, "sha256": to_sri(bytes(32))}
VALUE = {"version": 1, "releases": [{"to": [NAME], "paths": PATHS, "deltas": [DELTA], "narinfos": NARINFOS}]}

hash_parts = st.text(NIX32, min_size=32, max_size=32)
names = st.builds(lambda start, name: f"{start}-{name}", hash_parts, st.text("abc-1.", min_size=1, max_size=9))
deltas = st.builds(
    PublishedDelta,
    bases=st.lists(names, min_size=1, max_size=3),
    size=st.integers(0, 1 << 62),
    sha256=st.binary(min_size=32, max_size=32).map(to_sri),
    download=st.integers(0, 1 << 62),
)
releases = st.builds(
    Release,
    roots=st.lists(names, min_size=1, max_size=3),
    paths=st.lists(hash_parts.map(member), max_size=5).map(encode),
    deltas=st.lists(deltas, max_size=3),
    narinfos=st.none()
    | st.builds(
        PublishedNarinfos, size=st.integers(0, 1 << 62), sha256=st.binary(min_size=32, max_size=32).map(to_sri)
    ),
)


def parse(value: Any) -> Index:
    return Index.parse(json.dumps(value).encode(), what="it")


@given(st.lists(releases, max_size=4))
def test_an_index_is_read_as_it_was_written(releases: list[Release]) -> None:
    index = Index(version=VERSION, releases=releases)
    again = Index.parse(index.render(), what="it")
    assert again == index
    for release in again.releases:
        assert len(release.files) == len(release.deltas) + (release.narinfos is not None)
        for file in release.files:
            assert PUBLISHED_NAME.fullmatch(file)


def test_a_release_knows_the_paths_that_it_makes() -> None:
    (release,) = parse(VALUE).releases
    assert [release.makes(letter * 32) for letter in "abc"] == [True, True, False]
    assert [release.is_root(letter * 32) for letter in "abc"] == [True, False, False]


def changed(*keys: Any, to: Any) -> Any:
    value = json.loads(json.dumps(VALUE))
    inner = value
    for each in keys[:-1]:
        inner = inner[each]
    inner[keys[-1]] = to
    return value


_DELTA = ("releases", 0, "deltas", 0)
_NARINFOS = ("releases", 0, "narinfos")


def without(*keys: Any) -> Any:
    value = json.loads(json.dumps(VALUE))
    inner = value
    for each in keys[:-1]:
        inner = inner[each]
    del inner[keys[-1]]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "it: expected an object, got []"),
        (changed("more", to=1), "it: unknown key 'more'"),
        (without("version"), "it: version: is missing"),
        (without(*_DELTA, "size"), "it: releases[0].deltas[0]: key 'size' is missing"),
        (changed(*_DELTA, "more", to=1), "it: releases[0].deltas[0]: unknown key 'more'"),
        (changed(*_DELTA, to=None), "it: releases[0].deltas[0]: expected an object, got null"),
        (changed(*_DELTA, "from", to=[1]), "it: releases[0].deltas[0].from[0]: expected a string, got 1"),
        (changed(*_DELTA, "size", to=True), "it: releases[0].deltas[0].size: expected an integer, got true"),
        (changed("releases", 0, "paths", to=7), "it: releases[0].paths: expected a string, got 7"),
        (changed("releases", to=None), "it: releases: expected a list, got null"),
        (changed("releases", 0, "paths", to=""), "it: releases[0].paths: expected a set of paths (no size of"),
        (changed("releases", 0, "paths", to="E"), "it: releases[0].paths: expected a set of paths ("),
        (changed("releases", 0, "to", to=[]), "it: releases[0].to: expected names of store paths"),
        (changed("releases", 0, "to", to=["../x"]), "it: releases[0].to: expected <hash>-<name>, got '../x'"),
        (changed(*_DELTA, "from", to=[f"{NAME}/x"]), "it: releases[0].deltas[0].from: expected <hash>-<name>"),
        (changed(*_DELTA, "size", to=-1), "it: releases[0].deltas[0].size: expected a number of bytes, got '-1'"),
        (changed(*_DELTA, "download", to=1 << 63), "it: releases[0].deltas[0].download: expected a number of bytes"),
        (changed(*_DELTA, "sha256", to="md5-x"), "it: releases[0].deltas[0].sha256: expected sha256-<base64>"),
        (changed(*_NARINFOS, to=[]), "it: releases[0].narinfos: expected an object, got []"),
        (changed(*_NARINFOS, "size", to=-1), "it: releases[0].narinfos.size: expected a number of bytes, got '-1'"),
        (changed(*_NARINFOS, "sha256", to="x"), "it: releases[0].narinfos.sha256: expected sha256-<base64>, got 'x'"),
    ],
)
def test_what_no_publisher_writes_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(value)
    assert str(caught.value).startswith(message)


def large(letter: str, paths: int) -> Release:
    """Return a release whose set of paths takes some 1.3 bytes for each."""
    return Release(roots=[f"{letter * 32}-app"], paths=_members(paths), deltas=[PublishedDelta(**_of_delta())])


@cache
def _members(paths: int) -> str:
    return encode(range(0, 8 * paths, 8))


def _of_delta() -> dict[str, Any]:
    return {"bases": [NAME], "size": 5, "sha256": to_sri(bytes(32)), "download": 9}


def test_the_oldest_releases_go_if_a_reader_would_refuse_all() -> None:
    releases = [large(letter, 100_000) for letter in "abcdfghijklmnpqrs"]
    kept = Index(version=VERSION, releases=releases).fitting()
    assert 2 < len(kept.releases) < len(releases)
    assert kept.releases == releases[: len(kept.releases)]
    assert Index.parse(kept.render(), what="it") == kept
    one_more = Index(version=VERSION, releases=releases[: len(kept.releases) + 1])
    with pytest.raises(DocumentError):
        Index.parse(one_more.render(), what="it")
    assert kept.fitting() == kept


def test_a_release_that_no_reader_would_take_is_refused() -> None:
    release = Release(roots=[f"{'a' * 32}-{number}" for number in range(30_000)], paths=PATHS, deltas=[])
    with pytest.raises(DocumentError, match=r"alone takes more than the 1048576 bytes of an index"):
        Index(version=VERSION, releases=[release]).fitting()


def test_the_index_of_the_documentation() -> None:
    (release,) = Index.parse(block("docs/substituter.md", '{ "version": 1').text.encode(), what="it").releases
    assert all(release.makes(root) for root in release.roots)
    (delta,) = release.deltas
    assert delta.pays


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (compress(b" " * (MAX_INDEX + 1)), "its zstd stream needs too much memory"),
        (
            compress(b" " * MAX_INDEX) * 2,
            "larger than 1048576 bytes; remove deltas/index.json.zst from the cache, then publish again$",
        ),
    ],
)
def test_a_small_file_is_no_large_index(bomb: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=f"^it: {message}"):
        Index.parse(bomb, what="it")


@pytest.mark.parametrize("end", [10, 60])
def test_a_part_of_it_is_none(end: int) -> None:
    with pytest.raises(
        DocumentError,
        match=r"^it: cannot be decompressed: .*; remove deltas/index.json.zst from the cache, then publish again$",
    ):
        Index.parse(compress(json.dumps(VALUE).encode(), 3)[:end], what="it")


def test_a_later_version_is_named() -> None:
    with pytest.raises(UnsupportedVersionError, match=r"^it: version 2, this nixoci reads 1; update it$"):
        parse({"version": 2, "anything": []})


@given(st.binary() | st.builds(lambda at, by: json.dumps(VALUE).encode()[:at] + by, st.integers(0, 300), st.binary()))
def test_anything_else_is_one_kind_of_error(data: bytes) -> None:
    with suppress(NixociError):
        assert Index.parse(data, what="it").version == VERSION
