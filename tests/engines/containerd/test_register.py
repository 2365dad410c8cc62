"""Runs against a stand-in for containerd (engine.py): what they do, in which order, and what an interruption leaves."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from nixoci.container.places import mounted_image
from nixoci.engines.change import Change
from nixoci.engines.containerd.ctr import Ctr
from nixoci.engines.containerd.register import Places, register_in_containerd, release_roots
from nixoci.engines.containerd.shape import Shape, chain_id, default_shape
from nixoci.engines.roots import EngineRoots
from nixoci.errors import DocumentError, EngineError, ProcessError, StoreError, UnsupportedVersionError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import read_image_store
from tests.engines.containerd.engine import GC_ROOT, SNAPSHOT, Containerd, KilledError
from tests.engines.containerd.samples import diff_ids, entry, joined
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

K8S = "k8s.io"
SNAPSHOTS = "snapshots --snapshotter overlayfs"


class Host:
    """A host with a containerd, and entries of three images in its Nix store."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.containerd = Containerd(tmp_path / "containerd")
        self.path = tmp_path / "store"
        (tmp_path / "gcroots").mkdir()
        self.path.mkdir()
        self.roots = EngineRoots(engine="containerd", gc_roots=tmp_path / "gcroots", store_dir=self.path)
        self.places = Places(registered=tmp_path / "state/images.json", roots=self.roots)
        self.entries = {name: entry(self.path, f"x-{name}", f"docker.io/library/{name}:1") for name in "abc"}
        self._stores: dict[tuple[Path, ...], Path] = {}
        monkeypatch.setattr("nixoci.engines.containerd.ctr.run", self.containerd.run)
        # a process that is killed releases nothing
        release = EngineRoots.release
        monkeypatch.setattr(EngineRoots, "release", lambda *given, **more: self._alive() and release(*given, **more))

    def _alive(self) -> bool:
        return not self.containerd.dead

    def store(self, names: Sequence[str]) -> Path:
        entries = tuple(self.entries[name] for name in names)
        if entries not in self._stores:
            self._stores[entries] = joined(self.path, f"x-joined-{len(self._stores)}", entries)
        return self._stores[entries]

    def register(self, names: Sequence[str], namespace: str = "default", *, dry_run: bool = False) -> dict[str, Change]:
        """Register images; return what became of each name."""
        shape = default_shape(namespace)
        store, ctr = self.store(names), Ctr(namespace=namespace)
        outcome = register_in_containerd(store, ctr, shape=shape, places=self.places, dry_run=dry_run)
        return {image.name: image.change for image in outcome.names}

    def held(self) -> set[str]:
        return {name.removeprefix("x-") for name in self.roots.held()}

    def check(self, names: Sequence[str], namespace: str = "default") -> None:
        """Check that a namespace has these images whole, nothing else of ours, and nothing to do."""
        self.containerd.revive()
        assert set(self.register(names, namespace).values()) <= {Change.KEPT}
        assert len(self.containerd.commands) <= 5
        self.containerd.collect(namespace)
        space = self.containerd.namespace(namespace)
        images = {image.record.names[0]: image for image in read_image_store(self.store(names))}
        assert {name for name in space.images if name.startswith("docker.io/") and "@" not in name} == images.keys()
        for name, image in images.items():
            manifest = json.loads(space.blobs[space.images[name][0]][0])
            text, labels = space.blobs[manifest["config"]["digest"]]
            chain = chain_id(json.loads(text)["rootfs"]["diff_ids"])
            assert labels[SNAPSHOT] == chain
            assert (space.snapshots[chain].kind, space.snapshots[chain].labels) == ("Committed", {})
            target = mounted_image(image.entry, image.layer.id)
            assert str(self.containerd.files(namespace, chain).readlink()) == target
        assert len(space.snapshots) == len(images)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize("namespace", ["default", "moby", K8S])
