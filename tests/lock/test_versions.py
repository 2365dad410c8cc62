from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from nixoci.lock.versions import newer_tags

NGINX = [
    "latest",
    "stable",
    "alpine",
    "1",
    "1.26",
    "1.27",
    "1.28",
    "1.27.5",
    "1.28.0",
    "1.28.1",
    "1.28.0-rc1",
    "1.27-alpine",
    "1.28-alpine",
    "1.28-alpine3.20",
    "1.28.1-alpine",
    "mainline",
    "1.29-perl",
]


@pytest.mark.parametrize(
    ("current", "tags", "expected"),
    [
        ("1.27", NGINX, ["1.28"]),
        ("1.27.5", NGINX, ["1.28.0", "1.28.1"]),
        ("1.27-alpine", NGINX, ["1.28-alpine"]),
        ("1.27-alpine3.19", NGINX, []),
        ("1", NGINX, []),
        ("latest", NGINX, []),
        ("1.28", NGINX, []),
        ("9.9", ["9.10", "10.0", "9.8"], ["9.10", "10.0"]),
        ("16-bookworm", ["17-bookworm", "18-trixie", "17"], ["17-bookworm"]),
        ("v2.53.0", ["v2.54.0", "2.55.0", "v2.54.1-rc.0", "v3"], ["v2.54.0"]),
        ("7", ["8", "20240115", "2024"], ["8"]),
        ("2023.1", ["2024.1", "2023.1.1"], ["2024.1"]),
        ("20240115", ["20250301", "24"], ["20250301"]),
        ("1.28.0-rc1", ["1.28.0-rc2", "1.28.0", "1.27.9"], ["1.28.0-rc2", "1.28.0"]),
        ("1.28.0-beta.2-alpine", ["1.28.0-beta.3-alpine", "1.28.0-beta.3"], ["1.28.0-beta.3-alpine"]),
        ("1.22.1", ["1.22.1-1", "1.22.1-2"], ["1.22.1-1", "1.22.1-2"]),
        ("1.22.1-1", ["1.22.1", "1.22.1-2", "1.22.2"], ["1.22.1-2", "1.22.2"]),
        ("", ["1"], []),
    ],
)
def test_tags_of_the_same_kind_by_version(current: str, tags: list[str], expected: list[str]) -> None:
    assert newer_tags(current, tags) == expected


releases = st.tuples(*[st.integers(0, 99)] * 3).map(lambda parts: ".".join(map(str, parts)))


@given(releases, st.lists(releases, unique=True), st.sampled_from(["", "-alpine", "-slim-bookworm"]))
def test_the_same_kind_is_ordered_by_version_alone(current: str, others: list[str], flavor: str) -> None:
    found = newer_tags(current + flavor, [other + flavor for other in others])
    expected = sorted((other for other in others if Version(other) > Version(current)), key=Version)
    assert found == [other + flavor for other in expected]


@given(st.text(max_size=20), st.lists(st.text(max_size=20)))
def test_no_text_breaks_it(current: str, tags: list[str]) -> None:
    assert set(newer_tags(current, tags)) <= set(tags)


@pytest.mark.parametrize("tag", ["9" * 5000, "1." + "9" * 5000, "1.0-rc" + "9" * 5000, "2-" + "x" * 127])
def test_a_text_that_is_too_long_for_a_tag_is_none(tag: str) -> None:
    assert newer_tags("1", [tag]) == newer_tags("1.0", [tag]) == newer_tags(tag, ["2.0"]) == []


tag_texts = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,15}", fullmatch=True)


@given(tag_texts, st.lists(tag_texts))
def test_no_tag_breaks_it(current: str, tags: list[str]) -> None:
    newer = newer_tags(current, tags)
    assert current not in newer
    assert all(current not in newer_tags(tag, [current]) for tag in newer)
