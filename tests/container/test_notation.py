from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.container.notation import Ulimit, timezone, ulimit, user_namespace
from nixoci.errors import ContainerError

NUMBERS = st.integers(min_value=-1, max_value=2**63 - 1)


def podmans(text: str) -> tuple[int, int] | None:
    """Return the soft and the hard limit that podman reads (docker/go-units ulimit.go), None for an error."""
    parts = text.split(":")
    if len(parts) > 2 or not all(re.fullmatch(r"-?[0-9]+", part) for part in parts):
        return None
    soft, hard = int(parts[0]), int(parts[-1])
    if hard != -1 and (soft == -1 or soft > hard):
        return None
    return soft, hard


@given(soft=NUMBERS, hard=NUMBERS)
def test_a_limit_is_read_as_podman_reads_it(soft: int, hard: int) -> None:
    text = f"{soft}:{hard}"
    if podmans(text) is None:
        with pytest.raises(ContainerError, match=r"^o: the soft limit of "):
            ulimit("o", "nofile", text)
    else:
        assert ulimit("o", "nofile", text) == Ulimit("nofile", soft, hard)


@given(NUMBERS)
def test_one_number_is_both_limits(number: int) -> None:
    assert ulimit("o", "core", number) == ulimit("o", "core", str(number)) == Ulimit("core", number, number)


@given(st.text(alphabet="0123456789:- +x", max_size=24))
def test_what_is_read_is_what_podman_reads(text: str) -> None:
    with suppress(ContainerError):
        limit = ulimit("o", "nproc", text)
        assert (limit.soft, limit.hard) == podmans(text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("files", 1, "o: no limit 'files'; podman has core, "),
        ("nofile", "many", "o: 'many' is not a limit"),
        ("nofile", -2, "o: -2 is not a limit"),
        ("nofile", "1:2:3", "o: '1:2:3' is not a limit"),
        ("nofile", 2**63, f"o: {2**63} is beyond"),
        ("nofile", "-1:5", "o: the soft limit of '-1:5' is above the hard one"),
    ],
)
def test_another_limit_is_refused(name: str, value: int | str, message: str) -> None:
    with pytest.raises(ContainerError) as caught:
        ulimit("o", name, value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "mode", "options"),
    [
        ("host", "host", set()),
        ("nomap", "nomap", set()),
        ("auto", "auto", set()),
        ("auto:size=1000,uidmapping=0:@100:1,gidmapping=5:6:7", "auto", {"size", "uidmapping", "gidmapping"}),
        ("keep-id:uid=200,gid=210", "keep-id", {"uid", "gid"}),
    ],
)
def test_a_user_namespace_has_podmans_modes(text: str, mode: str, options: set[str]) -> None:
    read = user_namespace("o", text)
    assert (read.text, read.mode, set(read.options)) == (text, mode, options)


@pytest.mark.parametrize(
    "text", ["", "private", "ns:/x", "auto:", "auto:uid=1", "host:x", "nomap:size=1", "keep-id:uid=x", "auto size=1"]
)
def test_another_user_namespace_is_refused(text: str) -> None:
    with pytest.raises(ContainerError, match=r"^o: (no mode|.* has no option) "):
        user_namespace("o", text)


def test_a_time_zone_is_a_name_and_no_path() -> None:
    for name in ("local", "UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"):
        assert timezone("o", name) == name
    for name in ("", "/etc/passwd", "../x", "a/../b", "a//b", "a b", "a\n"):
        with pytest.raises(ContainerError, match=r"^o: .* is not a time zone; expected for example Europe/Berlin"):
            timezone("o", name)
