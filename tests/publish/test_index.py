"""The index of deltas: what is written is read, and what no publisher writes is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import DocumentError, NixociError, UnsupportedVersionError
from nixoci.nix_store.hashes import NIX32, to_sri
from nixoci.publish.index import DELTA_NAME, DIGITS, VERSION, Index, PublishedDelta, Release
from tests.support.pages import block

NAME = f"{'a' * 32}-app-1.0"
DELTA = {"from": [NAME], "size": 5, "sha256": to_sri(bytes(32)), "download": 9}
VALUE = {"version": 1, "releases": [{"to": [NAME], "paths": "aaaaabbbbb", "deltas": [DELTA]}]}

digits = st.text(NIX32, min_size=DIGITS, max_size=DIGITS)
names = st.builds(lambda start, name: f"{start:a<32}-{name}", digits, st.text("abc-1.", min_size=1, max_size=9))
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
    paths=st.lists(digits, max_size=5).map(sorted).map("".join),
    deltas=st.lists(deltas, max_size=3),
)


def parse(value: Any) -> Index:
    return Index.parse(json.dumps(value).encode(), what="it")


@given(st.lists(releases, max_size=4))
def test_an_index_is_read_as_it_was_written(releases: list[Release]) -> None:
    index = Index(version=VERSION, releases=releases)
    again = Index.parse(index.render().encode(), what="it")
    assert again == index
    for release in again.releases:
        starts = [release.paths[at : at + DIGITS] for at in range(0, len(release.paths), DIGITS)]
        assert all(release.makes(f"{start:a<32}") for start in starts)
        for delta in release.deltas:
            assert DELTA_NAME.fullmatch(delta.file)


def test_a_release_knows_the_paths_that_it_makes() -> None:
    (release,) = parse(VALUE).releases
    assert [release.makes(letter * 32) for letter in "abc"] == [True, True, False]
    assert not release.makes("abbbb" + "a" * 27), "the digits of two paths are no path"


def changed(*keys: Any, to: Any) -> Any:
    value = json.loads(json.dumps(VALUE))
    inner = value
    for each in keys[:-1]:
        inner = inner[each]
    inner[keys[-1]] = to
    return value


_DELTA = ("releases", 0, "deltas", 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "it: expected an object, got []"),
        (changed("more", to=1), "it: unknown key 'more'"),
        (changed("releases", to=None), "it: releases: expected a list, got null"),
        (changed("releases", 0, "paths", to="aaaab2"), "it: releases[0].paths: expected the first 5 digits"),
        (changed("releases", 0, "paths", to="aaaae"), "it: releases[0].paths: expected the first 5 digits"),
        (changed("releases", 0, "to", to=[]), "it: releases[0].to: expected names of store paths"),
        (changed("releases", 0, "to", to=["../x"]), "it: releases[0].to: expected <hash>-<name>, got '../x'"),
        (changed(*_DELTA, "from", to=[f"{NAME}/x"]), "it: releases[0].deltas[0].from: expected <hash>-<name>"),
        (changed(*_DELTA, "size", to=-1), "it: releases[0].deltas[0].size: expected a number of bytes, got '-1'"),
        (changed(*_DELTA, "download", to=1 << 63), "it: releases[0].deltas[0].download: expected a number of bytes"),
        (changed(*_DELTA, "sha256", to="md5-x"), "it: releases[0].deltas[0].sha256: expected sha256-<base64>"),
    ],
)
def test_what_no_publisher_writes_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(value)
    assert str(caught.value).startswith(message)


def test_the_index_of_the_documentation() -> None:
    (release,) = Index.parse(block("docs/substituter.md", '{ "version": 1').text.encode(), what="it").releases
    assert all(release.makes(root) for root in release.roots)
    (delta,) = release.deltas
    assert delta.pays


def test_a_later_version_is_named() -> None:
    with pytest.raises(UnsupportedVersionError, match=r"^it: version 2, this nixoci reads 1; update it$"):
        parse({"version": 2, "anything": []})


@given(st.binary() | st.builds(lambda at, by: json.dumps(VALUE).encode()[:at] + by, st.integers(0, 300), st.binary()))
def test_anything_else_is_one_kind_of_error(data: bytes) -> None:
    with suppress(NixociError):
        assert Index.parse(data, what="it").version == VERSION
