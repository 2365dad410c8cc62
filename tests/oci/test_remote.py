"""Images that are read from a registry over connections that break."""

from __future__ import annotations

import json
import queue
import random
import ssl
from base64 import b64encode
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.errors import BlobError
from nixoci.extraction import extract
from nixoci.oci.digest import Digest
from nixoci.oci.download import Retries
from nixoci.oci.layout import Layout
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.remote import Remote, RemoteImage, RemoteLayers
from nixoci.oci.resolve import resolve_image
from tests.support.http_proxy import proxying
from tests.support.http_registry import Behavior, Served, serve
from tests.support.layers import file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixoci.oci.image import ImageSource
    from nixoci.oci.model import Descriptor

PLATFORM = Platform.parse("linux/amd64")
CONTENT = random.Random(1).randbytes(3_000_000)  # noqa: S311 - no secret
QUICK = Retries(attempts=3, pause=0.001, longest=0.01)
MANIFEST = r"manifests/sha256:[0-9a-f]{64}"

# text that a header can hold
HEADERS = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
CHALLENGES = HEADERS | st.builds("{} realm={}, {}".format, st.sampled_from(["Bearer", "Basic", ""]), HEADERS, HEADERS)
PLACES = HEADERS | st.builds("{}//{}/{}".format, st.sampled_from(["http:", "https:", "", "x:"]), HEADERS, HEADERS)
PARTS = st.sampled_from(
    [
        "Content-Range: bytes 5-9/10",
        "Content-Range: bytes x-/*",
        "Content-Length: 10",
        "Content-Length: -1",
        "Content-Length: 1, 2",
        "Content-Length: " + "9" * 5000,
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Content-Encoding: gzip",
        "Retry-After: " + "9" * 5000,
        "Retry-After: Fri, 31 Dec 99999 23:59:59 GMT",
        "Retry-After: soon",
        "WWW-Authenticate: Bearer",
        "Location: http://[",
        "no header",
        ": nothing",
    ]
)
BODIES = st.sampled_from(
    ["", "x" * 10, "-1\r\n" + "x" * 100_000, "-5\r\nxxxxx\r\n0\r\n\r\n", "5\r\nxxxxx\r\n0\r\n\r\n"]
)
ANSWERS = st.builds(
    lambda status, headers, body: "\r\n".join([f"HTTP/1.1 {status} Said", *headers, "", body]).encode("latin-1"),
    st.sampled_from([100, 200, 206, 301, 307, 401, 404, 416, 429, 503, 999]),
    st.lists(PARTS | st.builds("{}: {}".format, st.sampled_from(["Content-Range", "Retry-After"]), HEADERS)),
    BODIES,
) | st.binary(max_size=100)


@pytest.fixture(autouse=True, scope="module")
def no_proxies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            environment.delenv(name, raising=False)
            environment.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "layout"
    write_layout(folder, [layer(file(b"data", CONTENT)), layer(file(b"more", b"y" * 200_000))], compression="gzip")
    return folder


def manifest_of(layout: Path) -> Digest:
    return Layout.open(layout, "latest", name="layout").root.digest


def opened(served: Served, digest: Digest) -> RemoteImage:
    return RemoteImage.open(Remote(Reference.parse(served.repository), retries=QUICK), digest)


def tree(source: ImageSource, dest: Path) -> dict[str, bytes]:
    extract(resolve_image(source, PLATFORM), source, dest, name="web")
    return {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob("*") if path.is_file()}


