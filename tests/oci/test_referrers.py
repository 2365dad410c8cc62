"""Lists of referrers: the API over HTTP, and the tag where there is none."""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from nixoci.errors import ImageError
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_INDEX, OCI_MANIFEST
from nixoci.oci.reference import Reference
from nixoci.oci.referrers import list_referrers, referrers_tag, served_referrers, with_referrers
from nixoci.oci.registry import RegistryAccess
from tests.support.http_registry import Behavior, serve
from tests.support.layout import add_blob, encode, write_layout
from tests.support.skopeo import Skopeo, install_skopeo

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.oci.model import Descriptor

SUBJECT = Digest.of(b"subject")
LOGIN = f"Basic {b64encode(b'me:secret').decode()}"


def entry(name: str) -> dict[str, object]:
    return {
        "mediaType": OCI_MANIFEST,
        "digest": str(Digest.of(name.encode())),
        "size": len(name),
        "artifactType": "application/x",
        "annotations": {"name": name},
    }


def index(*names: str) -> bytes:
    return encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(name) for name in names]})


def names(found: list[Descriptor] | None) -> list[str] | None:
    return None if found is None else [each.annotations["name"] for each in found]


@pytest.fixture
def skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Skopeo:
    """A registry for skopeo whose tag of referrers lists one artifact."""
    layout = tmp_path / "tagged"
    write_layout(layout, [])
    described = add_blob(layout, index("tagged"), OCI_INDEX)
    listed = json.loads((layout / "index.json").read_bytes())
    listed["manifests"].append(
        {**described, "annotations": {"org.opencontainers.image.ref.name": referrers_tag(SUBJECT)}}
    )
    (layout / "index.json").write_bytes(encode(listed))
    return install_skopeo(monkeypatch, tmp_path, layout)


@pytest.fixture
def access(tmp_path: Path) -> RegistryAccess:
    (tmp_path / "auth.json").write_text("{}", encoding="utf-8")
    return RegistryAccess(authfile=tmp_path / "auth.json")


def test_pages_are_read_to_the_last(tmp_path: Path, access: RegistryAccess) -> None:
    with serve(tmp_path, Behavior(referrers=[index("a", "b"), index("c"), index()])) as served:
        found = served_referrers(Reference.parse(served.repository), SUBJECT, access)
    assert names(found) == ["a", "b", "c"]


def test_a_list_without_an_end_ends(tmp_path: Path, access: RegistryAccess) -> None:
    with serve(tmp_path, Behavior(referrers=[index("a")] * 100)) as served:
        found = served_referrers(Reference.parse(served.repository), SUBJECT, access)
        assert found is not None
        assert len(found) == len(served.requests) == 16