def test_images_come_stay_and_go(host: Host, namespace: str) -> None:
    assert set(host.register("ab", namespace).values()) == {Change.ADDED}
    host.check("ab", namespace)
    assert host.held() == {"a", "b"}
    changes = host.register("bc", namespace)
    for name, change in (("a", Change.REMOVED), ("b", Change.KEPT), ("c", Change.ADDED)):
        assert changes[f"docker.io/library/{name}:1"] is change
    host.check("bc", namespace)
    assert host.held() == {"b", "c"}
    host.register("", namespace)
    assert host.containerd.namespace(namespace).images == {}
    assert host.containerd.namespace(namespace).snapshots == {}
    assert host.held() == set()


def test_a_dry_run_changes_nothing(host: Host) -> None:
    assert set(host.register("ab", dry_run=True).values()) == {Change.ADDED}
    assert host.containerd.namespace("default").images == {}
    assert not host.places.registered.exists()
    assert host.held() == set()


def test_images_of_kubernetes_are_pinned_and_found_by_id(host: Host) -> None:
    host.register("a", K8S)
    space = host.containerd.namespace(K8S)
    labels = {"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}
    assert {tuple(sorted(found.items())) for _, found in space.images.values()} == {tuple(sorted(labels.items()))}
    (identifier,) = (name for name in space.images if name.startswith("sha256:"))
    (digest,) = {digest for digest, _ in space.images.values()}
    assert json.loads(space.blobs[digest][0])["config"]["digest"] == identifier
    # an image that has another name stays, and is found by its id
    space.images["docker.io/library/mine:1"] = (digest, {})
    host.register("", K8S)
    assert set(space.images) == {identifier, "docker.io/library/mine:1"}


def test_what_nixoci_did_not_write_stays(host: Host) -> None:
    host.register("ab")
    space = host.containerd.namespace("default")
    own, other = "docker.io/library/a:1", "docker.io/library/other:1"
    digest = space.images["docker.io/library/b:1"][0]
    space.images[other] = (digest, {"mine": "yes"})
    host.containerd.prepare("default", "box", {GC_ROOT: "now"})
    # a name of ours that means something else now is the user's
    space.images[own] = (digest, {"mine": "yes"})
    assert own not in host.register("b")
    assert space.images[own] == (digest, {"mine": "yes"})
    # until it is declared
    assert host.register("ab")[own] is Change.CHANGED
    host.register("")
    assert set(space.images) == {other}
    assert "box" in space.snapshots
    assert host.held() == {"b"}


def test_a_snapshot_that_the_engine_unpacked_stays(host: Host) -> None:
    chain = chain_id(diff_ids("x-a"))
    host.containerd.unpack("default", chain)
    host.register("ab")
    space = host.containerd.namespace("default")
    assert host.containerd.files("default", chain).is_dir()
    assert not host.containerd.files("default", chain).is_symlink()
    assert space.snapshots[chain].labels == {}
    assert host.held() == {"b"}
    host.register("")
    assert space.snapshots == {}


def test_what_the_engine_dropped_comes_back(host: Host) -> None:
    host.register("ab", "moby")
    space = host.containerd.namespace("moby")
    space.images.pop("docker.io/library/a:1")
    host.containerd.collect("moby")
    assert len(space.snapshots) == 1
    changes = host.register("ab", "moby")
    assert changes == {"docker.io/library/a:1": Change.ADDED, "docker.io/library/b:1": Change.KEPT}
    host.check("ab", "moby")
    # an index of a pull, or whatever else: only the snapshot is gone
    chain = next(iter(space.snapshots))
    space.snapshots.pop(chain)
    assert sorted(host.register("ab", "moby").values(), key=str) == [Change.CHANGED, Change.KEPT]
    host.check("ab", "moby")


def test_lower_layers_are_nobody_s(host: Host) -> None:
    host.register("abc")
    base = diff_ids("x-a")[0]
    assert all(diff_ids(f"x-{name}")[0] == base for name in "abc")
    assert base not in host.containerd.namespace("default").snapshots


def test_another_entry_of_the_same_image_takes_over_when_the_first_is_gone(host: Host) -> None:
    host.register("a")
    host.entries["a"] = entry(host.path, "x-again", "docker.io/library/a:1", text="x-a")
    assert set(host.register("a").values()) == {Change.KEPT}
    assert host.held() == {"a"}
    (host.path / "x-a").rename(host.path / "gone")
    assert set(host.register("a").values()) == {Change.KEPT}
    assert host.held() == {"again"}
    host.check("a")


def test_other_containerds_of_the_host_keep_their_roots(host: Host, tmp_path: Path) -> None:
    host.register("a")
    first, host.containerd = host.containerd, Containerd(tmp_path / "k3s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nixoci.engines.containerd.ctr.run", host.containerd.run)
        host.register("b")
        assert host.held() == {"a", "b"}
        host.register("")
        assert host.held() == {"a"}
        host.register("b")
        # its disk is not mounted
        first.directory.parent.rename(tmp_path / "away")
        host.register("")
        assert host.held() == {"a", "b"}
        assert release_roots(host.places) == []
        (tmp_path / "away").rename(first.directory.parent)
        assert release_roots(host.places, dry_run=True) == [host.path / "x-b"]
        assert host.held() == {"a", "b"}
        assert release_roots(host.places) == [host.path / "x-b"]
        assert host.held() == {"a"}


def test_a_list_that_is_lost_releases_nothing(host: Host) -> None:
    host.register("a")
    host.places.registered.unlink()
    assert release_roots(host.places) == []
    assert host.held() == {"a"}
    assert set(host.register("a").values()) == {Change.KEPT}


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ([], "nothing"),
        ([{"Type": "overlay", "Source": "overlay", "Options": ["lowerdir=/x"]}], "overlay overlay"),
        ([{"Type": "bind", "Source": "/var/lib/other/snapshots/1/fs"}], "bind /var/lib/other/snapshots/1/fs"),
        ([{"Type": "bind", "Source": "/a"}, {"Type": "bind", "Source": "/b"}], "bind /a; bind /b"),
    ],
)
def test_a_snapshotter_that_works_otherwise_is_refused(host: Host, mounts: list[dict[str, object]], found: str) -> None:
    host.containerd.mounts = mounts
    with pytest.raises(EngineError, match=f"made a snapshot of {found}, expected one bind mount of .*/snapshots/N/fs"):
        host.register("a")
    assert host.containerd.namespace("default").snapshots == {}
    assert host.containerd.namespace("default").images == {}
    assert host.held() == set()


