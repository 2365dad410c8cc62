"""The roots of podman's containers, with stand-ins for podman and Nix."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import ProcessError, StoreError
from nixoci.gc_roots import image_stores, links, update
from nixoci.gc_roots.links import Change, update_links
from nixoci.gc_roots.podman import Podman
from nixoci.gc_roots.units import UnitRoots
from nixoci.gc_roots.update import ContainerRoot, Places, mend_configuration, update_podman_roots
from nixoci.image_store.build import build_image_store
from nixoci.image_store.mount_options import DropIns, present_mount_options
from nixoci.image_store.names import EROFS
from nixoci.nix_store.path import store_path_of
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import executable

if TYPE_CHECKING:
    from nixoci.image_store.build import ListedImage


class Host:
    """A machine with a Nix store of one image store over two images, and containers of both."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.nix_store = folder / "store"
        self.places = Places(
            roots=folder / "roots",
            unit_roots=UnitRoots(files=folder / "units", links=None, user=False),
            kept_store=folder / "kept",
            drop_ins=DropIns(folder),
        )
        self.auto = folder / "auto"
        for made in (self.nix_store, self.auto, folder / "bin"):
            made.mkdir()
        (folder / "profile").symlink_to(self.nix_store)
        for module in (image_stores, links, update):
            if hasattr(module, "STORE_DIR"):
                monkeypatch.setattr(module, "STORE_DIR", str(self.nix_store))
        store = self.nix_store
        monkeypatch.setattr(update, "built_stores", lambda: image_stores.built_stores(store))
        find, path_of = image_stores.find_images, store_path_of
        monkeypatch.setattr(update, "find_images", lambda *given, **more: find(*given, store_dir=store, **more))
        monkeypatch.setattr(update, "store_path_of", lambda path: path_of(path, store))
        monkeypatch.setattr(links, "_REGISTERED", self.auto)
        monkeypatch.setattr(update, "update_links", self._update_links)
        executable(
            folder / "bin/nix-store",
            f"""#!/bin/sh
# nix-store --query --roots PATH, nix-store --realise PATH --add-root LINK --indirect
[ "$1" = --query ] && {{ [ ! -e {folder}/not-rooted ] && echo "{folder}/profile -> $3"; exit 0; }}
[ -e "$2" ] && [ ! -e "$2.invalid" ] || {{ echo "error: path '$2' is not valid" >&2; exit 1; }}
if [ -e "$4" ] && [ ! -L "$4" ]; then echo "error: cannot create symlink '$4'; already exists" >&2; exit 1; fi
ln -sfn "$2" "$4" && ln -sfn "$4" {self.auto}/"$(basename "$4")"
""",
        )
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
        self.images = {name: self._image(name) for name in ("web", "cache")}
        self.store = self.nix_store / "0-nixoci-image-store"
        self.stored = self._build(self.store, "web", "cache")
        self.declare(self.store)
        self.contain(web=self.stored["web"].id, cache=self.stored["cache"].id)

    def _update_links(self, *arguments: Any, **options: Any) -> Any:
        return update_links(*arguments, **options, registered=self.auto)

    def _image(self, name: str) -> Path:
        reference = f"docker.io/library/{name}:1"
        return image_path(self.nix_store / f"0-{name}", small_tree(name.encode()), reference=reference).path

    def _build(self, store: Path, *names: str) -> dict[str, ListedImage]:
        opened = [image_stores_image(self.images[name]) for name in names]
        return dict(zip(names, build_image_store(store, opened, mkcomposefs=None), strict=True))

    def declare(self, *stores: Path, **more: object) -> None:
        """Let podman's configuration name image stores."""
        options = {"additionalImageStores": [str(store) for store in stores]}
        info = {"graphDriverName": "overlay", "graphRoot": str(self.folder / "own"), "graphOptions": options, **more}
        (self.folder / "info").write_text(json.dumps(info))
        lines = f'case "$1" in info) cat {self.folder}/info ;; *) cat {self.folder}/tree-$5 ;; esac'
        self.podman = executable(self.folder / "bin/podman", f"#!/bin/sh\n{lines}\n")

    def contain(self, **images: str) -> None:
        """Let podman have containers, given as their names and image ids."""
        folder = self.folder / "own/overlay-containers"
        folder.mkdir(parents=True, exist_ok=True)
        records = [{"id": f"id-{name}", "names": [name], "image": image} for name, image in images.items()]
        (folder / "containers.json").write_text(json.dumps(records))

    def update(self, *, dry_run: bool = False) -> list[ContainerRoot]:
        return update_podman_roots(Podman(self.podman), self.places, dry_run=dry_run)

    def changes(self, *, dry_run: bool = False) -> dict[str, Change]:
        return {root.id.removeprefix("id-"): root.change for root in self.update(dry_run=dry_run)}