def test_an_image_is_extracted_as_from_its_layout(layout: Path, tmp_path: Path) -> None:
    with serve(layout) as served:
        found = tree(opened(served, manifest_of(layout)), tmp_path / "remote")
    assert found == tree(Layout.open(layout, "latest", name="layout"), tmp_path / "local")
    assert found["rootfs/data"] == CONTENT


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), ranges=st.booleans())
def test_a_connection_that_breaks_anywhere_is_resumed(layout: Path, seed: int, *, ranges: bool) -> None:
    pick = random.Random(seed)  # noqa: S311
    cuts = [pick.choice([0, 1, pick.randrange(1 << 16), pick.randrange(3_000_000), None]) for _ in range(6)]

    def cut(_path: str, start: int) -> int | None:
        # without ranges, each connection brings more than the one before, or the work has no end
        after = cuts.pop() if cuts else None
        return None if after is None else after if ranges else start + after

    manifest = manifest_of(layout)
    with serve(layout, Behavior(cut=cut, ranges=ranges)) as served:
        remote = Remote(Reference.parse(served.repository), retries=Retries(attempts=6, pause=0.0))
        source = RemoteImage.open(remote, manifest)
        image = resolve_image(source, PLATFORM)
        for each in image.layers:
            with closing(source.open_blob(each.descriptor)) as blob:
                assert Digest.of(blob.read()) == each.descriptor.digest
        if ranges:
            assert all(asked is None or int(asked[6:-1]) > 0 for _, asked, _ in served.requests)


