"""Logins to private caches, as curl finds them for Nix."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.substituter import login as module
from nixoci.substituter.login import login_for

if TYPE_CHECKING:
    from pathlib import Path

FILE = """machine cache.example
  login alice
  password s3cret
machine other.example login bob password "with space"
machine token.example password t0ken
"""
DEFAULT = f"{FILE}default login anyone password x\n"


def login(url: str, file: Path | None) -> str | None:
    return login_for(urlsplit(url), file)


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        (FILE, "https://cache.example", "alice:s3cret"),
        (FILE, "https://cache.example:8443/nix", "alice:s3cret"),
        (FILE, "https://CACHE.example", "alice:s3cret"),
        (FILE, "https://other.example", "bob:with space"),
        (FILE, "https://token.example", ":t0ken"),
        (FILE, "https://example", None),
        (DEFAULT, "https://example", "anyone:x"),
        (DEFAULT, "https://cache.example", "alice:s3cret"),
        (FILE, "https://carol:p%40ss@cache.example", "carol:p@ss"),
        (FILE, "https://alice@cache.example", "alice:s3cret"),
        (FILE, "https://carol@cache.example", "carol:"),
        ("", "https://cache.example", None),
    ],
)
def test_the_login_of_a_cache(text: str, url: str, expected: str | None, tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(text, encoding="utf-8")
    assert login(url, file) == expected


def test_without_a_file_there_is_that_of_nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NETRC", tmp_path / "netrc")
    assert login("https://cache.example", None) is None
    (tmp_path / "netrc").write_text(FILE, encoding="utf-8")
    assert login("https://cache.example", None) == "alice:s3cret"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"/netrc: cannot be read: No such file or directory; check its path, and"):
        login("https://cache.example", tmp_path / "netrc")


def test_an_error_does_not_have_the_password(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine cache.example\nlogin alice pasword s3cret\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"/netrc: line 2 is not of a netrc file") as caught:
        login("https://cache.example", file)
    assert "s3cret" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary() | st.lists(st.sampled_from([*FILE.split(), '"', "\n", "macdef", "#"])).map(" ".join).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "netrc"
    file.write_bytes(data)
    with suppress(StoreError):
        found = login("https://cache.example", file)
        assert found is None or ":" in found