def image_stores_image(path: Path) -> Any:
    from nixoci.image_path import ImagePath  # noqa: PLC0415

    return ImagePath.open(path)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_container_has_a_root_from_its_creation_to_its_removal(host: Host) -> None:
    assert host.changes() == {"web": Change.ADDED, "cache": Change.ADDED}
    assert host.changes() == {"web": Change.KEPT, "cache": Change.KEPT}
    assert (host.places.roots / "podman-id-web").readlink() == host.images["web"]
    host.contain(web=host.stored["web"].id)
    assert host.changes() == {"web": Change.KEPT, "cache": Change.REMOVED}
    assert [link.name for link in host.places.roots.iterdir()] == ["podman-id-web"]


def test_a_container_keeps_its_root_when_every_image_store_that_has_its_image_is_gone(host: Host) -> None:
    """A switch and a garbage collection, without the command in between, delete the image store, not the image."""
    host.update()
    shutil.rmtree(host.store)
    host.declare()
    assert host.changes() == {"web": Change.KEPT, "cache": Change.KEPT}


def test_a_container_of_a_directory_keeps_its_root_while_podman_does_not_answer(host: Host) -> None:
    host.contain(tree="")
    (host.folder / "tree-id-tree").write_text(f"{host.images['web']}/rootfs\n")
    assert host.changes() == {"tree": Change.ADDED}
    (host.folder / "tree-id-tree").unlink()
    assert host.changes() == {"tree": Change.KEPT}


@pytest.mark.parametrize("name", ["link", "od d ", "\udcff"])
def test_a_directory_that_a_symlink_leads_to_has_a_root(host: Host, name: str) -> None:
    (host.folder / name).symlink_to(host.images["web"])
    host.contain(tree="")
    (host.folder / "tree-id-tree").write_bytes(os.fsencode(host.folder / name / "rootfs") + b"\n")
    assert host.changes() == {"tree": Change.ADDED}
    assert (host.places.roots / "podman-id-tree").readlink() == host.images["web"]


def test_a_root_that_nix_has_forgotten_is_made_again(host: Host) -> None:
    """Nix removes its link to an indirect root that it does not find, as on a disk that is not mounted yet."""
    host.update()
    (host.auto / "podman-id-web").unlink()
    assert host.changes(dry_run=True) == {"web": Change.ADDED, "cache": Change.KEPT}
    assert host.changes() == {"web": Change.ADDED, "cache": Change.KEPT}
    assert (host.auto / "podman-id-web").is_symlink()


@pytest.mark.parametrize("kind", ["file", "link elsewhere", "link to another path"])
def test_something_else_with_the_name_of_a_root_is_replaced(host: Host, kind: str) -> None:
    host.places.roots.mkdir()
    link = host.places.roots / "podman-id-web"
    if kind == "file":
        link.touch()
    else:
        link.symlink_to("/etc" if kind == "link elsewhere" else host.images["cache"])
    assert host.changes()["web"] is Change.ADDED
    assert link.readlink() == host.images["web"]


def test_a_path_that_nix_refuses_keeps_no_other_container_from_its_root(host: Host) -> None:
    host.update()
    host.contain(cache=host.stored["cache"].id, web=host.stored["web"].id, other=host.stored["web"].id)
    (host.places.roots / "podman-id-web").unlink()
    host.images["cache"].with_name("0-cache.invalid").touch()
    (host.places.roots / "podman-id-cache").unlink()
    with pytest.raises(ProcessError, match=r"0-cache' is not valid$"):
        host.update()
    assert sorted(link.name for link in host.places.roots.iterdir()) == ["podman-id-other", "podman-id-web"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'[{"id": ["a"]}]', b'[{"id": {}}, {}]', b"\xff", b"[" * 100_000]
)
def test_a_damaged_image_store_in_the_nix_store_is_passed_over(host: Host, content: bytes) -> None:
    for name in ("1-nixoci-image-store", "2-nixoci-image-store.drv"):
        (host.nix_store / name / "overlay-images").mkdir(parents=True)
        (host.nix_store / name / "overlay-images/images.json").write_bytes(content)
    (host.nix_store / "3-nixoci-image-store").symlink_to("/nowhere")
    host.declare()
    assert host.changes() == {"web": Change.ADDED, "cache": Change.ADDED}
    assert {root.image_kept for root in host.update()} == {True}


