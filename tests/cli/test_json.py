"""Each verb's JSON has the keys and types that docs/json.md has, and the page has no others."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from nixoci.cli import VERBS, cli
from nixoci.delta.summary import SendSummary, Totals
from nixoci.image_delta.artifact import ARTIFACT_TYPE, ArtifactManifest
from nixoci.image_delta.find import FoundDelta
from nixoci.image_delta.pull import PulledImage, UsableDelta
from nixoci.lock.model import LockedNarHash
from nixoci.lock.names import blob_name
from nixoci.lock.prefetch import AddedImagePath
from nixoci.nix_store.hashes import to_sri
from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference
from nixoci.publish.index import Index, PublishedDelta, Release
from nixoci.publish.path_set import encode
from tests.container.samples import make_image
from tests.delta.trees import closure, delta, store_path
from tests.engines.containerd.engine import Containerd
from tests.engines.containerd.samples import entry, joined
from tests.engines.docker.place import Place, Store
from tests.gc_roots.test_podman import stand_in
from tests.image_store.trees import image_path, small_tree
from tests.layer_cache.samples import mkfs
from tests.nix_store.fake import Fake
from tests.publish.cache import make_cache
from tests.support.layout import tar_stream, write_layout
from tests.support.skopeo import install_skopeo
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
_STEP = re.compile(r"\[\]|[A-Za-z]+")
_TYPES = {
    "string": (str,),
    "string or null": (str, type(None)),
    "integer": (int,),
    "boolean": (bool,),
    "any": (object,),
}
WITHOUT_JSON = {"completion", "fetch-blob", "fetch-image", "help", "man", "substituter"}
"""A script for a shell, a builder whose output is a file, texts for readers, and a service."""

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")


def keys(verb: str) -> dict[tuple[str, ...], tuple[tuple[type, ...], bool]]:
    """Return the types of each key of a verb, and whether it is optional."""
    (section,) = (part for part in PAGE.split("\n## ")[1:] if f"`nixoci {verb}`" in part.splitlines()[0])
    found: dict[tuple[str, ...], tuple[tuple[type, ...], bool]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        for key in re.findall(r"`([^`]+)`", cells[0]) if line.startswith("| `") else ():
            kind, _, optional = cells[1].partition(", ")
            assert optional in {"", "optional"}
            found[tuple(_STEP.findall(key))] = (_TYPES[kind], bool(optional))
    return found


def leaves(value: Any, known: set[tuple[str, ...]], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the key of each value that is no list or object; a key of a map is the page's word in capitals."""
    if at in known and at[-1:] != ("[]",):
        yield at, value
    elif isinstance(value, list):
        for element in value:
            yield from leaves(element, known, (*at, "[]"))
    elif isinstance(value, dict):
        word = {key[len(at)] for key in known if key[: len(at)] == at and len(key) > len(at)}
        (only,) = word if len(word) == 1 else ("",)
        for name, inner in value.items():
            yield from leaves(inner, known, (*at, only if only.isupper() else name))
    else:
        yield at, value