def test_an_answer_that_is_no_list_of_mounts_is_refused(host: Host) -> None:
    host.containerd.mounts = [{"Kind": "bind"}]
    with pytest.raises(EngineError, match=r"'Type' is missing; nixoci does not know this version of ctr"):
        host.register("a")
    assert host.containerd.namespace("default").snapshots == {}


def test_a_snapshot_that_is_not_empty_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = Containerd.prepare

    def prepare_with_content(self: Containerd, *given: object) -> Path:
        files = prepare(self, *given)  # type: ignore[arg-type]
        (files / "upper").mkdir()
        return files

    monkeypatch.setattr(Containerd, "prepare", prepare_with_content)
    with pytest.raises(EngineError, match=r"/fs: Directory not empty, expected an empty directory"):
        host.register("a")
    assert host.containerd.namespace("default").snapshots == {}
    assert list(host.containerd.directory.iterdir()) == []


@pytest.mark.parametrize(
    "refused",
    [
        "snapshots --snapshotter overlayfs prepare",
        "snapshots --snapshotter overlayfs commit",
        "images import",
        "content label",
    ],
)
def test_an_error_of_containerd_leaves_no_snapshot_half_made(host: Host, refused: str) -> None:
    host.containerd.refuse = refused
    with pytest.raises(ProcessError, match="refused"):
        host.register("a")
    space = host.containerd.namespace("default")
    assert {snapshot.kind for snapshot in space.snapshots.values()} <= {"Committed"}
    assert len(host.held()) == len(space.snapshots)
    host.containerd.refuse = ""
    host.register("a")
    host.check("a")


def test_containerd_that_does_not_keep_images_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Containerd, "_import", lambda *_: None)
    monkeypatch.setattr(Ctr, "label_content", lambda *_: None)
    with pytest.raises(EngineError, match="namespace default: containerd does not keep the images"):
        host.register("a")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("first", "then"), [("", "ab"), ("ab", "bc"), ("abc", "")])
