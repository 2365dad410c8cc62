"""Images that are read from a registry over connections that break."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.errors import BlobError
from nixoci.extraction import extract
from nixoci.oci.digest import Digest
from nixoci.oci.layout import Layout
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.remote import Remote, RemoteImage, Retries
from nixoci.oci.resolve import resolve_image
from tests.support.http_registry import Behavior, Served, serve
from tests.support.layers import file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.oci.image import ImageSource
    from nixoci.oci.model import Descriptor

PLATFORM = Platform.parse("linux/amd64")
CONTENT = random.Random(1).randbytes(3_000_000)  # noqa: S311 - no secret
QUICK = Retries(attempts=3, pause=0.001)


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


def opened_layers(layout: Path) -> list[Descriptor]:
    image = resolve_image(Layout.open(layout, "latest", name="layout"), PLATFORM)
    return [each.descriptor for each in image.layers]