def check(verb: str, *printed: Any) -> None:
    """Compare what runs of a verb printed with its table; together they must have every key."""
    described = keys(verb)
    seen = set()
    for value in printed:
        found = list(leaves(value, set(described)))
        for key, leaf in found:
            assert key in described, f"{verb}: {'.'.join(key)} is not in docs/json.md"
            kinds, _ = described[key]
            assert isinstance(leaf, kinds), key
            assert int not in kinds or not isinstance(leaf, bool), key
        seen |= {key for key, _ in found}
    assert {key for key, (_, optional) in described.items() if not optional} <= seen


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_reports_something_has_json_and_a_section(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    has_json = any("--json" in parameter.opts for parameter in command.params)
    assert has_json == (f"`nixoci {verb}`" in PAGE) == (verb not in WITHOUT_JSON)


def test_a_renamed_key_is_found() -> None:
    described = {"deltaSize": 1, "narSize": 1, "roots": [""], "added": [""], "present": [""]}
    check("receive", described)
    with pytest.raises(AssertionError, match=r"root\.\[\] is not in docs"):
        check("receive", {**described, "root": [""]})
    del described["narSize"]
    with pytest.raises(AssertionError):
        check("receive", described)


@pytest.fixture
def web(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pin an image of one layer and of a registry, and return its layout."""
    for tag in ("1.0", "1.10"):
        write_layout(tmp_path / "layout", [tar_stream({"a": b"x" * 2000})], tag=tag)
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout", tags=["1.0", "1.10"])
    nixoci("add", "registry.example/web:1.0", "--platform", "linux/amd64")
    return tmp_path / "layout"


def test_registering(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.engines.containerd.ctr.run", Containerd(tmp_path / "containerd").run)
    entries = [entry(tmp_path, "named", "docker.io/library/a:1"), entry(tmp_path, "nameless", None)]
    store = str(joined(tmp_path, "joined", entries))
    check("register", nixoci("register", "containerd", store, "--dry-run", "--json").json)


def test_verbs_of_the_lock(nixoci: Run, web: Path, tmp_path: Path) -> None:
    check("list", nixoci("list", "--json").json)
    check("outdated", nixoci("outdated", "--json").json)
    check("show", nixoci("show", "web", "--json").json)
    added = nixoci("add", "oci:layout:1.0", "--name", "x", "--platform", "linux/amd64", "--json").json
    write_layout(web, [], tag="1.0")
    updated = nixoci("update", "x", "--json").json
    assert "previousDigest" in updated[0]
    check("add", added)
    check("update", updated)
    check("remove", nixoci("remove", "x", "--json").json)
    lock = json.loads((tmp_path / "nixoci.lock.json").read_bytes())
    lock["images"]["web"]["platforms"]["linux/amd64"]["narHash"] = {"format": 0, "hash": f"sha256-{'A' * 43}="}
    (tmp_path / "nixoci.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    check("show", nixoci("show", "web", "--json").json)
    check("verify", nixoci("verify", "--offline", "--json").json)


NIX = """#!/bin/sh
case "$0 $*" in
*--check-validity*) shift 2; for path; do [ -e "$path" ] || echo "$path"; done ;;
*nix-prefetch-url*) cp "${5#file://}" "$PWD/store/$4" ;;
*nix-hash*) printf %064d 0 ;;
*nix-instantiate*) echo '{"web": "web-1"}' ;;
esac
"""
"""A stand-in for the commands of Nix that `prefetch` runs."""


@pytest.mark.usefixtures("web")
def test_prefetch(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setattr("nixoci.lock.prefetch.blob_path", lambda digest: tmp_path / "store" / blob_name(digest))
    for name in ("nix-store", "nix-prefetch-url", "nix-hash", "nix-instantiate"):
        executable(tmp_path / "bin" / name, NIX)
    planned = nixoci("prefetch", "--dry-run", "--json").json
    assert list((tmp_path / "store").iterdir()) == []
    done = nixoci("prefetch", "--no-image-paths", "--json").json
    assert (planned["narHashes"], planned["blobs"]) == ([], done["blobs"])
    nixoci("add", "oci:layout:1.10", "--name", "gone", "--platform", "linux/amd64")
    shutil.rmtree(tmp_path / "layout")
    for blob in (tmp_path / "store").iterdir():
        blob.unlink()
    failed = nixoci("prefetch", "--no-image-paths", "--json")
    assert failed.code == 1
    assert {each["name"] for each in failed.json["failures"]} == {"gone", "web"}
    check("prefetch", done, failed.json)


@pytest.mark.usefixtures("web")
def test_prefetch_by_a_delta(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "bin/nix-instantiate", NIX)
    executable(tmp_path / "bin/nix-store", NIX)
    pull = Pull(tmp_path, monkeypatch, "nixoci.cli.prefetch")
    planned = nixoci("prefetch", "--dry-run", "--json").json
    done = nixoci("prefetch", "--json").json
    assert planned["narHashes"][0] == {
        "name": "web",
        "platform": "linux/amd64",
        "narHash": None,
        "path": None,
        "deltaSize": 9,
    }
    assert done["narHashes"][0] | {"narHash": None, "path": None} == planned["narHashes"][0]
    assert done["narHashes"][0]["narHash"] == pull.added.nar_hash.hash
    lock = json.loads((tmp_path / "nixoci.lock.json").read_bytes())
    assert lock["images"]["web"]["platforms"]["linux/amd64"]["narHash"]["hash"] == pull.added.nar_hash.hash
    check("prefetch", done, {"blobs": [str(Digest.of(b"layer"))]})


class Pull:
    """A stand-in for the deltas of a registry, whose result is the image path `/nix/store/…-web-1`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        base = image_path(folder / "base", small_tree())
        text = {
            "schemaVersion": 2,
            "artifactType": ARTIFACT_TYPE,
            "config": {"digest": str(Digest.of(b"c")), "size": 1},
            "layers": [{"digest": str(Digest.of(b"l")), "size": 8}],
            "subject": {"digest": str(Digest.of(b"s")), "size": 1},
        }
        found = FoundDelta(
            kind="nixoci",
            reference=Reference.parse("registry.example/web").at(Digest.of(b"artifact")),
            manifest=ArtifactManifest.parse(json.dumps(text).encode(), what="x"),
            base=base.document.manifest.digest,
        )
        self.usable = UsableDelta(delta=found, base=base, size=9)
        self.added = AddedImagePath(nar_hash=LockedNarHash(format=1, hash=f"sha256-{'A' * 43}="), path=NEW)
        monkeypatch.setattr(f"{module}.usable_deltas", lambda *_: [self.usable])
        pulled = PulledImage(added=self.added, by=self.usable)
        monkeypatch.setattr(f"{module}.pull_image_path", lambda *_, **__: pulled)


