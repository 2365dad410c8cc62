"""The builders that read registries."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from nixoci.oci.layout import Layout
from tests.support.http_registry import Behavior, serve
from tests.support.layers import file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Result

    Fetch = Callable[..., Result]


@pytest.fixture
def fetch(tmp_path: Path, nixoci: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Iterator[Fetch]:
    """Fetch a blob that is at a server whose authority `ours.crt` has; `theirs.crt` has another."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ours = trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ours.crt"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "theirs.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(context)
    write_layout(tmp_path / "layout", [layer(file(b"data", b"x"))])
    blob = next(iter((tmp_path / "layout/blobs/sha256").iterdir())).name
    with serve(tmp_path / "layout", tls=context) as store:
        place = store.host.replace("127.0.0.1", "https://localhost")
        with serve(tmp_path / "layout", Behavior(redirect=place)) as served:

            def run(*, named: str | None, certificates: str) -> Result:
                if named is None:
                    monkeypatch.delenv("NIX_SSL_CERT_FILE", raising=False)
                else:
                    monkeypatch.setenv("NIX_SSL_CERT_FILE", named)
                source = ["--image=web", f"--repository={served.repository}", f"--certificates={certificates}"]
                return nixoci("fetch-blob", f"sha256:{blob}", "out", *source)

            yield run


@pytest.mark.parametrize(
    ("named", "certificates"),
    [(None, "ours.crt"), ("", "ours.crt"), ("ours.crt", "theirs.crt"), ("ours.crt", "nothing.crt")],
)
def test_the_certificates_of_the_environment_come_first(fetch: Fetch, named: str | None, certificates: str) -> None:
    assert fetch(named=named, certificates=certificates) == (0, "", "")


def test_certificates_that_a_build_does_not_see_are_no_reason_to_fail(fetch: Fetch) -> None:
    done = fetch(named="nothing.crt", certificates="ours.crt")
    assert done.code == 0
    assert done.err == (
        "warning: NIX_SSL_CERT_FILE names nothing.crt, which this build cannot read; it trusts the usual certificates\n"
    )


def test_an_image_is_fetched_as_it_is_extracted(tmp_path: Path, nixoci: Callable[..., Result]) -> None:
    write_layout(tmp_path / "layout", [layer(file(b"file", each)) for each in (b"1", b"2", b"3")])
    manifest = str(Layout.open(tmp_path / "layout", "latest", name="layout").root.digest)
    with serve(tmp_path / "layout") as served:
        named = ["--reference=registry.example/web:1", "--platform=linux/amd64"]
        source = ["--image=web", f"--repository={served.repository}", f"--digest={manifest}"]
        assert nixoci("fetch-image", manifest, "fetched", *source, *named).code == 0
    assert nixoci("extract", "oci:layout:latest", "extracted", "--name=web", *named).code == 0

    def files(name: str) -> dict[str, bytes]:
        found = (tmp_path / name).rglob("*")
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in found if path.is_file()}

    assert files("fetched") == files("extracted")
    assert files("fetched")["rootfs/file"] == b"3"


def test_another_authority_is_refused(fetch: Fetch, tmp_path: Path) -> None:
    done = fetch(named=None, certificates="theirs.crt")
    assert done.code == 1
    assert " is not trusted: " in done.err
    assert "NIX_SSL_CERT_FILE names" in done.err
    assert not (tmp_path / "out").exists()
