"""Deltas that a repository lists, of which some cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ImageError
from nixoci.image_delta import find
from nixoci.image_delta.artifact import ARTIFACT_TYPE, CONFIG_TYPE, STREAM_TYPE, render_manifest
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_MANIFEST
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.registry import RegistryAccess

if TYPE_CHECKING:
    from collections.abc import Sequence

REFERENCE = Reference.parse("registry.example/web:1")
SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"new"), size=3)
BASE = Digest.of(b"old")


def artifact(name: bytes) -> bytes:
    return render_manifest(
        subject=SUBJECT,
        base=BASE,
        config=Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(b"config"), size=6),
        stream=Descriptor(media_type=STREAM_TYPE, digest=Digest.of(name), size=600),
        stream_format=1,
    )


class Repository:
    """Lists artifacts; None stands for one that the registry does not give, with an error."""

    def __init__(self, artifacts: Sequence[bytes | None], monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts = {Digest.of(b"%d" % number): text for number, text in enumerate(artifacts)}
        self.asked: list[Digest | None] = []
        monkeypatch.setattr(find, "list_referrers", lambda *_: list(map(self.entry, self.texts)))
        monkeypatch.setattr(find, "read_tagged", self.read)

    def entry(self, digest: Digest) -> Descriptor:
        return Descriptor(media_type=OCI_MANIFEST, digest=digest, size=1, artifact_type=ARTIFACT_TYPE)

    def read(self, reference: Reference, _: RegistryAccess) -> bytes:
        self.asked.append(reference.digest)
        text = self.texts[reference.digest] if reference.digest else None
        if text is None:
            raise ImageError(f"{reference}: skopeo says: status 500")
        return text

    def streams(self) -> list[Digest]:
        found = find.find_deltas(REFERENCE, SUBJECT.digest, RegistryAccess())
        return [each.manifest.stream(what="x").digest for each in found]


def test_a_delta_that_cannot_be_read_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository([artifact(b"a"), None, b"<html>", artifact(b"b")], monkeypatch)
    assert repository.streams() == [Digest.of(b"a"), Digest.of(b"b")]


def test_a_registry_that_fails_is_not_asked_on_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository([None] * 9, monkeypatch)
    with pytest.raises(ImageError, match=r"skopeo says: status 500$"):
        repository.streams()
    assert len(repository.asked) < 9
