"""Addresses and pauses that servers name."""

from __future__ import annotations

from email.utils import formatdate
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from nixoci.oci.http_client import parse_address, parse_retry_after

HEADERS = st.text(st.characters(max_codepoint=255))
ADDRESSES = HEADERS | st.from_regex(r"(https?:)?//[^/]*(:[0-9]+)?(/.*)?", fullmatch=True) | st.text("http:/[]@.:%0?#\\")
BASE = "https://registry.example/v2/"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://cdn.example/blob?a=b", "http://cdn.example/blob?a=b"),
        ("//cdn.example/blob", "https://cdn.example/blob"),
        ("/blob", "https://registry.example/blob"),
        ("blob", "https://registry.example/v2/blob"),
        ("https://user:secret@cdn.example/#part", "https://cdn.example/"),
        ("HTTPS://CDN.example", "https://cdn.example"),
        ("https://[::1]:5000/", "https://[::1]:5000/"),
        ("", None),
        ("ftp://cdn.example/", None),
        ("file:///etc/passwd", None),
        ("https://:443/blob", None),
        ("https://[::1", None),
        ("https://host:port/", None),
        ("https://host:99999/", None),
        ("https://a\uff0fb/", None),
    ],
)
def test_an_address_is_read_or_refused(text: str, found: str | None) -> None:
    assert parse_address(text, base=BASE) == found


@given(ADDRESSES)
def test_any_address_is_one_that_can_be_asked(text: str) -> None:
    address = parse_address(text, base=BASE)
    if address is not None:
        assert urlsplit(address).scheme in {"http", "https"}
        assert urlsplit(address).hostname
        assert parse_url(address).host
        assert parse_address(address) == address


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("0", 0),
        (" 120 ", 120),
        ("1.5", 0),
        ("-1", 0),
        ("9" * 5000, 0),
        (formatdate(1_000_030, usegmt=True), 30),
        (formatdate(999_970, usegmt=True), 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
        ("Fri, 99 Foo 2000 99:99:99 GMT", 0),
        ("soon", 0),
    ],
)
def test_a_pause_is_read(text: str, seconds: float) -> None:
    assert parse_retry_after(text, now=1_000_000.0) == seconds


@given(HEADERS | st.text("0123456789 ,:GMTSunJan+-"))
def test_any_pause_is_seconds(text: str) -> None:
    assert parse_retry_after(text, now=1_000_000.0) >= 0.0