def test_an_image_store_that_anyone_could_have_added_is_not_kept_for_podman(host: Host) -> None:
    """Any user may add a path with this name to the Nix store, and its files would run as root."""
    host.declare()
    (host.folder / "not-rooted").touch()
    assert {root.image_kept for root in host.update()} == {False}
    assert host.changes() == {"web": Change.KEPT, "cache": Change.KEPT}
    (host.folder / "not-rooted").unlink()
    host.folder.chmod(0o777)  # anybody may have made the link
    assert {root.image_kept for root in host.update()} == {False}
    assert not (host.folder / "kept").exists()
    host.folder.chmod(0o755)
    assert {root.image_kept for root in host.update()} == {True}


def test_a_layer_with_the_name_of_another_file_is_damaged(host: Host) -> None:
    link = host.store / "overlay" / host.stored["web"].layer / "link"
    link.chmod(0o644)
    link.write_text("../../../../escaped")
    host.declare()
    assert {root.id: root.image_kept for root in host.update()} == {"id-web": False, "id-cache": True}
    assert not list(host.folder.rglob("escaped"))


@pytest.mark.parametrize("lost", ["overlay-layers/layers.json", "overlay", "overlay-layers", "overlay-images/{id}"])
def test_a_kept_store_that_lost_a_part_is_mended_from_the_store_that_it_came_from(host: Host, lost: str) -> None:
    host.declare()
    host.update()
    kept = host.folder / "kept"
    whole = listing(kept)
    part = kept / lost.format(id=host.stored["web"].id)
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert {root.image_kept for root in host.update()} == {True}
    assert listing(kept) == whole


def test_a_container_of_an_image_in_a_damaged_store_still_has_a_root(host: Host) -> None:
    host.declare()
    (host.store / "overlay-layers/layers.json").chmod(0o644)
    (host.store / "overlay-layers/layers.json").write_text("[]")
    assert host.changes() == {"web": Change.ADDED, "cache": Change.ADDED}
    assert not (host.folder / "kept").exists()


def test_containers_of_a_transient_store_have_roots(host: Host) -> None:
    """With `transient_store`, containers/storage keeps all records of containers below its run root."""
    folder = host.folder / "run/overlay-containers"
    folder.mkdir(parents=True)
    (folder / "volatile-containers.json").write_text(json.dumps([{"id": "id-job", "image": host.stored["web"].id}]))
    host.contain()
    host.declare(host.store, runRoot=str(host.folder / "run"))
    assert host.changes() == {"job": Change.ADDED}


def test_a_drop_in_whose_store_is_gone_is_removed(host: Host) -> None:
    """Every podman command fails with it, also those that this command runs."""
    host.declare()
    host.update()
    assert mend_configuration(host.places) is None
    drop_in = DropIns(host.folder).kept_images
    assert drop_in.exists()
    shutil.rmtree(host.folder / "kept")
    assert mend_configuration(host.places) == drop_in
    assert not drop_in.exists()
    assert mend_configuration(replace(host.places, kept_store=None, drop_ins=None)) is None


def test_podman_has_its_mount_options_as_long_as_an_image_is_kept(host: Host) -> None:
    """Nothing else may have set them: the switch that named the image store may be undone."""
    drop_ins = DropIns(host.folder)
    erofs = host.store / "overlay" / host.stored["web"].layer / EROFS
    erofs.parent.mkdir(parents=True)
    erofs.touch()
    host.update()
    assert present_mount_options(drop_ins) is None
    host.declare()
    host.update(dry_run=True)
    assert present_mount_options(drop_ins) is None
    for _ in range(2):
        host.update()
        assert present_mount_options(drop_ins) == "redirect_dir=on"
    host.contain()
    host.update()
    assert not drop_ins.kept_images.exists()
    assert not drop_ins.mount_options.exists()


def test_a_users_roots_are_in_the_directory_of_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which counts as unset
    assert Places.default().roots == tmp_path / ".local/state/nixoci/gc-roots"
    assert (Places.default().kept_store, Places.default().drop_ins) == (None, None)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert Places.default().roots == Path("/state/nixoci/gc-roots")


def test_a_user_without_a_home_is_told_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = next(uid for uid in range(60_000, 70_000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
    monkeypatch.setattr("os.geteuid", lambda: unknown)
    monkeypatch.setattr("os.getuid", lambda: unknown)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreError, match=f"^user {unknown}: has no home directory; set HOME or XDG_STATE_HOME$"):
        Places.default()


def listing(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else "" for path in folder.rglob("*")
    }
