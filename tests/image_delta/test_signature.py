"""The extent of a signature of an image's contents."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from nixoci.image_delta import signature
from nixoci.image_delta.signature import SignedContents, trusted_contents
from nixoci.nix_store.hashes import HashingSink, to_sri
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import STORE_PATH
from nixoci.oci.digest import Digest
from nixoci.openat import open_below

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from nixoci.nix_store.path import PathInfo

_DIGESTS = st.binary(max_size=2).map(Digest.of)
_HASHES = st.tuples(*[st.binary(min_size=32, max_size=32).map(to_sri)] * 2)
_CONTENTS = st.builds(SignedContents, manifest=_DIGESTS, config=_DIGESTS, nar_hashes=_HASHES)


@given(_CONTENTS, _CONTENTS)
def test_two_contents_have_two_paths(one: SignedContents, two: SignedContents) -> None:
    """Nix signs the path and the hash, so that a signature of one is none of another."""
    paths = [contents.path_info.path for contents in (one, two)]
    hashes = [contents.path_info.nar_hash for contents in (one, two)]
    assert (paths[0] == paths[1], hashes[0] == hashes[1]) == (one == two, one == two)
    assert all(map(STORE_PATH.fullmatch, paths))


def test_the_text_of_the_documentation(tmp_path: Path) -> None:
    contents = SignedContents(
        manifest=Digest.of(b"manifest"),
        config=Digest.of(b"config"),
        nar_hashes=(f"sha256-{'A' * 43}=", f"sha256-{'B' * 43}="),
    )
    assert contents.text.decode() == (
        "nixoci-image-contents 1\n"
        f"manifest {Digest.of(b'manifest')}\n"
        f"config {Digest.of(b'config')}\n"
        f"metadata.dump sha256-{'A' * 43}=\n"
        f"rootfs sha256-{'B' * 43}=\n"
    )
    (tmp_path / "file").write_bytes(contents.text)
    hashed = HashingSink()
    nar = NarWriter(hashed, limit=1 << 20, what="x")
    open_below(tmp_path, b"file", nar.dump)
    info = contents.path_info
    assert (info.nar_hash, info.nar_size) == (hashed.sri, nar.size)
    assert (info.references, info.content_address) == ((), None)
    assert re.fullmatch("/nix/store/[^-]{32}-image-contents", info.path)


def test_nix_is_asked_for_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = [
        SignedContents(
            manifest=Digest.of(b"%d" % number),
            config=Digest.of(b"c"),
            nar_hashes=(to_sri(bytes(32)),) * 2,
            signatures=(f"key:{b64encode(bytes(64)).decode()}",),
        )
        for number in range(3)
    ]
    asked = io.StringIO()

    def trust(infos: list[PathInfo], *, folder: Path) -> list[PathInfo]:
        assert folder == tmp_path
        asked.write(" ".join(info.path for info in infos))
        return infos[1:]

    monkeypatch.setattr(signature, "trusted", trust)
    assert trusted_contents(claims, folder=tmp_path) == claims[1:]
    assert asked.getvalue().split() == [claim.path_info.path for claim in claims]


def test_claims_of_the_same_are_asked_with_all_their_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [
        SignedContents(
            manifest=Digest.of(b"m"),
            config=Digest.of(b"c"),
            nar_hashes=(to_sri(bytes(32)),) * 2,
            signatures=(f"{key}:{b64encode(bytes(64)).decode()}",),
        )
        for key in ("trusted", "other")
    ]

    def trust(infos: list[PathInfo], *, folder: Path) -> list[PathInfo]:
        (info,) = infos
        assert folder == tmp_path
        assert info.signatures == (*claims[0].signatures, *claims[1].signatures)
        return infos

    monkeypatch.setattr(signature, "trusted", trust)
    assert trusted_contents(claims, folder=tmp_path) == claims