@pytest.mark.parametrize(
    "behavior",
    [
        Behavior(),
        Behavior(referrers=[b"no list"]),
        Behavior(statuses=[500] * 9),
        Behavior(referrers=[index("a")], login=LOGIN),
        Behavior(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"]),
    ],
    ids=["no API", "no list", "busy", "no login", "cut"],
)
def test_without_the_api_there_is_the_tag(
    tmp_path: Path, access: RegistryAccess, skopeo: Skopeo, behavior: Behavior
) -> None:
    with serve(tmp_path, behavior) as served:
        reference = Reference.parse(served.repository)
        assert served_referrers(reference, SUBJECT, access) is None
        assert names(list_referrers(reference, SUBJECT, access)) == ["tagged"]
    assert f"docker://{reference.repository}:{referrers_tag(SUBJECT)}" in skopeo.calls()[-1]


def test_both_lists_are_read(tmp_path: Path, access: RegistryAccess, skopeo: Skopeo) -> None:
    with serve(tmp_path, Behavior(referrers=[index("served", "tagged")])) as served:
        found = list_referrers(Reference.parse(served.repository), SUBJECT, access)
    assert names(found) == ["served", "tagged"]
    assert skopeo.calls()


def test_a_tag_that_is_missing_lists_nothing(tmp_path: Path, access: RegistryAccess, skopeo: Skopeo) -> None:
    with serve(tmp_path) as served:
        assert list_referrers(Reference.parse(served.repository), Digest.of(b"other"), access) == []
    assert skopeo.calls()


def test_a_tag_of_something_else_is_an_error(
    tmp_path: Path, access: RegistryAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = tmp_path / "other"
    write_layout(layout, [], tag=referrers_tag(SUBJECT))
    text = layout / "index.json"
    (blob,) = json.loads(text.read_bytes())["manifests"]
    (layout / "blobs" / blob["digest"].replace(":", "/")).write_bytes(b"[]")
    install_skopeo(monkeypatch, tmp_path, layout)
    with serve(tmp_path) as served, pytest.raises(ImageError, match=referrers_tag(SUBJECT)):
        list_referrers(Reference.parse(served.repository), SUBJECT, access)


@pytest.mark.parametrize("bearer", [None, "a-token"])
def test_the_login_of_the_user_is_used(tmp_path: Path, bearer: str | None) -> None:
    with serve(tmp_path, Behavior(referrers=[index("a"), index("b")], login=LOGIN, bearer=bearer)) as served:
        auth = tmp_path / "auth.json"
        auth.write_text(json.dumps({"auths": {served.host: {"auth": LOGIN.split()[1]}}}), encoding="utf-8")
        found = served_referrers(Reference.parse(served.repository), SUBJECT, RegistryAccess(authfile=auth))
        assert names(found) == ["a", "b"]
        sent = [authorization for path, _, authorization in served.requests if "/referrers/" in path]
    # asked for only, and only once
    assert sent == [None, *[LOGIN if bearer is None else "Bearer a-token"] * 2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def context_of(authority: trustme.CA, *, clients: bool) -> ssl.SSLContext:
    """Return the context of a server that may want certificates of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if clients:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("clients", [False, True])
def test_the_certificates_are_those_of_podman(
    tmp_path: Path, home: Path, access: RegistryAccess, *, clients: bool
) -> None:
    """An authority of the registry, and a certificate of the client for a registry that wants one."""
    authority = trustme.CA()
    with serve(tmp_path, Behavior(referrers=[index("served")]), tls=context_of(authority, clients=clients)) as served:
        folder = home / ".config/containers/certs.d" / served.host
        folder.mkdir(parents=True)
        reference = Reference.parse(served.repository)
        assert served_referrers(reference, SUBJECT, access) is None
        (folder / "ca.crt").write_text("no certificate", encoding="utf-8")
        assert served_referrers(reference, SUBJECT, access) is None
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        if clients:
            assert served_referrers(reference, SUBJECT, access) is None
            client = authority.issue_cert("client")
            client.cert_chain_pems[0].write_to_path(str(folder / "client.cert"))
            assert served_referrers(reference, SUBJECT, access) is None
            client.private_key_pem.write_to_path(str(folder / "client.key"))
        assert names(served_referrers(reference, SUBJECT, access)) == ["served"]


def test_the_user_may_trust_any_certificate(tmp_path: Path, home: Path, access: RegistryAccess) -> None:
    """`--no-tls-verify`, also for a registry that speaks plain HTTP."""
    insecure = replace(access, tls_verify=False)
    for tls in (context_of(trustme.CA(), clients=False), None):
        with serve(tmp_path, Behavior(referrers=[index("served")]), tls=tls) as served:
            (home / ".config/containers/certs.d" / served.host).mkdir(parents=True)  # so HTTPS is tried
            reference = Reference.parse(served.repository)
            assert served_referrers(reference, SUBJECT, access) is None
            assert names(served_referrers(reference, SUBJECT, insecure)) == ["served"]


def test_a_digest_is_listed_once() -> None:
    listed = {"manifests": [entry("one")]}
    assert with_referrers(listed, [entry("other"), entry("one")], what="x") == {
        "manifests": [entry("one"), entry("other")]
    }


DAMAGED: tuple[object, ...] = (entry("x") | {"digest": "sha256:x"}, {"size": 1}, "entry", entry("x") | {"size": "1"})
FOREIGN = entry("foreign") | {"digest": "sha384:" + "ab" * 48}


def test_what_others_list_stays_as_it_is() -> None:
    """An index may have more than nixoci reads, and its writer wants it back."""
    theirs = entry("one") | {"urls": ["https://registry.example/"], "data": "b25l"}
    listed = {"schemaVersion": 2, "annotations": {"whose": "theirs"}, "manifests": [theirs, FOREIGN]}
    warnings: list[str] = []
    merged = with_referrers(listed, [entry("new")], what="x", warn=warnings.append)
    assert merged == listed | {"manifests": [theirs, FOREIGN, entry("new")]}
    assert warnings == []


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_entry_spoils_no_other(
    tmp_path: Path, access: RegistryAccess, skopeo: Skopeo, damaged: dict[str, object]
) -> None:
    listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [damaged, entry("sound"), FOREIGN, damaged]}
    warnings: list[str] = []
    with serve(tmp_path, Behavior(referrers=[encode(listed)])) as served:
        found = list_referrers(Reference.parse(served.repository), SUBJECT, access, warnings.append)
    assert names(found) == ["sound", "tagged"]
    (warning,) = warnings
    assert warning.startswith(f"{served.repository}: referrers of {SUBJECT}: its entry ")
    assert warning.endswith(" and 1 more is damaged, and left out")
    assert skopeo.calls()
    merged = with_referrers(listed, [], what="x", warn=warnings.append)
    assert merged["manifests"] == [entry("sound"), FOREIGN]
    assert len(warnings) == 2


def test_the_tag_of_a_long_digest_is_cut_as_the_specification_says() -> None:
    assert referrers_tag(Digest("sha512", "ab" * 64)) == "sha512-" + "ab" * 32
    assert referrers_tag(Digest("sha256", "ab" * 32)) == "sha256-" + "ab" * 32