@pytest.mark.usefixtures("web")
def test_delta(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    for name in ("nix-store", "nix-instantiate"):
        executable(tmp_path / "bin" / name, NIX)
    monkeypatch.setattr("nixoci.image_delta.find.STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setattr("nixoci.image_delta.push.served_referrers", lambda *_: None)
    monkeypatch.setattr("nixoci.oci.referrers.served_referrers", lambda *_: None)
    base = image_path(tmp_path / "base", small_tree())
    push = ["delta", "push", "web", "--format=oci-delta", f"--from={base.path}", "--json"]
    planned = nixoci(*push, "--dry-run").json
    (tmp_path / "link").symlink_to(base.path)
    assert nixoci(*push, "--dry-run", f"--from={tmp_path / 'link'}").json == planned, "one base by two names"
    assert nixoci("delta", "list", "--json").json == []
    pushed = nixoci(*push).json
    assert pushed == planned
    assert [row["digest"] is None for row in pushed] == [True], "a layer this small is no larger than its delta"
    monkeypatch.setattr("nixoci.image_delta.push.pays", lambda *_: True)
    pushed = nixoci(*push).json
    listed = nixoci("delta", "list", "--json").json
    assert listed == [pushed[0] | {"basePath": None}]
    with monkeypatch.context() as signed:
        signed.setattr(ArtifactManifest, "signed_by", ["publisher-1"])
        listed = nixoci("delta", "list", "--json").json
        assert listed == [pushed[0] | {"basePath": None, "signedBy": ["publisher-1"]}]
    Pull(tmp_path / "store", monkeypatch, "nixoci.cli.delta")
    planned = nixoci("delta", "pull", "--dry-run", "--json").json
    done = nixoci("delta", "pull", "--json").json
    assert planned["added"] == [done["added"][0] | {"path": None}]
    monkeypatch.setattr("nixoci.cli.delta.pull_image_path", lambda *_, **__: None)
    failed = nixoci("delta", "pull", "--json")
    assert failed.code == 1
    check("delta", pushed, listed, done, failed.json, {"present": [NEW]})


@pytest.mark.usefixtures("web")
def test_nix_text(nixoci: Run, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"containers": {"c": {"image": "web"}}}', encoding="utf-8")
    for verb, *arguments in (("generate", "--containers=d.json"), ("module", "d.json")):
        stale = nixoci(verb, *arguments, "--output=out.nix", "--check", "--json")
        written = nixoci(verb, *arguments, "--output=out.nix", "--json").json
        assert stale.code == 1
        assert stale.json == written == {"output": "out.nix", "changed": True, "images": ["web"], "containers": ["c"]}
        assert nixoci(verb, *arguments, "--output=out.nix", "--json").json["changed"] is False
        check(verb, written)
        (tmp_path / "out.nix").unlink()


@pytest.mark.usefixtures("web")
def test_import(nixoci: Run, tmp_path: Path) -> None:
    text = "services: {a: {image: 'registry.example/web:1.0'}, b: {image: other, platform: linux/arm64, scale: 2}}"
    (tmp_path / "compose.yaml").write_text(text, encoding="utf-8")
    check("import", nixoci("import", "--project-name", "x", "--json").json)


def test_images(nixoci: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [tar_stream({"a": b""})], tag="1.0")
    check("extract", nixoci("extract", "oci:layout:1.0", "out", "--reference", "web:1.0", "--json").json)
    image = image_path(tmp_path / "image", small_tree())
    check("image-store", nixoci("image-store", "store", str(image.path), "--no-erofs", "--json").json)
    cache = nixoci("layer-cache", "cache", "oci:layout:1.0", f"--mkfs-erofs={mkfs(tmp_path / 'bin')}", "--json").json
    check("layer-cache", cache, [{**cache[0], "warnings": ["text"]}])
    erofs = f"--mkcomposefs={executable(tmp_path / 'mkcomposefs', MKCOMPOSEFS)}"
    nixoci("image-store", "mounted", str(image.path), erofs)
    check("mstack", nixoci("mstack", "web.mstack", "mounted", "--json").json)


def test_units_and_bundle(nixoci: Run, tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    container = {"image": "i", "backend": "bundle", "networks": ["none"]}
    document = {"images": {"i": str(tmp_path / "image")}, "containers": {"web": container}}
    (tmp_path / "d.json").write_text(json.dumps(document), encoding="utf-8")
    tools = [f"--mkcomposefs={executable(tmp_path / 'mkcomposefs', MKCOMPOSEFS)}", "--seccomp=unconfined"]
    made = nixoci("units", "d.json", "out", *tools, "--json").json
    assert made == {
        "out": str(tmp_path / "out"),
        "units": ["nixoci-images.service", "web.service"],
        "quadlets": [],
        "bundles": ["web"],
        "warnings": [],
    }
    check("units", {**made, "quadlets": ["web.container"], "warnings": ["text"]})
    check("bundle", nixoci("bundle", "image", "bundle", "--seccomp=unconfined", "--json").json)


def test_register(nixoci: Run, tmp_path: Path) -> None:
    place = Place(tmp_path / "machine", tmp_path)
    place.make()
    (tmp_path / "images").mkdir()
    store = Store(tmp_path / "images")
    where = [f"--data-root={place.root.path}", "--config-file=/dev/null", "--dry-run", "--json"]
    added = nixoci("register", "docker", str(store.of("ab")), *where).json
    assert added["images"][0]["change"] == "added"
    place.make_docker()
    place.dockerd().pull(store.image("d").config, "a:1")
    moved = nixoci("register", "docker", str(store.of("a")), *where).json
    check("register", added, moved, {**moved, "images": [{**moved["images"][0], "usedBy": "tag x:1"}]})


def test_gc_roots(nixoci: Run, tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots/podman-gone").symlink_to(store_path("image", "a"))
    podman = f"--podman={stand_in(tmp_path)}"
    check("gc-roots", nixoci("gc-roots", podman, "--directory=roots", "--dry-run", "--json").json)


def test_doctor(nixoci: Run) -> None:
    done = nixoci("doctor", "--podman=/missing/podman", "--json")
    assert done.code == 1
    check("doctor", done.json)


@pytest.mark.parametrize("kind", ["nixoci", "reupnix-v1"])
def test_send(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    nix = Fake(tmp_path, monkeypatch)
    old = closure(nix.real, {OLD: {b"kept": b"kept", b"changed": b"old"}})
    new = closure(nix.real, {NEW: {b"kept": b"kept", b"changed": b"new"}})
    nix.know(old.paths[OLD], new.paths[NEW])
    nix.set(WRITE=",--write")
    ends = ["--from", OLD, "--to", NEW, "--store", nix.store]
    sent = nixoci("send", *ends, "--output=delta", f"--format={kind}", "--json").json
    assert sent["deltaSize"] == (tmp_path / "delta").stat().st_size
    check("send", sent)


def test_publish(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nix = Fake(tmp_path, monkeypatch)
    content = os.urandom(99_000)
    old = closure(nix.real, {OLD: {b"file": content}})
    new = closure(nix.real, {NEW: {b"file": content + b"new"}})
    nix.know(old.paths[OLD], new.paths[NEW])
    nix.set(WRITE=",--write")
    make_cache(tmp_path / "cache", new)
    (tmp_path / "cache/deltas").mkdir()
    (tmp_path / f"cache/deltas/{'0' * 52}.nxd").touch()
    delta = PublishedDelta(bases=[OLD[11:]], size=1, sha256=to_sri(b"x" * 32), download=9)
    monkeypatch.setattr("nixoci.publish.index.MAX_INDEX", 10_000)
    full = Index(version=1)
    for count, deltas in ((1 << 10, [delta]), (1, [])):
        filler = Release(roots=[f"{'a' * 32}-{count}"], paths=encode(range(0, 8 * count, 8)), deltas=deltas)
        while (more := Index(version=1, releases=[filler, *full.releases])).fitting() == more:
            full = more
    (tmp_path / "cache/deltas/index.json.zst").write_bytes(full.render())
    options = ["--store", nix.store, "--keep=10000", "--json"]
    done = nixoci("publish", "--cache=cache", "--from", OLD, "--to", NEW, *options).json
    assert len(done["removed"]) == 1
    assert set(done["dropped"]) == {f"{'a' * 32}-{1 << 10}"}
    check("publish", done)


def test_copy(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    by = {"plain": Totals(count=1, size=2, payload=3)}
    summary = SendSummary(paths=1, bases=0, nar_size=2, delta_size=3, by=by)
    monkeypatch.setattr("nixoci.cli.send.copy_closures", lambda *_, **__: summary)
    check("copy", nixoci("copy", "--to=ssh://host", NEW, "--json").json)


def test_receive(nixoci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nix = Fake(tmp_path, monkeypatch)
    (tmp_path / "sender").mkdir()
    nothing = closure(tmp_path / "sender", {})
    both = closure(tmp_path / "sender", {OLD: {b"a": b"1"}, NEW: {b"a": b"2"}})
    (tmp_path / "delta").write_bytes(delta(nothing, both)[0])
    nix.know(both.paths[OLD])
    done = nixoci("receive", "delta", "--store", nix.store, "--json").json
    assert (done["added"], done["present"]) == ([NEW], [OLD])
    check("receive", done)