def test_a_run_that_is_killed_anywhere_is_completed(host: Host, first: str, then: str, *, before: bool) -> None:
    killed = 0
    for number in range(1, 100):
        host.register(first, K8S)
        host.containerd.revive()
        host.containerd.kill_at, host.containerd.before = number, before
        try:
            host.register(then, K8S)
        except KilledError:
            killed += 1
            host.containerd.revive()
            linked = {path.readlink().name for path in host.containerd.directory.glob("*/fs") if path.is_symlink()}
            assert {name.removeprefix("x-").rpartition("-")[0] for name in linked} <= host.held()
            host.register(then, K8S)
        host.check(then, K8S)
        assert host.held() == set(then)
        host.register("", K8S)
        assert host.containerd.namespace(K8S).snapshots == {}
        if number > killed:
            break
    assert killed >= 8


def test_random_histories_end_in_what_is_declared(host: Host) -> None:
    chance = random.Random(7)  # noqa: S311 - a test
    for _ in range(40):
        namespace = chance.choice(["default", "moby", K8S])
        names = chance.sample("abc", chance.randrange(4))
        space = host.containerd.namespace(namespace)
        match chance.randrange(5):
            case 0:
                for name in chance.sample(sorted(space.images), len(space.images) // 2):
                    space.images.pop(name)
                host.containerd.collect(namespace)
            case 1:
                host.containerd.revive()
                host.containerd.kill_at, host.containerd.before = chance.randrange(1, 20), chance.random() < 0.5
                try:
                    host.register(names, namespace)
                except KilledError:
                    host.containerd.revive()
            case 2 if space.images:
                name = chance.choice(sorted(space.images))
                space.images[name] = (chance.choice(sorted(space.images.values(), key=str))[0], {})
        host.containerd.revive()
        host.register(names, namespace)
        # those whose names were taken over by others
        for name in [name for name in space.images if name.startswith("docker.io/") and "@" not in name]:
            if name.rpartition("/")[2][0] not in names:
                space.images.pop(name)
        host.containerd.collect(namespace)
        host.check(names, namespace)


def test_stores_that_cannot_be_registered(host: Host, tmp_path: Path) -> None:
    ctr = Ctr(namespace="default")
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "plain", [image], mkcomposefs=None)
    with pytest.raises(StoreError, match="has no EROFS file to mount"):
        register_in_containerd(tmp_path / "plain", ctr, shape=Shape.REGISTRY, places=host.places)
    with pytest.raises(StoreError, match="is not an image store"):
        register_in_containerd(tmp_path, ctr, shape=Shape.REGISTRY, places=host.places)
    host.places.registered.parent.mkdir()
    host.places.registered.write_text('{"version": 1, "engines": {"x": 1}}', encoding="ascii")
    with pytest.raises(DocumentError, match=r"images\.json"):
        host.register("a")
    host.places.registered.write_text('{"version": 2, "places": {}}', encoding="ascii")
    with pytest.raises(UnsupportedVersionError, match=r"images\.json: version 2, this nixoci reads 1; use the nixoci"):
        host.register("a")


def test_images_without_a_name_are_told(host: Host) -> None:
    host.entries["n"] = entry(host.path, "x-n", None)
    store = host.store("an")
    outcome = register_in_containerd(store, Ctr(namespace=K8S), shape=Shape.REGISTRY, places=host.places)
    assert outcome.nameless == [image.record.id for image in read_image_store(store) if not image.record.names]
    assert len(host.containerd.namespace(K8S).snapshots) == 1
    assert len(outcome.unmounted) == 1


def test_snapshots_left_with_ctr_s_label_are_released(host: Host) -> None:
    host.containerd.kill_at = 9
    with pytest.raises(KilledError):
        host.register("a")
    host.containerd.revive()
    space = host.containerd.namespace("default")
    assert [GC_ROOT in snapshot.labels for snapshot in space.snapshots.values()] == [True]
    host.register("b")
    host.check("b")
