from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import BlobError, ImageError, ProcessError
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_LAYER, OCI_MANIFEST
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import Registry, RegistryAccess, copy_layers, fetch_artifact, list_tags
from nixoci.oci.resolve import resolve_image
from tests.support.hang import no_hang
from tests.support.layout import blob_path, tar_stream, write_layout, write_platforms
from tests.support.skopeo import install_program, install_skopeo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFERENCE = Reference.parse("registry.example/app:1.0")
NAME = "registry.example/app"
RETRIES = "--retry-times=2"


def open_registry(reference: Reference = REFERENCE, access: RegistryAccess | None = None) -> Registry:
    return Registry.open(reference, access or RegistryAccess())


def test_an_image_costs_its_index_one_manifest_and_one_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = write_platforms(tmp_path / "layout", "linux/amd64", "linux/arm64", tag="1.0")
    skopeo = install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    image = resolve_image(open_registry(), Platform.parse("linux/arm64"))
    pinned = f"docker://{NAME}@{digests['linux/arm64']}"
    assert image.manifest.descriptor.digest == digests["linux/arm64"]
    assert skopeo.calls() == [
        ["inspect", "--raw", RETRIES, f"docker://{NAME}:1.0"],
        ["inspect", "--raw", RETRIES, pinned],
        ["inspect", "--raw", "--config", RETRIES, pinned],
    ]


def test_a_single_manifest_costs_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_layout(tmp_path / "layout", [tar_stream({})], tag="1.0")
    skopeo = install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    assert resolve_image(open_registry(), Platform.parse("linux/amd64")).digest == digest
    assert len(skopeo.calls()) == 2


def test_the_users_choices_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layout(tmp_path / "layout", [], tag="1.0")
    skopeo = install_skopeo(monkeypatch, tmp_path, tmp_path / "layout", tags=["1.0"])
    access = RegistryAccess(authfile=tmp_path / "auth.json", tls_verify=False)
    open_registry(access=access)
    assert list_tags(REFERENCE, access) == ["1.0"]
    options = [RETRIES, f"--authfile={tmp_path}/auth.json", "--tls-verify=false"]
    assert skopeo.calls() == [
        ["inspect", "--raw", *options, f"docker://{NAME}:1.0"],
        ["list-tags", *options, f"docker://{NAME}"],
    ]


def test_a_layer_is_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layout(tmp_path / "layout", [], tag="1.0")
    skopeo = install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    registry = open_registry()
    skopeo.calls()
    layer = Descriptor(media_type=OCI_LAYER, digest=Digest.of(b"layer"), size=5)
    with pytest.raises(BlobError) as caught:
        registry.open_blob(layer)
    expected = f"{NAME}:1.0: blob {layer.digest} is a layer, which is not read from a registry here"
    assert str(caught.value) == expected
    assert skopeo.calls() == []


def test_what_the_registry_says_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layout(tmp_path / "layout", [])
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    with pytest.raises(ImageError) as caught:
        open_registry()
    assert str(caught.value) == (
        f'{NAME}:1.0: skopeo says: reading manifest in "{NAME}:1.0": manifest unknown; check the name, or log in with'
        " `skopeo login registry.example`"
    )


_LIMITED = "the registry limits requests, and skopeo has waited for it in vain: run again later, or log in with"

