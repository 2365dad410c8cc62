"""The store of images that only old containers use: it has these images, and nothing is left of others."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import StoreError
from nixoci.gc_roots.image_stores import LocatedImage, built_stores, find_images, layer_record
from nixoci.gc_roots.kept_store import update_kept_store
from nixoci.image_store.build import build_image_store
from nixoci.image_store.join import join_image_stores
from nixoci.nix_store.path import store_path_of
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from pathlib import Path


def make_store(folder: Path, *names: str) -> dict[str, LocatedImage]:
    """Make an image store over images with different content; return the images found in it, by name."""
    made = folder / "0-nixoci-image-store"
    images = []
    for name in names:
        tree = small_tree(name.encode())
        images.append(image_path(folder / f"0-{name}", tree, reference=f"docker.io/library/{name}:1"))
    stored = build_image_store(made, images, mkcomposefs=None)
    found = find_images([image.id for image in stored], [made], store_dir=folder)
    return {image.names[0].split("/")[-1].split(":")[0]: found[image.id] for image in stored}


def listing(folder: Path) -> dict[str, bytes | str]:
    """Return the files and symlinks below a directory with their content and targets."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def records(store: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((store / f"overlay-{kind}/{kind}.json").read_bytes())
    return found


def test_it_holds_what_the_image_store_had_of_the_image_but_for_its_name(tmp_path: Path) -> None:
    images = make_store(tmp_path, "web", "cache")
    web, kept, drop_in = images["web"], tmp_path / "kept", tmp_path / "conf.d/kept.conf"
    update_kept_store(kept, {web.id: web}, drop_in)
    assert records(kept, "images") == [{**web.record, "names": []}]
    assert records(kept, "layers") == [layer_record(web.store, web.layer)]
    skipped = {"overlay-images/images.json", "overlay-layers/layers.json"}
    there, had = listing(kept), listing(web.store)
    cache = images["cache"]
    others = (cache.id, cache.layer)
    link = (cache.store / "overlay" / cache.layer / "link").read_text()
    assert {name: text for name, text in there.items() if name not in skipped} == {
        name: text
        for name, text in had.items()
        if name not in skipped and not any(other in name for other in others) and not name.endswith(link)
    }
    conf = tomllib.loads(drop_in.read_text())
    assert conf == {"storage": {"options": {"additionalimagestores": [str(kept), {"append": True}]}}}


def test_of_a_joined_store_it_holds_the_files_and_no_links_to_the_entry(tmp_path: Path) -> None:
    make_store(tmp_path, "web")
    joined, kept = tmp_path / "1-nixoci-image-store", tmp_path / "kept"
    (stored,) = join_image_stores(joined, [tmp_path / "0-nixoci-image-store"])
    found = find_images([stored.id], [joined], store_dir=tmp_path)
    assert found[stored.id].whole
    update_kept_store(kept, found, tmp_path / "kept.conf")
    links = {name for name, content in listing(kept).items() if isinstance(content, str)}
    link = (kept / "overlay" / stored.layer / "link").read_text("ascii")
    assert links == {f"overlay/{stored.layer}/diff", f"overlay/l/{link}"}


def test_an_image_comes_and_goes_and_nothing_is_left_of_the_last(tmp_path: Path) -> None:
    images = make_store(tmp_path, "web", "cache")
    web, cache = images["web"], images["cache"]
    kept, drop_in = tmp_path / "kept", tmp_path / "conf.d/kept.conf"
    update_kept_store(kept, {web.id: web}, drop_in)
    only_web = listing(kept)
    update_kept_store(kept, {web.id: web, cache.id: cache}, drop_in)
    assert {record["id"] for record in records(kept, "images")} == {web.id, cache.id}
    # what is there already is found there, and stays although the store that it came from is gone
    there = find_images([web.id], [kept], store_dir=tmp_path)
    update_kept_store(kept, there, drop_in)
    assert listing(kept) == only_web
    update_kept_store(kept, {}, drop_in)
    assert not kept.exists()
    assert not drop_in.exists()


