"""The choice of a delta; tests/host pulls from a real registry into a real store."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError, ImageError
from nixoci.image_delta import oci_delta, pull
from nixoci.image_delta.artifact import (
    ARTIFACT_TYPE,
    BASE,
    EXTRACTION_FORMAT,
    NAR_HASHES,
    SIGNATURES,
    STREAM_FORMAT,
    STREAM_TYPE,
    ArtifactManifest,
)
from nixoci.image_delta.find import FoundDelta
from nixoci.image_delta.layout import ArtifactLayout
from nixoci.image_delta.pull import UsableDelta, pull_image_path, usable_deltas
from nixoci.lock.context import LockContext
from nixoci.lock.model import LockedNarHash
from nixoci.lock.prefetch import AddedImagePath, PrefetchTarget, prefetch_targets
from nixoci.oci.digest import Digest
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from tests.image_store.trees import image_path, small_tree
from tests.nix_language.locks import image, lock, platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixoci.image_delta.signature import SignedContents
    from nixoci.image_path import ImagePath

CONTEXT = LockContext(directory=Path("/"))
HASH = LockedNarHash(format=1, hash="sha256-x")
REPOSITORY = Reference.parse("registry.example/web:1")
(TARGET,) = prefetch_targets(lock(web=image(str(REPOSITORY), amd64=platform("web", "a", "b"))))
LAYERS = TARGET.locked.layers


def pinned(target: PrefetchTarget = TARGET, nar_hash: LockedNarHash | None = HASH) -> PrefetchTarget:
    platforms = {target.platform: replace(target.locked, nar_hash=nar_hash)}
    return replace(target, image=replace(target.image, platforms=platforms))


def found(base: Digest, size: int, *, kind: str = "nixoci", described: tuple[Digest, ...] = ()) -> FoundDelta:
    layers = [
        {
            "digest": str(Digest.of(f"{digest}".encode())),
            "size": 0,
            "annotations": {oci_delta.CONTENT: oci_delta.IMAGE_LAYER, oci_delta.TO: str(digest)},
        }
        for digest in described
    ]
    text = {
        "schemaVersion": 2,
        "artifactType": ARTIFACT_TYPE if kind == "nixoci" else oci_delta.ARTIFACT_TYPE,
        "config": {"digest": str(Digest.of(b"c")), "size": size},
        "layers": layers,
        "subject": {"digest": str(Digest.of(b"s")), "size": 1},
        "annotations": {BASE: str(base), EXTRACTION_FORMAT: "1", STREAM_FORMAT: "1"},
    }
    return FoundDelta(
        kind="nixoci" if kind == "nixoci" else "oci-delta",
        reference=REPOSITORY.at(Digest.of(f"{kind} {size}".encode())),
        manifest=ArtifactManifest.parse(json.dumps(text).encode(), what="x"),
        base=base,
    )


def signed(delta: FoundDelta, *signatures: str) -> FoundDelta:
    more = {NAR_HASHES: " ".join([f"sha256-{'A' * 43}="] * 2), SIGNATURES: " ".join(signatures)}
    return replace(delta, manifest=replace(delta.manifest, annotations={**delta.manifest.annotations, **more}))


class Nix:
    """A server that says which paths are valid, and keeps them so until it ends."""

    def __init__(self, *valid: str) -> None:
        self._valid = set(valid)
        self.held: set[str] = set()

    @contextmanager
    def registration(self, *, store: str | None) -> Iterator[Nix]:
        assert store is None
        yield self
        self.held.clear()

    def get_ready(self) -> None:
        """Nothing is added in these tests."""

    def valid(self, paths: list[str]) -> dict[str, object]:
        self.held |= self._valid & set(paths)
        return dict.fromkeys(self.held)


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nix:
    running = Nix(str(tmp_path / "older"))
    monkeypatch.setattr(pull, "registration", running.registration)
    return running


@pytest.fixture
def base(tmp_path: Path, nix: Nix, monkeypatch: pytest.MonkeyPatch) -> ImagePath:
    """The one older image path in the store, which has none of the new image's blobs."""
    assert nix.held == set()
    older = image_path(tmp_path / "older", small_tree())
    monkeypatch.setattr(pull, "image_paths_like", lambda _: [older])
    monkeypatch.setattr(pull, "missing_blobs", lambda targets: {blob.digest: blob for blob in targets[0].blobs})
    return older


def offered(monkeypatch: pytest.MonkeyPatch, *deltas: FoundDelta) -> None:
    monkeypatch.setattr(pull, "find_deltas", lambda *_, **__: list(deltas))


def chosen(target: PrefetchTarget) -> list[tuple[str, int]]:
    return [(each.delta.kind, each.size) for each in usable_deltas(target, "web-1", CONTEXT, print)]