_ANSWERS = "check that a registry answers at registry.example, and no proxy or login page in its place"
_HIDDEN = (
    "it takes no plain HTTP, and skopeo does not say why HTTPS failed, as for a missing client certificate: run again"
    " with --tls-verify, which shows that"
)
_LOG_IN = "log in with `skopeo login registry.example`"
_NAME = f"check the name, or {_LOG_IN}"
_EXPIRED = "the registry has to renew its certificate, unless the clock of this machine is wrong"
_AUTHORITY_OF_MIRROR = "put the certificate of its authority into /etc/containers/certs.d/mirror.example:5000/ca.crt"
_CLIENT = (
    "it wants a client certificate that it knows: put it and its key into /etc/containers/certs.d/registry.example, as"
    " client.cert and client.key"
)
_CLIENT_FILES = (
    "a client certificate is a file NAME.cert with its key NAME.key, both readable for you, in"
    " /etc/containers/certs.d/registry.example; see containers-certs.d(5)"
)


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        (
            "writing blob: write /tmp/x: no space left on device",
            "free some space, or set TMPDIR to another directory",
        ),
        (
            "reading manifest 1 in registry.example/x: toomanyrequests: You have reached your pull rate limit.",
            f"{_LIMITED} `skopeo login registry.example`",
        ),
        (
            "reading manifest 1 in registry.example/x: StatusCode: 429, ",
            f"{_LIMITED} `skopeo login registry.example`",
        ),
        (
            "reading manifest 1 in registry.example/x: received unexpected HTTP status: 503 Service Unavailable",
            "the registry fails: run again later",
        ),
        (
            "pinging container registry registry.example: dial tcp: lookup registry.example: no such host",
            "check the network and its proxy",
        ),
        (
            "pinging container registry registry.example: dial tcp 192.0.2.1:443: i/o timeout",
            "check the network and its proxy",
        ),
        (
            "pinging container registry registry.example: tls: x509: certificate signed by unknown authority",
            "put the certificate of its authority into /etc/containers/certs.d/registry.example/ca.crt",
        ),
        (
            "pinging container registry registry.example: x509: certificate has expired or is not yet valid: current",
            _EXPIRED,
        ),
        *(
            (
                f"pinging container registry registry.example: x509: {said}",
                "name the registry as its certificate does, or give it a certificate for registry.example",
            )
            for said in (
                "certificate is valid for other.example, not registry.example",
                "certificate is not valid for any names, but wanted to match registry.example",
                "certificate relies on legacy Common Name field, use SANs instead",
                "cannot validate certificate for 192.0.2.1 because it doesn't contain any IP SANs",
            )
        ),
        *(
            (f"pinging container registry registry.example: remote error: tls: {said}", _CLIENT)
            for said in ("certificate required", "bad certificate", "unknown certificate authority")
        ),
        *(
            (said, _CLIENT_FILES)
            for said in (
                "missing key client.key for client certificate client.cert. Note that CA certificates should use x",
                "missing client certificate client.cert for key client.key",
                "tls: private key does not match public key",
                "tls: failed to find any PEM data in certificate input",
                "open /etc/containers/certs.d/registry.example/client.key: permission denied",
            )
        ),
        *(
            (
                f"(Mirrors also failed: [mirror.example:5000/x/app:1.0: {mirror}]): registry.example/app:1.0: {said}",
                way_out,
            )
            for mirror, said, way_out in (
                ("x509: certificate signed by unknown authority", "dial tcp: lookup x", _AUTHORITY_OF_MIRROR),
                ("dial tcp: lookup x", "dial tcp: lookup x", "check the network and its proxy"),
                (
                    "authentication required",
                    "dial tcp: x",
                    "check the name, or log in with `skopeo login mirror.example:5000`",
                ),
                ("manifest unknown", "x509: certificate has expired or is not yet valid", _EXPIRED),
                ("x509: y", "authentication required", _NAME),
            )
        ),
        (
            "pinging container registry registry.example: StatusCode: 407, ",
            "write USER:PASSWORD@ into the address of the proxy",
        ),
        (
            "pinging container registry registry.example: http: server gave HTTP response to HTTPS client",
            "it speaks plain HTTP: use --no-tls-verify, or set `insecure = true` for it in registries.conf",
        ),
        *(
            (f"pinging container registry registry.example: {failure}", _HIDDEN)
            for failure in (
                "Get http://registry.example/v2/: read tcp 10.0.0.1:4->10.0.0.2:443: read: connection reset by peer",
                "Get http://registry.example/v2/: EOF",
                "StatusCode: 400, Client sent an HTTP request to an HTTPS server.",
                "StatusCode: 400, <title>400 The plain HTTP request was sent to HTTPS port</title>...",
            )
        ),
        (
            "pinging container registry registry.example: Get https://registry.example/v2/: EOF",
            _ANSWERS,
        ),
        (
            "registry registry.example is blocked in /etc/containers/registries.conf or /etc/containers/x.d",
            "name another registry, or remove `blocked` there",
        ),
        (
            "loading registries configuration: loading registries configuration /etc/x: toml: line 2: expected value",
            "mend that file, see containers-registries.conf(5)",
        ),
        (
            "loading registries configuration: reading x.d: lstat /a/registries.conf.d: permission denied",
            "make that file readable for you, and the directories above it",
        ),
        (
            "Error loading trust policy: open /etc/containers/policy.json: permission denied",
            "make that file readable for you, and the directories above it",
        ),
        (
            "getting username and password: reading JSON file a.json: open a.json: permission denied",
            "make the auth file readable for you, and the directories above it, or name another with --authfile",
        ),
        (
            "getting username and password: reading JSON file a: read a: is a directory",
            "name a file with --authfile, or in REGISTRY_AUTH_FILE",
        ),
        (
            "getting username and password: reading JSON file a.json: unmarshaling JSON: invalid character b looking",
            "mend the auth file, or name another with --authfile",
        ),
        (
            "getting username and password: invalid character 'h' looking for beginning of value",
            "mend the auth file, or the credential helper that it names, or name another file with --authfile",
        ),
        (
            "getting username and password: error getting credentials - err: exec: docker-credential-x: not found",
            f"install or mend this credential helper, or remove it from the auth file and {_LOG_IN}",
        ),
        (
            "Error loading trust policy: invalid policy in /etc/x: invalid character x looking for beginning",
            "policy.json decides this, see containers-policy.json(5)",
        ),
        (
            "Source image rejected: Running image docker://registry.example/x is rejected by policy.",
            "policy.json decides this, see containers-policy.json(5)",
        ),
        (
            "Source image rejected: A signature was required, but no signature exists",
            "policy.json decides this, see containers-policy.json(5)",
        ),
        (
            "invalid reference format",
            "skopeo and podman read no IPv6 address there: give the host a name, for example in /etc/hosts",
        ),
        ("pinging container registry registry.example: Get x: EOF", _ANSWERS),
        ("unexpected EOF", _ANSWERS),
        ("Get x: net/http: HTTP/1.x transport connection broken: malformed HTTP response SSH-2.0", _ANSWERS),
        ("Get /v2/some/web/manifests/1: stopped after 10 redirects", _ANSWERS),
        ("Get ftp://registry.example/v2/: unsupported protocol scheme ftp", _ANSWERS),
        ("reading manifest 1 in registry.example/x: StatusCode: 418, ", _ANSWERS),
        ("fetching tags list: invalid character x looking for beginning of value", _ANSWERS),
        ("pinging container registry registry.example: StatusCode: 403, ", _NAME),
        ("reading manifest 1 in registry.example/x: denied", _NAME),
    ],
)
def test_the_way_out_is_that_of_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, way_out: str
) -> None:
    script = f"#!/bin/sh\ncat >&2 <<'END'\nlevel=fatal msg=\"{said}\"\nEND\nexit 1\n"
    install_program(monkeypatch, tmp_path, "skopeo", script)
    with pytest.raises(ImageError) as caught:
        open_registry()
    assert str(caught.value) == f"{NAME}:1.0: skopeo says: {said}; {way_out}"


