"""Deltas that a repository lists: the choice of those that are read, and of which some cannot be."""

from __future__ import annotations

import json
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
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nixoci.image_delta.find import FoundDelta
    from nixoci.image_path import ImagePath

REFERENCE = Reference.parse("registry.example/web:1")
SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"new"), size=3)
BASE = Digest.of(b"old")


def artifact(name: bytes, base: Digest = BASE) -> bytes:
    return render_manifest(
        subject=SUBJECT,
        base=base,
        config=Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(b"config"), size=6),
        stream=Descriptor(media_type=STREAM_TYPE, digest=Digest.of(name), size=600),
        stream_format=1,
    )


class Repository:
    """Lists artifacts; None stands for one that the registry does not give, with an error."""

    def __init__(
        self, artifacts: Sequence[bytes | None], monkeypatch: pytest.MonkeyPatch, *, annotated: bool = False
    ) -> None:
        self.annotated = annotated
        self.warnings: list[str] = []
        self.texts = {Digest.of(b"%d" % number): text for number, text in enumerate(artifacts)}
        self.asked: list[Digest | None] = []
        monkeypatch.setattr(find, "list_referrers", lambda *_: list(map(self.entry, self.texts)))
        monkeypatch.setattr(find, "read_tagged", self.read)

    def entry(self, digest: Digest) -> Descriptor:
        text = self.texts[digest] if self.annotated else None
        annotations = json.loads(text)["annotations"] if text else {}
        return Descriptor(
            media_type=OCI_MANIFEST, digest=digest, size=1, artifact_type=ARTIFACT_TYPE, annotations=annotations
        )

    def read(self, reference: Reference, _: RegistryAccess) -> bytes:
        self.asked.append(reference.digest)
        text = self.texts[reference.digest] if reference.digest else None
        if text is None:
            raise ImageError(f"{reference}: skopeo says: status 500")
        return text

    def found(self, *here: ImagePath, others: bool = True) -> list[FoundDelta]:
        return find.find_deltas(
            REFERENCE, SUBJECT.digest, RegistryAccess(), here, others=others, warn=self.warnings.append
        )

    def streams(self) -> list[Digest]:
        return [each.manifest.stream(what="x").digest for each in self.found()]


def test_a_delta_that_cannot_be_read_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository([artifact(b"a"), None, b"<html>", artifact(b"b")], monkeypatch)
    assert repository.streams() == [Digest.of(b"b"), Digest.of(b"a")], "the newest first"


def test_a_registry_that_fails_is_not_asked_on_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository([None] * 9, monkeypatch)
    with pytest.raises(ImageError, match=r"skopeo says: status 500$"):
        repository.streams()
    assert len(repository.asked) < 9


@pytest.mark.parametrize("annotated", [True, False], ids=["a list with bases", "a list without"])
@pytest.mark.parametrize("place", [0, 150, 299])
def test_the_delta_of_the_base_that_is_here_is_found_among_hundreds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, *, annotated: bool
) -> None:
    here = image_path(tmp_path / "here", small_tree())
    artifacts = [artifact(b"other", Digest.of(b"%d" % number)) for number in range(300)]
    artifacts[place] = artifact(b"ours", here.document.manifest.digest)
    repository = Repository(artifacts, monkeypatch, annotated=annotated)
    bases = [each.base for each in repository.found(here)]
    assert len(bases) == 64
    assert f"lists 300 deltas to {SUBJECT.digest}; 64 of them are read" in repository.warnings[0]
    if annotated:
        assert bases[0] == here.document.manifest.digest
        repository.asked.clear()
        repository.warnings.clear()
        assert [each.base for each in repository.found(here, others=False)] == bases[:1]
        assert len(repository.asked) == 1, "none is read that starts from another image"
        assert repository.warnings == []
    else:
        read = [Digest.of(b"%d" % number) for number in range(299, 235, -1)]
        assert bases[1:] == read[1:]
        assert bases[0] == (here.document.manifest.digest if place == 299 else read[0])