def test_the_smallest_download_comes_first(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    here, size = base.document.manifest.digest, sum(layer.size for layer in LAYERS)
    assert size > 5
    whole = tuple(layer.digest for layer in LAYERS)
    offered(
        monkeypatch,
        found(here, 3),
        found(here, 2),
        found(here, size),
        found(Digest.of(b"not here"), 1),
        found(here, 1, kind="oci-delta", described=whole[:1]),
        found(here, 4, kind="oci-delta", described=whole),
    )
    besides = ("oci-delta", 1 + LAYERS[1].size)
    expected = sorted([("nixoci", 2), ("nixoci", 3), ("oci-delta", 4), besides], key=lambda one: one[1])
    assert chosen(pinned()) == [one for one in expected if one[1] < size]
    assert [kind for kind, _ in chosen(TARGET)] == ["oci-delta"] * len([one for one in (4, besides[1]) if one < size])


def test_a_base_may_be_found_by_its_config(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten = found(Digest.of(b"rewritten"), 1, kind="oci-delta", described=tuple(each.digest for each in LAYERS))
    offered(monkeypatch, replace(rewritten, base_config=base.document.config.digest))
    assert chosen(TARGET) == [("oci-delta", 1)]


def test_a_trusted_signature_stands_for_the_hash(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    here = base.document.manifest.digest
    deltas = [signed(found(here, size), f"key-{size}:{'A' * 86}==") for size in (2, 3)] + [found(here, 1)]
    offered(monkeypatch, *deltas)
    asked: list[SignedContents] = []

    def trust(claims: list[SignedContents], *, folder: Path) -> list[SignedContents]:
        assert not any(folder.iterdir())
        asked.extend(claims)
        return claims[1:]

    monkeypatch.setattr(pull, "trusted_contents", trust)
    (usable,) = usable_deltas(TARGET, "web-1", CONTEXT, print)
    assert asked == [delta.manifest.contents for delta in deltas[:2]]
    assert (usable.delta, usable.contents) == (deltas[1], asked[1])
    asked.clear()
    assert [each.contents for each in usable_deltas(pinned(), "web-1", CONTEXT, print)] == [None] * 3
    assert asked == []


def test_a_delta_that_needs_a_hash_says_so(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that pushed it has pinned the hash."""
    offered(monkeypatch, found(base.document.manifest.digest, 1))
    with pytest.raises(DeltaError, match=r"needs the hash in the lock, or a signature by one of nix"):
        chosen(TARGET)


def test_layers_that_are_in_the_store_cost_nothing(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, found(base.document.manifest.digest, 1))
    assert chosen(pinned()) == [("nixoci", 1)]
    monkeypatch.setattr(pull, "missing_blobs", lambda _: {})
    with pytest.raises(
        DeltaError,
        match=r"/web has no delta to it that is smaller than the layers which are not here$",
    ):
        chosen(pinned())


@pytest.mark.usefixtures("base")
def test_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch)
    with pytest.raises(DeltaError, match=r"^image web: registry.example/web has no delta to it from an image path"):
        chosen(pinned())
    with pytest.raises(
        DeltaError, match=r"has no delta to it from an image path that is here; `nixoci delta list web`"
    ):
        chosen(TARGET)
    monkeypatch.setattr(pull, "image_paths_like", lambda _: [])
    with pytest.raises(DeltaError, match=r"^image web: the Nix store has no older image path"):
        chosen(pinned())
    local = replace(TARGET, image=replace(TARGET.image, reference="oci:layout:1"))
    with pytest.raises(DeltaError, match=r"^image web: pinned from local files"):
        chosen(local)


def test_the_next_delta_is_tried_after_one_that_fails(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    here = base.document.manifest.digest
    deltas = [UsableDelta(delta=found(here, size), base=base, size=size) for size in (1, 2, 3)]
    warnings: list[str] = []
    added = AddedImagePath(nar_hash=HASH, path="/nix/store/x")
    tried: list[UsableDelta] = []

    def make(_target: object, _name: str, usable: UsableDelta, **_: object) -> AddedImagePath:
        tried.append(usable)
        if len(tried) % 2:
            raise ImageError("it is broken")
        return added

    monkeypatch.setattr(pull, "_pull", make)
    pulled = pull_image_path(TARGET, "web-1", deltas, context=CONTEXT, warn=warnings.append)
    assert pulled is not None
    assert (pulled.added, pulled.by) == (added, deltas[1])
    assert warnings == [f"image web: the delta {deltas[0].delta.reference} is not used: it is broken"]
    assert pull_image_path(TARGET, "web-1", deltas[:1], context=CONTEXT, warn=warnings.append) is None


def test_a_delta_that_needs_another_nixoci_is_not_fetched(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    delta = found(base.document.manifest.digest, 1)
    fetched: list[object] = []
    monkeypatch.setattr(pull, "fetch_artifact", lambda *each: fetched.append(each))
    newer = replace(delta.manifest, annotations={**delta.manifest.annotations, STREAM_FORMAT: "99"})
    usable = UsableDelta(delta=replace(delta, manifest=newer), base=base, size=1)
    warnings: list[str] = []
    assert pull_image_path(pinned(), "web-1", [usable], context=CONTEXT, warn=warnings.append) is None
    assert "its delta format is 99" in warnings[0]
    assert fetched == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "it lacks the blob {digest}; push the delta again"),
        (b"more", "its blob {digest} has 4 bytes, its manifest says 1; push the delta again"),
    ],
)
def test_an_artifact_without_the_blobs_of_its_manifest_is_not_used(
    base: ImagePath, content: bytes | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = found(base.document.manifest.digest, 1)
    stream = Descriptor(media_type=STREAM_TYPE, digest=Digest.of(b"stream"), size=1)
    delta = replace(delta, manifest=replace(delta.manifest, layers=[stream]))

    def fetch(_reference: object, _access: object, layout: Path, _blobs: object) -> None:
        for blob, data in ((delta.manifest.config.digest, b"c"), (stream.digest, content)):
            file = layout / "blobs" / blob.algorithm / blob.hex
            file.parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                file.write_bytes(data)

    monkeypatch.setattr(pull, "fetch_artifact", fetch)
    usable = UsableDelta(delta=delta, base=base, size=1)
    warnings: list[str] = []
    assert pull_image_path(pinned(), "web-1", [usable], context=CONTEXT, warn=warnings.append) is None
    expected = says.format(digest=stream.digest)
    assert warnings == [f"image web: the delta {delta.reference} is not used: {expected}"]


@pytest.mark.parametrize("kind", ["nixoci", "oci-delta"])
def test_the_base_is_kept_while_it_is_used(
    base: ImagePath, nix: Nix, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """From before the download, which takes the longest, to the end; the garbage collector may run at any time."""
    delta = found(base.document.manifest.digest, 1, kind=kind)
    seen: list[set[str]] = []

    def see(*_: object, **__: object) -> AddedImagePath:
        seen.append(set(nix.held))
        return AddedImagePath(nar_hash=HASH, path="/nix/store/x")

    monkeypatch.setattr(ArtifactLayout, "check", lambda *_, **__: None)
    for step in ("fetch_artifact", "fetch_blobs", "add_image_path", "_from_contents"):
        monkeypatch.setattr(pull, step, see)
    if kind == "nixoci":
        stream = Descriptor(media_type=STREAM_TYPE, digest=Digest.of(b"stream"), size=1)
        delta = replace(delta, manifest=replace(delta.manifest, layers=[stream]))
    usable = UsableDelta(delta=delta, base=base, size=1)
    pulled = pull_image_path(pinned(), "web-1", [usable], context=CONTEXT, warn=pytest.fail)
    assert pulled is not None
    assert seen == [{str(base.path)}] * (2 if kind == "nixoci" else 3)
    assert nix.held == set()


@pytest.mark.usefixtures("nix")
def test_the_process_that_decodes_gets_ready_during_the_download(
    base: ImagePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(DecodeWorker, "start_for", lambda _, version: seen.append(version))
    monkeypatch.setattr(ArtifactLayout, "check", lambda *_, **__: None)
    monkeypatch.setattr(pull, "fetch_artifact", lambda *_: seen.append("download"))
    monkeypatch.setattr(pull, "_from_contents", lambda *_, **__: AddedImagePath(nar_hash=HASH, path="/nix/store/x"))
    delta = found(base.document.manifest.digest, 1)
    stream = Descriptor(media_type=STREAM_TYPE, digest=Digest.of(b"stream"), size=1)
    delta = replace(delta, manifest=replace(delta.manifest, layers=[stream]))
    usable = UsableDelta(delta=delta, base=base, size=1)
    assert pull_image_path(pinned(), "web-1", [usable], context=CONTEXT, warn=pytest.fail) is not None
    assert seen == [int(delta.manifest.annotations[STREAM_FORMAT]), "download"]


def test_a_base_that_is_gone_costs_no_download(base: ImagePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "registration", Nix().registration)
    monkeypatch.setattr(pull, "fetch_artifact", pytest.fail)
    delta = found(base.document.manifest.digest, 1, kind="oci-delta")
    warnings: list[str] = []
    usable = UsableDelta(delta=delta, base=base, size=1)
    assert pull_image_path(TARGET, "web-1", [usable], context=CONTEXT, warn=warnings.append) is None
    assert warnings[0].endswith(f"is not used: {base.path}: not in the Nix store any more")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ImageError(f"{REPOSITORY.at(Digest.of(b'nixoci 1'))}: no answer"), "no answer"),
    ],
)
def test_a_warning_has_the_reason_once(
    base: ImagePath, error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = UsableDelta(delta=found(base.document.manifest.digest, 1), base=base, size=1)

    def fail(*_: object, **__: object) -> AddedImagePath:
        raise error

    monkeypatch.setattr(pull, "_pull", fail)
    warnings: list[str] = []
    assert pull_image_path(TARGET, "web-1", [usable], context=CONTEXT, warn=warnings.append) is None
    assert warnings == [f"image web: the delta {usable.delta.reference} is not used: {says}"]
