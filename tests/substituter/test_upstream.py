"""The cache behind the substituter: it fails in a bounded time, and what fails does not hold up the rest."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from nixoci.substituter import upstream as module
from nixoci.substituter.upstream import Patience, UnchangedError, Upstream, UpstreamError
from tests.substituter.site import PATIENT
from tests.substituter.web import Web, serve
from tests.support.hang import no_hang
from tests.support.http_proxy import proxying

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Patience(connect=60.0, stall=0.2, document=0.5, pause=600.0)
"""For a cache that stalls."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "deltas").mkdir()
    for name in ("a", "deltas/a"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    with serve(tmp_path) as running:
        yield running


def test_a_document_is_read_once(web: Web) -> None:
    upstream = Upstream(f"{web.url}//", patience=PATIENT)
    found = upstream.document("a", 100)
    assert found is not None
    assert found.data == b"a" * 100
    with pytest.raises(UnchangedError):
        upstream.document("a", 100, unless=found.validator)
    assert upstream.document("b", 100) is None
    assert web.asked == ["a", "a", "b"]


def test_a_document_is_not_larger_than_it_may_be(web: Web) -> None:
    with pytest.raises(UpstreamError, match="/a: larger than 99 bytes"):
        Upstream(web.url, patience=PATIENT).document("a", 99)


@pytest.mark.parametrize("fault", ["stall", "stall before", "drip", "cut", 500])
def test_a_document_fails_in_a_bounded_time(web: Web, fault: str) -> None:
    web.fault = lambda _: fault
    with no_hang(), pytest.raises(UpstreamError, match="/a: "):
        Upstream(web.url, patience=QUICK).document("a", 100)


def test_what_does_not_answer_is_not_asked_again_for_a_while(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    web.fault = lambda path: "stall before" if path.startswith("deltas") else None
    upstream = Upstream(web.url, patience=QUICK)
    for _ in range(5):
        with pytest.raises(UpstreamError):
            upstream.document("deltas/a", 1000)
    web.fault = lambda _: None
    upstream._times = Upstream(web.url, patience=PATIENT)._times  # what answers may take its time
    assert upstream.document("a", 100) is not None, "narinfos are not held up by deltas"
    assert web.count("deltas") == 2, "the second time over a new connection"
    now = QUICK.pause
    assert upstream.document("deltas/a", 1000) is not None


def test_nothing_is_asked_of_a_cache_that_is_down() -> None:
    upstream = Upstream("http://127.0.0.1:1", patience=QUICK)
    with pytest.raises(UpstreamError, match=r"/a: cannot be fetched: .*refused"):
        upstream.document("a", 100)
    for path in ("a", "nar/a", "deltas/a"):
        with pytest.raises(UpstreamError, match="not asked for"):
            upstream.document(path, 100)


def test_an_answer_that_breaks_off_is_an_error(web: Web) -> None:
    web.fault = lambda _: "cut"
    with (
        Upstream(web.url, patience=PATIENT).open("a") as download,
        pytest.raises(UpstreamError, match="/a: cannot be fetched"),
    ):
        list(download.pieces(10))


BASIC = "Basic YWxpY2U6czNjcmV0"


def test_a_login_is_sent_and_never_shown(web: Web) -> None:
    web.login = BASIC
    upstream = Upstream(web.url.replace("//", "//alice:s3cret@"), patience=PATIENT)
    assert upstream.url == f"{web.url}/"
    assert upstream.document("a", 100) is not None
    web.login = "another"
    with pytest.raises(UpstreamError, match="/a: the cache wants another login; name its netrc file") as caught:
        upstream.document("a", 100)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UpstreamError) as caught:
        Upstream("ftp://alice:s3cret@cache.example")
    assert str(caught.value).startswith("'...@cache.example': not the address of a binary cache")


def test_a_login_of_a_netrc_file(web: Web, tmp_path: Path) -> None:
    web.login = BASIC
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login alice password s3cret", encoding="ascii")
    assert Upstream(web.url, patience=PATIENT, netrc=file).document("a", 100) is not None


def test_no_other_server_gets_the_login(web: Web, tmp_path: Path) -> None:
    with serve(tmp_path) as other:
        web.redirect = lambda path: f"{other.url}/{path}"
        upstream = Upstream(web.url.replace("//", "//alice:s3cret@"), patience=PATIENT)
        assert upstream.document("a", 100) is not None
        assert (web.logins, other.logins) == ([BASIC], [None])


def test_a_proxy_has_its_login(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(login=BASIC) as proxy:
        monkeypatch.setenv("http_proxy", f"http://alice:s3cret@{proxy.host}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert Upstream(web.url, patience=PATIENT).document("a", 100) is not None
        assert [method for method, _ in proxy.requests] == ["GET"]


def test_a_redirect_is_followed(web: Web) -> None:
    """Caches send those who want a file to a network of servers."""
    web.redirect = lambda path: "/a" if path == "moved" else None
    with Upstream(web.url, patience=PATIENT).open("moved") as download:
        assert b"".join(download.pieces(1000)) == b"a" * 100


def test_redirects_end(web: Web) -> None:
    web.redirect = lambda path: f"/{path}x"
    with pytest.raises(UpstreamError, match="too many redirects"):
        Upstream(web.url, patience=PATIENT).document("a", 100)
    assert len(web.asked) < 10


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="another kernel")
def test_the_head_of_an_answer_is_acknowledged_at_once(web: Web) -> None:
    """On a connection that was used before, the kernel would wait for something to send with it."""
    upstream = Upstream(web.url, patience=PATIENT)
    assert upstream.document("a", 100) is not None
    with upstream.open("a") as download:
        used = getattr(download._response.connection, "sock", None)
        assert isinstance(used, socket.socket)
        assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
