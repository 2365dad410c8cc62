"""The proxies that the environment names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import make_headers

from nixoci.errors import BlobError
from nixoci.http_proxy import Proxy, parse_proxy, proxy_for

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", None),
        ("http://proxy.example:3128/", "http://proxy.example:3128", None),
        ("proxy.example:3128", "http://proxy.example:3128", None),
        ("proxy.example", "http://proxy.example", None),
        ("[::1]:3128", "http://[::1]:3128", None),
        ("HTTPS://Proxy.Example", "https://proxy.example", None),
        ("user:secret@proxy.example:3128", "http://proxy.example:3128", "user:secret"),
        ("http://us%40er:a%3Ab%20%25@proxy.example", "http://proxy.example", "us@er:a:b %"),
        ("http://user@proxy.example", "http://proxy.example", "user:"),
        ("http://user:caf%C3%A9@proxy.example", "http://proxy.example", "user:caf\xc3\xa9"),
        ("http://user:café@proxy.example", "http://proxy.example", "user:caf\xc3\xa9"),
        (" http://proxy.example ", "http://proxy.example", None),
    ],
)
def test_a_proxy_is_read_as_curl_does(text: str, url: str, login: str | None) -> None:
    assert parse_proxy(text, variable="https_proxy") == Proxy(url=url, login=login)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "socks5h://user:secret@proxy.example:1080",
            "https_proxy names a proxy of the kind socks5h, which nixoci cann",
        ),
        ("ftp://proxy.example", "https_proxy names a proxy of the kind ftp, which nixoci cannot use; expected http://"),
        ("http://user:secret@", "https_proxy names no host; expected http://HOST:PORT or https://HOST:PORT"),
        ("http://user:secret@host:port", "https_proxy is not the address of a proxy; expected http://HOST:PORT or "),
        ("http://user:secret@host:99999", "https_proxy is not the address of a proxy; expected http://HOST:PORT or "),
        ("http://user:secret@[::1", "https_proxy is not the address of a proxy; expected http://HOST:PORT or "),
    ],
)
def test_another_proxy_is_refused_without_its_password(text: str, says: str) -> None:
    with pytest.raises(BlobError) as caught:
        parse_proxy(text, variable="https_proxy")
    assert str(caught.value).startswith(says)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        proxy = parse_proxy(text, variable="https_proxy")
    except BlobError:
        return
    assert proxy.url.startswith(("http://", "https://"))
    if proxy.login is not None:
        assert ":" in proxy.login
        make_headers(proxy_basic_auth=proxy.login)


@pytest.mark.parametrize(
    ("environment", "url", "found"),
    [
        ({}, "https://r.example/", None),
        ({"https_proxy": "one:1"}, "https://r.example/", "http://one:1"),
        ({"https_proxy": "one:1"}, "http://r.example/", None),
        ({"HTTP_PROXY": "one:1"}, "http://r.example/", "http://one:1"),
        ({"all_proxy": "one:1"}, "https://r.example/", "http://one:1"),
        ({"all_proxy": "socks5://one:1", "https_proxy": "two:2"}, "https://r.example/", "http://two:2"),
        ({"https_proxy": "one:1", "no_proxy": "example"}, "https://r.example:5000/", None),
        ({"all_proxy": "one:1", "no_proxy": "r.example:5000"}, "https://r.example:5000/", None),
        ({"https_proxy": "", "all_proxy": ""}, "https://r.example/", None),
        ({"https_proxy": "", "HTTPS_PROXY": "one:1"}, "https://r.example/", "http://one:1"),
        ({"HTTPS_PROXY": "one:1", "no_proxy": "", "NO_PROXY": "r.example"}, "https://r.example/", None),
        ({"https_proxy": "one:1", "HTTPS_PROXY": "two:2"}, "https://r.example/", "http://one:1"),
        ({"https_proxy": "one:1", "no_proxy": "*"}, "https://r.example/", None),
        ({"https_proxy": "one:1", "no_proxy": "a.example, 10.1.0.0/16"}, "https://10.1.2.3:5000/", None),
        ({"https_proxy": "one:1", "no_proxy": "10.1.0.0/16"}, "https://10.2.2.3/", "http://one:1"),
        ({"https_proxy": "one:1", "no_proxy": "10.1.2.9/16"}, "https://10.1.2.3/", None),
        ({"https_proxy": "one:1", "no_proxy": "fd00::/8,::1"}, "https://[fd12::3]:5000/", None),
        ({"https_proxy": "one:1", "no_proxy": "fd00::/8,10.0.0.0/8"}, "https://[fe12::3]/", "http://one:1"),
        ({"https_proxy": "one:1", "no_proxy": "localhost,127.0.0.1,::1"}, "https://[::1]:5000/", None),
        ({"https_proxy": "one:1", "no_proxy": "[fd12::3]"}, "https://[FD12:0::3]/", None),
        ({"https_proxy": "one:1", "no_proxy": "::1,10.1.2.3"}, "https://[::2]/", "http://one:1"),
        ({"https_proxy": "one:1", "no_proxy": "10.0.0.0/99,x/8,/"}, "https://10.1.2.3/", "http://one:1"),
        ({"https_proxy": "one:1", "no_proxy": "0.0.0.0/0"}, "https://r.example/", "http://one:1"),
    ],
)
def test_the_environment_names_the_proxy(
    environment: dict[str, str], url: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(url)
    assert (None if proxy is None else proxy.url) == found
