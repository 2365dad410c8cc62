from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import DeltaError
from nixoci.image_delta.artifact import (
    BASE,
    CONFIG_TYPE,
    STREAM_FORMAT,
    STREAM_TYPE,
    ArtifactManifest,
    DeltaConfig,
    base_of,
    render_manifest,
)
from nixoci.image_delta.signature import SignedContents
from nixoci.image_path import FORMAT_VERSION
from nixoci.nix_store.hashes import to_sri
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_MANIFEST
from nixoci.oci.model import Descriptor

DIGEST = Digest.of(b"something")
SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"new"), size=3)
CONFIG = Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(b"config"), size=6)
STREAM = Descriptor(media_type=STREAM_TYPE, digest=Digest.of(b"stream"), size=600)


def rendered(stream_format: int = 1) -> bytes:
    return render_manifest(subject=SUBJECT, base=DIGEST, config=CONFIG, stream=STREAM, stream_format=stream_format)


def test_a_manifest_is_read_as_it_is_written() -> None:
    manifest = ArtifactManifest.parse(rendered(), what="x")
    assert (manifest.subject, manifest.config, manifest.base, manifest.size) == (SUBJECT, CONFIG, DIGEST, 606)
    assert manifest.stream(what="x") == STREAM


def test_the_layout_of_the_documentation() -> None:
    assert json.loads(rendered(2)) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.nixoci.delta.v1",
        "config": {
            "mediaType": "application/vnd.nixoci.delta.config.v1+json",
            "digest": str(CONFIG.digest),
            "size": 6,
        },
        "layers": [{"mediaType": "application/vnd.nixoci.delta.stream", "digest": str(STREAM.digest), "size": 600}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": str(SUBJECT.digest), "size": 3},
        "annotations": {
            "nixoci.delta.base": str(DIGEST),
            "nixoci.delta.extraction-format": str(FORMAT_VERSION),
            "nixoci.delta.stream-format": "2",
        },
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"annotations": {BASE: str(DIGEST)}}, "x: its extraction format is None, this nixoci has 1"),
        ({"layers": []}, "x: it has not the one layer of a delta; push it again"),
    ],
)
def test_an_artifact_that_cannot_be_applied(change: dict[str, object], says: str) -> None:
    manifest = ArtifactManifest.parse(json.dumps(json.loads(rendered()) | change).encode(), what="x")
    with pytest.raises(DeltaError) as caught:
        manifest.stream(what="x")
    assert str(caught.value) == says


def test_a_newer_format_is_named() -> None:
    manifest = ArtifactManifest.parse(rendered(200), what="x")
    with pytest.raises(DeltaError, match=r"^x: its delta format is 200, this nixoci reads up to [0-9]+; update it$"):
        manifest.stream(what="x")
    assert manifest.annotations[STREAM_FORMAT] == "200"


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"schemaVersion": 2}'])
def test_what_is_no_manifest(text: bytes) -> None:
    with pytest.raises(DeltaError, match=r"^x: .*; it is no delta$"):
        ArtifactManifest.parse(text, what="x")


@given(manifest=st.text(max_size=50), config=st.text(max_size=50), warnings=st.lists(st.text(max_size=20), max_size=3))
def test_a_config_is_read_as_it_is_written(manifest: str, config: str, warnings: list[str]) -> None:
    written = DeltaConfig.of(manifest=manifest, config=config, warnings=warnings)
    assert DeltaConfig.parse(written.render(), what="x") == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"version": 2, "texts": []}', r"^x: version 2, this nixoci reads 1; update it$"),
        (b'{"version": 1, "manifest": ""}', r"^x: .*push the delta again$"),
        (b'{"version": 1, "manifest": "", "config": "", "more": 1}', r"^x: .*push the delta again$"),
    ],
)
def test_what_is_no_config(text: bytes, says: str) -> None:
    with pytest.raises(DeltaError, match=says):
        DeltaConfig.parse(text, what="x")


def test_a_base_that_is_no_digest() -> None:
    assert base_of({BASE: str(DIGEST)}) == DIGEST
    assert base_of({BASE: "latest"}) is None
    assert base_of({}) is None


_KEY_NAMES = st.text("abc-.1", min_size=1, max_size=9)
_SIGNATURES = st.lists(
    st.builds(lambda name, key: f"{name}:{b64encode(key).decode()}", _KEY_NAMES, st.binary(min_size=64, max_size=64)),
    min_size=1,
    max_size=3,
).map(tuple)
_NAR_HASHES = st.tuples(*[st.binary(min_size=32, max_size=32).map(to_sri)] * 2)


@given(_NAR_HASHES, _SIGNATURES)
def test_signed_contents_are_read_as_they_are_written(nar_hashes: tuple[str, ...], signatures: tuple[str, ...]) -> None:
    contents = SignedContents(
        manifest=SUBJECT.digest, config=CONFIG.digest, nar_hashes=nar_hashes, signatures=signatures
    )
    text = render_manifest(
        subject=SUBJECT, base=DIGEST, config=CONFIG, stream=STREAM, stream_format=1, contents=contents
    )
    manifest = ArtifactManifest.parse(text, what="x")
    assert manifest.contents == contents
    assert manifest.signed_by == [signature.partition(":")[0] for signature in signatures]


_SIGNATURE = f"key-1:{'A' * 86}=="
_NAR_HASH = f"sha256-{'A' * 43}="


@pytest.mark.parametrize(
    ("nar_hashes", "signatures"),
    [
        ("", _SIGNATURE),
        (_NAR_HASH, _SIGNATURE),
        (f"{_NAR_HASH} {_NAR_HASH}", " ".join([_SIGNATURE] * 65)),
        (f"{_NAR_HASH} {_NAR_HASH} {_NAR_HASH}", _SIGNATURE),
        (f"{_NAR_HASH}\n{_NAR_HASH}", _SIGNATURE),
        (f"{_NAR_HASH} sha256-x", _SIGNATURE),
        (f"{_NAR_HASH} {_NAR_HASH}", ""),
        (f"{_NAR_HASH} {_NAR_HASH}", f"{_SIGNATURE} key-2:x"),
        (f"{_NAR_HASH} {_NAR_HASH}", f"{_SIGNATURE}\nCA: fixed"),
        (f"{_NAR_HASH} {_NAR_HASH}", f":{'A' * 86}=="),
    ],
)
def test_what_is_no_signature_says_nothing(nar_hashes: str, signatures: str) -> None:
    """Neither may end a line of what Nix reads, nor take the place of another hash."""
    annotations = {"nixoci.delta.nar-hashes": nar_hashes, "nixoci.delta.signatures": signatures}
    value = json.loads(rendered())
    value["annotations"] |= annotations
    manifest = ArtifactManifest.parse(json.dumps(value).encode(), what="x")
    assert manifest.contents is None
    assert manifest.signed_by == []