def test_bytes_that_came_are_not_fetched_again(layout: Path) -> None:
    blob = opened_layers(layout)[0]
    with serve(layout, Behavior(cut=lambda _, start: 1_000_000 if start < 2_000_000 else None)) as served:
        remote = Remote(Reference.parse(served.repository), retries=QUICK)
        with remote.open_blob(blob.digest, size=blob.size) as stream:
            assert Digest.of(stream.read()) == blob.digest
        assert [asked for _, asked, _ in served.requests] == [None, "bytes=1000000-", "bytes=2000000-"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "layout"
    # two layers are the same, and none fits into the buffers of a connection that nobody reads
    contents = [CONTENT, b"", CONTENT[::-1], b""]
    write_layout(folder, [layer(file(b"%d" % len(each), each)) for each in contents], compression="gzip")
    return folder


def ordered(served: Served, layout: Path, retries: Retries = QUICK) -> RemoteLayers:
    return RemoteLayers(Remote(Reference.parse(served.repository), retries=retries), opened_layers(layout))


def test_the_next_layer_is_asked_for_while_one_is_read(many: Path) -> None:
    layers = opened_layers(many)
    asked: queue.Queue[str] = queue.Queue()
    behavior = Behavior(cut=lambda path, _: asked.put(path))

    def next_asked() -> Digest:
        return Digest.parse(asked.get(timeout=60).rpartition("/")[2])

    with serve(many, behavior) as served, closing(ordered(served, many)) as source:
        with closing(source.open_blob(layers[0])) as first:
            assert next_asked() == layers[1].digest
            content = first.read()
            assert next_asked() == layers[0].digest
            assert Digest.of(content) == layers[0].digest
        with closing(source.open_blob(layers[1])) as second:
            assert next_asked() == layers[2].digest
            assert Digest.of(second.read()) == layers[1].digest
        assert asked.empty()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_layers_that_are_asked_for_ahead_break_and_are_resumed(many: Path, seed: int) -> None:
    pick = random.Random(seed)  # noqa: S311
    cuts = [pick.choice([0, 1, pick.randrange(1 << 16), pick.randrange(3_000_000), None]) for _ in range(6)]
    with (
        serve(many, Behavior(cut=lambda *_: cuts.pop() if cuts else None)) as served,
        closing(ordered(served, many, Retries(attempts=6, pause=0.0))) as source,
    ):
        for each in opened_layers(many):
            with closing(source.open_blob(each)) as blob:
                assert Digest.of(blob.read()) == each.digest


def test_a_layer_that_is_not_there_is_an_error_when_it_is_read(many: Path) -> None:
    layers = opened_layers(many)
    gone = replace(layers[2], digest=Digest.of(b"gone"))
    wanted = [*layers[:2], gone, layers[3]]
    with serve(many) as served:
        remote = Remote(Reference.parse(served.repository), retries=QUICK)
        with closing(RemoteLayers(remote, wanted)) as source:
            for each in wanted[:2]:
                with closing(source.open_blob(each)) as blob:
                    assert Digest.of(blob.read()) == each.digest
            with closing(source.open_blob(gone)) as blob, pytest.raises(BlobError, match="answers 404 Not Found"):
                blob.read()


def test_layers_are_opened_in_their_order(many: Path) -> None:
    layers = opened_layers(many)
    with serve(many) as served, closing(ordered(served, many)) as source:
        with pytest.raises(BlobError, match="not the one that follows"):
            source.open_blob(layers[1])
        # closed without a read, with the next one on its way
        source.open_blob(layers[0]).close()


def test_a_connection_that_keeps_breaking_is_an_error(layout: Path, tmp_path: Path) -> None:
    with serve(layout, Behavior(cut=lambda path, _: 0 if "/blobs/" in path else None)) as served:
        source = opened(served, manifest_of(layout))
        with pytest.raises(BlobError, match=r"the connection broke at byte 0: .*"):
            tree(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_blob_with_other_bytes_after_the_break_is_refused(layout: Path, tmp_path: Path) -> None:
    behavior = Behavior()

    def cut(path: str, start: int) -> int | None:
        if opened_layers(layout)[0].digest.hex in path and start == 0:
            behavior.wrong = b"x" * 1_500_000
            return 1_000_000
        return None

    behavior.cut = cut
    with serve(layout, behavior) as served, pytest.raises(BlobError, match=r"layer sha256:[0-9a-f]{64}: "):
        tree(opened(served, manifest_of(layout)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_token_for_anybody_is_fetched_and_renewed(layout: Path, tmp_path: Path) -> None:
    behavior = Behavior(bearer="first")

    def cut(path: str, start: int) -> int | None:
        if opened_layers(layout)[0].digest.hex in path and start == 0:
            behavior.bearer = "second"
            return 1000
        return None

    behavior.cut = cut
    with serve(layout, behavior) as served:
        assert tree(opened(served, manifest_of(layout)), tmp_path / "out")["rootfs/data"] == CONTENT
        assert sum(path == "/token" for path, _, _ in served.requests) == 2


def test_another_server_gets_no_token(layout: Path, tmp_path: Path) -> None:
    with serve(layout) as store, serve(layout, Behavior(bearer="mine", redirect=f"localhost:{port(store)}")) as served:
        assert tree(opened(served, manifest_of(layout)), tmp_path / "out")["rootfs/data"] == CONTENT
        assert {authorization for _, _, authorization in store.requests} == {None}
        assert all("/blobs/" in path for path, _, _ in store.requests)


def port(served: Served) -> str:
    return served.host.rpartition(":")[2]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again(layout: Path, status: int) -> None:
    with serve(layout, Behavior(statuses=[status, status])) as served:
        assert opened(served, manifest_of(layout)).root.digest == manifest_of(layout)
        assert len(served.requests) == 3


@pytest.mark.parametrize(
    ("behavior", "says"),
    [
        (
            Behavior(statuses=[429] * 9),
            r"answers 429 Too Many Requests for manifests/sha256:[0-9a-f]{64}",
        ),
        (Behavior(statuses=[404]), r"answers 404 Not Found for manifests/sha256:[0-9a-f]{64}"),
        (Behavior(statuses=[401]), r"wants a login"),
    ],
)
def test_a_refusal_is_an_error(layout: Path, behavior: Behavior, says: str) -> None:
    with serve(layout, behavior) as served, pytest.raises(BlobError, match=rf"^127\.0\.0\.1:[0-9]+ {says}$"):
        opened(served, manifest_of(layout))


def test_no_server_is_an_error(layout: Path) -> None:
    with serve(layout) as served:
        gone = served.repository
    with pytest.raises(BlobError, match=r"^127\.0\.0\.1:[0-9]+ cannot be reached: "):
        RemoteImage.open(Remote(Reference.parse(gone), retries=QUICK), manifest_of(layout))


@pytest.mark.parametrize("domain", ["registry.example:99999", "localhost:70000"])
def test_a_port_that_cannot_be_is_an_error(layout: Path, domain: str) -> None:
    with pytest.raises(BlobError, match=rf"^{domain} is not the address of a server$"):
        RemoteImage.open(Remote(Reference.parse(f"{domain}/web"), retries=QUICK), manifest_of(layout))


@pytest.mark.parametrize(
    ("repository", "base"),
    [
        ("127.0.0.1:5000/web", "http://127.0.0.1:5000/v2/web/"),
        ("localhost/web", "http://localhost/v2/web/"),
        ("127.example.org/web", "https://127.example.org/v2/web/"),
        ("localhost.example.org:80/web", "https://localhost.example.org:80/v2/web/"),
        ("docker.io/library/localhost", "https://registry-1.docker.io/v2/library/localhost/"),
    ],
)
def test_only_loopback_speaks_plain_http(repository: str, base: str) -> None:
    assert Remote(Reference.parse(repository)).base == base


def login(text: str) -> str:
    return f"Basic {b64encode(text.encode()).decode()}"


def test_a_proxy_gets_its_login(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(layout) as served, proxying(login=login("us@er:a:b %")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://us%40er:a%3Ab%20%25@{proxy.host}")
        assert opened(served, manifest_of(layout)).root.digest == manifest_of(layout)
        assert proxy.requests == [("GET", served.host)]


def test_a_proxy_without_a_scheme_is_an_http_proxy(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(layout) as served, proxying() as proxy:
        monkeypatch.setenv("http_proxy", proxy.host)
        assert opened(served, manifest_of(layout)).root.digest == manifest_of(layout)
        assert proxy.requests == [("GET", served.host)]


def test_another_proxy_is_refused_at_once(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5h://user:secret@127.0.0.1:1080")
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it was tried again"))
    with pytest.raises(BlobError, match=r"^http_proxy names a proxy of the kind socks5h, which nixoci cannot use; "):
        RemoteImage.open(Remote(Reference.parse("127.0.0.1:5000/web")), manifest_of(layout))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path / "ca.crt"


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_a_redirect_takes_its_own_proxy_and_the_same_certificates(
    layout: Path, authority: trustme.CA, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(layout, tls=server_context(authority)) as store, proxying(login=login("user:secret")) as proxy:
        monkeypatch.setenv("https_proxy", f"user:secret@{proxy.host}")
        with serve(layout, Behavior(redirect=f"https://localhost:{port(store)}")) as served:
            remote = Remote(Reference.parse(served.repository), certificates=certificates, retries=QUICK)
            blob = opened_layers(layout)[0]
            with remote.open_blob(blob.digest, size=blob.size) as stream:
                assert Digest.of(stream.read()) == blob.digest
        assert proxy.requests == [("CONNECT", f"localhost:{port(store)}")]


def test_a_proxy_over_https_is_trusted_as_a_registry_is(
    layout: Path, authority: trustme.CA, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = opened_layers(layout)[0]
    with (
        serve(layout, tls=server_context(authority)) as store,
        serve(layout, Behavior(redirect=f"https://localhost:{port(store)}")) as served,
        proxying(login=login("user:secret"), tls=server_context(authority)) as proxy,
    ):
        monkeypatch.setenv("all_proxy", f"https://user:secret@localhost:{proxy.host.rpartition(':')[2]}")
        remote = Remote(Reference.parse(served.repository), certificates=certificates, retries=QUICK)
        with remote.open_blob(blob.digest, size=blob.size) as stream:
            assert Digest.of(stream.read()) == blob.digest
        assert proxy.requests == [("GET", served.host), ("CONNECT", f"localhost:{port(store)}")]


def test_a_proxy_that_refuses_is_asked_once(layout: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it was tried again"))
    blob = opened_layers(layout)[0]
    with (
        serve(layout, Behavior(redirect="https://localhost:1")) as served,
        proxying(login=login("user:secret")) as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"user:wrong@{proxy.host}")
        remote = Remote(Reference.parse(served.repository), certificates=certificates)
        with (
            remote.open_blob(blob.digest, size=blob.size) as stream,
            pytest.raises(BlobError, match=r"localhost:1 cannot be reached: the proxy answers 407") as caught,
        ):
            stream.read()
    assert "wrong" not in str(caught.value)


def test_another_certificate_is_refused_at_once(
    layout: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it was tried again"))
    with (
        serve(layout, tls=server_context(trustme.CA())) as store,
        serve(layout, Behavior(redirect=f"https://localhost:{port(store)}")) as served,
    ):
        remote = Remote(Reference.parse(served.repository), certificates=certificates)
        blob = opened_layers(layout)[0]
        with (
            remote.open_blob(blob.digest, size=blob.size) as stream,
            pytest.raises(BlobError, match=r"^localhost:[0-9]+ is not trusted: [a-z ]+; .* NIX_SSL_CERT_FILE names"),
        ):
            stream.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_is_asked_once(
    layout: Path,
    authority: trustme.CA,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: ssl.TLSVersion,
) -> None:
    lost: list[float] = []

    def pause(seconds: float) -> None:
        """The answer is lost if the server closes a connection in which something waits; else nothing asks again."""
        lost.append(seconds)
        assert len(lost) < 4, "it was tried again"

    monkeypatch.setattr("time.sleep", pause)
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    with (
        serve(layout, tls=context) as store,
        serve(layout, Behavior(redirect=f"https://localhost:{port(store)}")) as served,
    ):
        remote = Remote(Reference.parse(served.repository), certificates=certificates)
        blob = opened_layers(layout)[0]
        with (
            remote.open_blob(blob.digest, size=blob.size) as stream,
            pytest.raises(BlobError, match=r"^localhost:[0-9]+ refuses the connection: [a-z ]+; builds have no certif"),
        ):
            stream.read()


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_certificates_that_cannot_be_read(layout: Path, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    remote = Remote(Reference.parse("registry.example/web"), certificates=tmp_path / "ca.crt", retries=QUICK)
    with pytest.raises(BlobError, match=r"^certificates /.*/ca\.crt: cannot be read: [^\n]*[a-z]"):
        RemoteImage.open(remote, manifest_of(layout))


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="people", Bearer realm="http://HOST/token",service="test"',
        'Bearer realm="http://HOST/token",service="test", Basic realm="people"',
        'bearer REALM="http://HOST/token", service=test, error="a, b"',
        'Bearer realm="http://someone@HOST/token#part",service="test"',
    ],
)
def test_a_token_is_fetched_wherever_the_header_says_it(layout: Path, challenge: str) -> None:
    behavior = Behavior(bearer="one")
    with serve(layout, behavior) as served:
        behavior.challenge = challenge.replace("HOST", served.host)
        assert opened(served, manifest_of(layout)).root.digest == manifest_of(layout)


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        ("Bearer x", "wants a login"),
        ("Bearer", "wants a login"),
        ('Basic realm="people"', "wants a login"),
        ('Bearer realm="http://["', r"gives tokens at 'http://\[', which is no http address"),
        ('Bearer realm="ftp://a/"', r"gives tokens at 'ftp://a/', which is no http address"),
        ('Bearer realm="token"', r"gives tokens at 'token', which is no http address"),
    ],
)
def test_a_challenge_that_cannot_be_met(layout: Path, challenge: str, says: str) -> None:
    with (
        serve(layout, Behavior(bearer="one", challenge=challenge)) as served,
        pytest.raises(BlobError, match=rf"^127\.0\.0\.1:[0-9]+ {says}$"),
    ):
        opened(served, manifest_of(layout))


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "the answer has none"),
        (b'{"token": ""}', "the answer has none"),
        (b'{"token": 1}', "the answer has none"),
        (b'{"token": "a\\nb"}', "it has characters that a token cannot have"),
        (b'{"token": "\\u20ac"}', "it has characters that a token cannot have"),
    ],
)
def test_a_token_that_cannot_be_sent(layout: Path, token: bytes, says: str) -> None:
    with (
        serve(layout, Behavior(bearer="one", token=token)) as served,
        pytest.raises(BlobError, match=rf"^token of 127\.0\.0\.1:[0-9]+: {says}"),
    ):
        opened(served, manifest_of(layout))


def test_an_access_token_is_a_token(layout: Path) -> None:
    token = json.dumps({"token": "", "access_token": "one"}).encode()
    with serve(layout, Behavior(bearer="one", token=token)) as served:
        assert opened(served, manifest_of(layout)).root.digest == manifest_of(layout)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://[", r"redirects to 'http://\[', which is no HTTP address"),
        ("http://host:port/", r"redirects to 'http://host:port/', which is no HTTP address"),
        ("file:///etc/passwd", r"redirects to 'file:///etc/passwd', which is no HTTP address"),
        ("/again", "redirects more than 10 times"),
    ],
)
def test_a_redirect_to_nowhere_is_an_error(layout: Path, location: str, says: str) -> None:
    with (
        serve(layout, Behavior(location=location)) as served,
        pytest.raises(BlobError, match=rf"^127\.0\.0\.1:[0-9]+ {says}$"),
    ):
        opened(served, manifest_of(layout))


def test_a_connection_is_kept_over_redirects(layout: Path) -> None:
    with serve(layout) as store, serve(layout, Behavior(redirect=f"localhost:{port(store)}")) as served:
        remote = Remote(Reference.parse(served.repository), retries=QUICK)
        for blob in opened_layers(layout):
            with remote.open_blob(blob.digest, size=blob.size) as stream:
                assert Digest.of(stream.read()) == blob.digest
        assert len(store.connections) == len(served.connections) == 1


def test_another_server_cannot_ask_for_a_login(layout: Path) -> None:
    other = Behavior(bearer="theirs")
    with serve(layout, other) as store, serve(layout, Behavior(redirect=f"localhost:{port(store)}")) as served:
        remote = Remote(Reference.parse(served.repository), retries=QUICK)
        blob = opened_layers(layout)[0]
        with (
            remote.open_blob(blob.digest, size=blob.size) as stream,
            pytest.raises(BlobError, match=r"^localhost:[0-9]+ answers 401 Unauthorized for blobs/"),
        ):
            stream.read()


def fetched(served: Served, blob: Descriptor) -> bytes | None:
    """Return a blob; None if that is refused, with one line."""
    remote = Remote(Reference.parse(served.repository), retries=Retries(attempts=1, pause=0.0, longest=0.0))
    try:
        with remote.open_blob(blob.digest, size=blob.size) as stream:
            return stream.read(blob.size)
    except BlobError as error:
        return None if len(str(error).splitlines()) == 1 else pytest.fail(f"{error!r}")


@pytest.fixture
def lonely(layout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve a registry to clients whose requests do not leave this machine: a proxy refuses all others."""
    with serve(layout) as served, proxying(local=False) as proxy:
        monkeypatch.setenv("all_proxy", proxy.host)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield served


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # each example brings its behavior
@given(challenge=CHALLENGES, location=PLACES, token=st.binary())
def test_any_header_is_followed_or_refused(
    layout: Path, lonely: Served, challenge: str, location: str, token: bytes
) -> None:
    blob = opened_layers(layout)[1]
    for lonely.behavior in (
        Behavior(bearer="x", challenge=challenge),
        Behavior(location=location),
        Behavior(bearer="x", token=token),
    ):
        assert fetched(lonely, blob) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(answers=st.lists(ANSWERS, min_size=1, max_size=3))
def test_any_answer_is_read_or_refused(layout: Path, lonely: Served, answers: list[bytes]) -> None:
    blob = opened_layers(layout)[1]
    lonely.behavior = Behavior(raw=answers)
    found = fetched(lonely, blob)
    assert found is None or len(found) <= blob.size


@pytest.mark.parametrize("size", [b"-1", b"-5"])
def test_a_chunk_of_negative_size_is_no_reason_to_read_on(layout: Path, size: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + b"x" * 1_000_000
    with serve(layout, Behavior(raw=[answer] * 9)) as served:
        remote = Remote(Reference.parse(served.repository), retries=QUICK)
        with remote.open_blob(opened_layers(layout)[0].digest, size=1000) as stream:
            assert len(stream.read(1000)) == 1000


@pytest.mark.parametrize("status", ["503 Busy", "307 Moved\r\nLocation: /x", "401 No", "404 None"])
def test_an_answer_that_nobody_wants_is_not_read_to_its_end(layout: Path, status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 99999999999\r\n\r\n".encode()
    with serve(layout, Behavior(raw=[answer] * 4, filler=100_000_000)) as served:
        with pytest.raises(BlobError):
            opened(served, manifest_of(layout))
        # what the sockets hold is sent too
        assert served.filled < 4 * 25_000_000


def opened_layers(layout: Path) -> list[Descriptor]:
    image = resolve_image(Layout.open(layout, "latest", name="layout"), PLATFORM)
    return [each.descriptor for each in image.layers]