def test_failures_of_several_mirrors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"(Mirrors also failed: [a/app:1.0: x509: y\nb/app:1.0: x509: y]): registry.example/app:1.0: dial tcp: z"
    script = f"#!/bin/sh\ncat >&2 <<'END'\nlevel=fatal msg=\"{said}\"\nEND\nexit 1\n"
    install_program(monkeypatch, tmp_path, "skopeo", script)
    with pytest.raises(ImageError) as caught:
        open_registry()
    way_out = "put the certificate of its authority into /etc/containers/certs.d/a/ca.crt"
    said = said.replace(r"\n", "; ")
    assert str(caught.value) == f"{NAME}:1.0: skopeo says: {said}; {way_out}"


def test_no_name_is_blamed_that_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """skopeo starts whatever it says with the name, as if it could not be read."""
    script = r"""#!/bin/sh
echo 'level=fatal msg="Error parsing image name \"docker://registry.example/app:1.0\": reading manifest: denied"' >&2
exit 1
"""
    install_program(monkeypatch, tmp_path, "skopeo", script)
    with pytest.raises(ImageError) as caught:
        open_registry()
    assert str(caught.value) == f"{NAME}:1.0: skopeo says: reading manifest: denied; {_NAME}"


@pytest.mark.parametrize("text", ["<html>Log in</html>", "", "{", "[]", "{}"])
def test_a_page_in_the_place_of_a_manifest_is_no_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    install_program(monkeypatch, tmp_path, "skopeo", f"#!/bin/sh\nprintf %s '{text}'\n")
    with pytest.raises(ImageError) as caught:
        open_registry()
    assert str(caught.value).startswith(f"{NAME}:1.0: ")
    assert str(caught.value).endswith(f"; {_ANSWERS}")