def test_a_copy_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    web = make_store(tmp_path, "web")["web"]
    whole, kept = tmp_path / "whole", tmp_path / "kept"
    update_kept_store(whole, {web.id: web}, tmp_path / "a.conf")
    (kept / "overlay" / f".{web.layer}.new/composefs-data").mkdir(parents=True)
    (kept / "overlay-layers").mkdir()
    (kept / "overlay-layers" / f".{web.layer}.tar-split.gz").write_bytes(b"half")
    update_kept_store(kept, {web.id: web}, tmp_path / "b.conf")
    assert listing(kept) == listing(whole)


def test_nothing_has_its_name_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the first byte of each file in turn."""
    web = make_store(tmp_path, "web")["web"]
    whole = tmp_path / "whole"
    update_kept_store(whole, {web.id: web}, tmp_path / "a.conf")
    copy, left = shutil.copyfileobj, [0]

    def full(read: Any, write: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            write.write(b"half")
            raise OSError(errno.ENOSPC, "full")
        copy(read, write)

    for count in itertools.count():
        kept, left[0] = tmp_path / f"kept-{count}", count
        monkeypatch.setattr(shutil, "copyfileobj", full)
        try:
            update_kept_store(kept, {web.id: web}, tmp_path / f"{count}.conf")
        except StoreError as error:
            said = str(error)
            assert not (kept / "overlay-images/images.json").exists()
        else:
            break
        assert re.fullmatch(rf"{kept}/\S+: cannot be copied: full; mend that and run this again", said)
        monkeypatch.setattr(shutil, "copyfileobj", copy)
        update_kept_store(kept, {web.id: web}, tmp_path / f"{count}.conf")
        assert listing(kept) == listing(whole)
    assert count > 3


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    web = make_store(tmp_path, "web")["web"]
    (web.store / "overlay-layers/layers.json").chmod(0o644)
    (web.store / "overlay-layers/layers.json").write_text("[]")
    with pytest.raises(StoreError, match=f"{web.store}: has an image but not its layer"):
        update_kept_store(tmp_path / "kept", {web.id: web}, tmp_path / "conf")


def test_the_newest_store_comes_first_and_what_is_no_store_has_no_image(tmp_path: Path) -> None:
    web = make_store(tmp_path, "web")["web"]
    empty = tmp_path / "1-nixoci-image-store"
    empty.mkdir()
    (tmp_path / "2-nixoci-image-store-rootless/overlay-images").mkdir(parents=True)
    (tmp_path / "2-nixoci-image-store-rootless/overlay-images/images.json").write_text('{"id": []}')
    for newer in (empty, tmp_path / "2-nixoci-image-store-rootless"):
        while newer.stat().st_ctime_ns <= web.store.stat().st_ctime_ns:  # the clock of files has steps
            newer.touch()
    assert set(built_stores(tmp_path)) == {web.store, empty, tmp_path / "2-nixoci-image-store-rootless"}
    assert built_stores(tmp_path)[-1] == web.store
    assert find_images([web.id, "0" * 64], built_stores(tmp_path), store_dir=tmp_path) == {web.id: web}
    assert web.path == tmp_path / "0-web"


@pytest.mark.parametrize("layer", ["../../etc", 7, None, "gone", "..", "", "a\0b", "0" * 64])
def test_a_record_that_leads_elsewhere_has_no_image(tmp_path: Path, layer: object) -> None:
    folder = tmp_path / "overlay-images"
    folder.mkdir()
    (folder / "images.json").write_text(json.dumps([{"id": "a", "layer": layer}, "text"]))
    assert find_images(["a"], [tmp_path]) == {}


def test_a_store_path_is_the_first_name_below_the_store(tmp_path: Path) -> None:
    assert store_path_of(tmp_path / "a-b/rootfs", tmp_path) == tmp_path / "a-b"
    assert store_path_of(tmp_path / "a-b", tmp_path) == tmp_path / "a-b"
    assert store_path_of(tmp_path, tmp_path) is None
    assert store_path_of(tmp_path.parent, tmp_path) is None
    assert os.sep not in str(tmp_path.name)
