"""Descriptions of paths in binary caches, as Nix writes and reads them (src/libstore/nar-info.cc)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.nix_store.narinfo import NarInfo, read_signatures, render_unavailable
from nixoci.nix_store.path import PathInfo

SRI = "sha256-EFUdrtf6Rn0LWIJufrmg8q99aT3jGfLvd1//zaJEufY="
PATH = f"/nix/store/{'a' * 32}-app-1.0"
WHOLE = f"""StorePath: {PATH}
URL: nar/0xyz.nar.zst
Compression: zstd
FileHash: sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h
FileSize: 70
NarHash: sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h
NarSize: 120
References: {"b" * 32}-lib-2.0 {"a" * 32}-app-1.0
Deriver: {"c" * 32}-app-1.0.drv
Sig: cache-1:c2lnbmF0dXJl
Sig: other-1:c2lnbmF0dXJl
CA: fixed:r:sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h
"""


def parse(text: str) -> NarInfo:
    return NarInfo.parse(text.encode(), what="it")


def test_the_facts_that_are_needed() -> None:
    info = parse(WHOLE)
    assert (info.path, info.url, info.compression) == (PATH, "nar/0xyz.nar.zst", "zstd")
    assert (info.nar_hash, info.nar_size, info.file_size) == (SRI, 120, 70)


@pytest.mark.parametrize("other", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_line_ends_at_a_line_feed_only(other: str) -> None:
    """Nix ends it there; another text between the keys would be one that nobody signed."""
    lines = WHOLE.replace("Sig: cache-1:", f"Sig: x{other}URL: elsewhere{other}Compression: none{other}:")
    info = parse(lines)
    assert (info.url, info.compression) == ("nar/0xyz.nar.zst", "zstd")
    assert f"Sig: x{other}URL: elsewhere{other}Compression: none{other}:c2lnbmF0dXJl\n" in info.from_url("u").decode()


def test_a_cache_may_leave_out_what_is_no_fact_about_the_path() -> None:
    info = parse("".join(f"{line}\n" for line in WHOLE.splitlines() if line[:4] not in {"File", "Comp"}))
    assert (info.compression, info.file_size) == ("bzip2", 120), "bzip2 is Nix's default"


def test_another_address_leaves_everything_that_is_signed() -> None:
    moved = parse(WHOLE).from_url("elsewhere/1.nar").decode()
    kept = [
        line for line in WHOLE.splitlines() if line.split(":")[0] not in {"URL", "Compression", "FileHash", "FileSize"}
    ]
    assert sorted(moved.splitlines()) == sorted([*kept, "URL: elsewhere/1.nar", "Compression: none"])
    again = NarInfo.parse(moved.encode(), what="it")
    assert (again.url, again.compression, again.nar_hash, again.others) == (
        "elsewhere/1.nar",
        "none",
        SRI,
        parse(WHOLE).others,
    )


def test_a_path_is_described_as_in_a_binary_cache() -> None:
    described = PathInfo(
        path=PATH,
        nar_hash=SRI,
        nar_size=120,
        references=(f"/nix/store/{'b' * 32}-lib-2.0", PATH),
        signatures=("cache-1:c2lnbmF0dXJl", "other-1:c2lnbmF0dXJl"),
        content_address="fixed:r:sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h",
    )
    text = render_unavailable(described)
    left_out = {"URL", "Compression", "FileHash", "FileSize", "Deriver"}
    kept = [line for line in WHOLE.splitlines() if line.split(":")[0] not in left_out]
    assert text.splitlines() == [kept[0], "URL: none", "Compression: none", f"File{kept[1][3:]}", *kept[1:]]
    assert read_signatures(text) == described.signatures
    info = parse(text)
    assert (info.path, info.nar_hash, info.nar_size) == (PATH, SRI, 120)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("StorePath: ", "Path: ", "'StorePath'"),
        (PATH, "/nix/store/x", "'/nix/store/x'"),
        ("URL: ", "Url: ", "'URL'"),
        ("NarSize: 120", "NarSize: 0", "NarSize is 0"),
        ("NarSize: 120", "NarSize: -1", "'-1' is not a size"),
        ("NarSize: 120", "NarSize: \N{ARABIC-INDIC DIGIT ONE}", "is not a size"),
        ("FileSize: 70", "FileSize: 7e1", "'7e1' is not a size"),
        ("NarHash: sha256:1", "NarHash: md5:1", "not a SHA-256"),
        ("Deriver: ", "Deriver ", "line 9 has no colon"),
    ],
)
def test_what_is_no_narinfo_is_refused(before: str, after: str, found: str) -> None:
    with pytest.raises(StoreError) as caught:
        parse(WHOLE.replace(before, after, 1))
    assert found in str(caught.value)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.builds(lambda at, by: WHOLE.encode()[:at] + by, st.integers(0, 600), st.binary())
)
def test_anything_else_is_one_kind_of_error(data: bytes) -> None:
    with suppress(StoreError):
        info = NarInfo.parse(data, what="it")
        assert NarInfo.parse(info.from_url("x"), what="it").others == info.others