def test_a_registry_that_limits_requests_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """skopeo waits for 30 seconds in each of its attempts, or as long as `Retry-After` says."""
    said = "fetching tags list: toomanyrequests: You have reached your pull rate limit."
    again = f'level=warning msg="Failed, retrying in 1s ... (1/2). Error: {said}"'
    install_program(monkeypatch, tmp_path, "skopeo", f"#!/bin/sh\necho '{again}' >&2; exec sleep infinity\n")
    with no_hang(), pytest.raises(ImageError) as caught:
        open_registry()
    assert str(caught.value) == f"{NAME}:1.0: skopeo says: {said}; {_LIMITED} `skopeo login registry.example`"


def test_an_attempt_that_may_succeed_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = 'level=warning msg="Failed, retrying in 1s ... (1/2). Error: received unexpected HTTP status: 503"'
    script = f"""#!/bin/sh\necho '{again}' >&2; echo '{{"Tags": ["1"]}}'\n"""
    install_program(monkeypatch, tmp_path, "skopeo", script)
    assert list_tags(REFERENCE, RegistryAccess()) == ["1"]


def test_a_manifest_of_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_layout(tmp_path / "layout", [])
    blob_path(tmp_path / "layout", digest).write_bytes(b'{"layers": []}')
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    with pytest.raises(BlobError) as caught:
        open_registry(REFERENCE.at(digest))
    found = Digest.of(b'{"layers": []}')
    assert str(caught.value) == f"{NAME}@{digest}: the registry gave a manifest of digest {found}; do not use it"


def test_a_sha512_reference_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_layout(tmp_path / "layout", [])
    text = blob_path(tmp_path / "layout", digest).read_bytes()
    long = Digest.of(text, "sha512")
    blob_path(tmp_path / "layout", long).parent.mkdir()
    blob_path(tmp_path / "layout", long).write_bytes(text)
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    assert open_registry(REFERENCE.at(long)).root == Descriptor(media_type=OCI_MANIFEST, digest=long, size=len(text))


def test_without_skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProcessError) as caught:
        open_registry()
    assert str(caught.value) == (
        "skopeo: program not found; install skopeo and make sure that it is on PATH; `nixoci doctor` says what else is"
        " missing"
    )


def test_tags_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_program(monkeypatch, tmp_path, "skopeo", "#!/bin/sh\necho '{}'\n")
    with pytest.raises(ImageError, match=rf"^{NAME}: skopeo list-tags did not print a list of tags$"):
        list_tags(REFERENCE, RegistryAccess())


ENDLESS = """#!/bin/sh
for layout; do :; done
layout=${layout#oci:} && layout=${layout%:*}
mkdir -p "$layout"
while [ "$(ulimit -f)" = unlimited ]; do sleep 0.01; done
exec cat /dev/zero > "$layout/oci-put-blob"
"""
"""Writes without an end once it has a limit, which a busy machine gives it late."""


@pytest.mark.parametrize("copy", [copy_layers, fetch_artifact])
def test_a_blob_without_an_end_is_not_fetched(
    copy: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """skopeo writes all that a registry sends, and knows at its end that it is not the blob."""
    install_program(monkeypatch, tmp_path, "skopeo", ENDLESS)
    blobs = [Descriptor(media_type=OCI_LAYER, digest=Digest.of(b"layer"), size=size) for size in (5, 1000)]
    with no_hang(), pytest.raises(BlobError) as caught:
        copy(REFERENCE, RegistryAccess(), tmp_path / "layout", blobs)
    assert str(caught.value) == (
        f"{REFERENCE}: the registry sends more than the 1000 bytes that its largest blob has; do not use it"
    )
    assert (tmp_path / "layout/oci-put-blob").stat().st_size <= 1000 + (64 << 20)
