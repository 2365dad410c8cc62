from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import BlobError, LayerError, LimitError, ProcessError, StoreError
from nixoci.layer_cache.build import SourceLayer, build_layer_cache, distinct_layers, join_layer_caches
from nixoci.layer_cache.layout import entry_path
from nixoci.oci.digest import Digest
from nixoci.tree.limits import Limits
from tests.layer_cache.samples import mkfs
from tests.support.layers import directory, file, hardlink, layer, merge, names, whiteout
from tests.support.memory import MemoryBlobs, image_of

if TYPE_CHECKING:
    from pathlib import Path

BASE = layer(directory(b"etc"), file(b"etc/a", b"base"), file(b"etc/b", b"base"))
TOP = layer(directory(b"etc"), whiteout(b"etc/a"), file(b"etc/b", b"top"))
OTHER = layer(file(b"usr/bin/x", b"other"))


def test_each_layer_is_a_file_of_its_own(tmp_path: Path) -> None:
    image, source = image_of(BASE, TOP)
    made = build_layer_cache(tmp_path / "cache", distinct_layers([(source, image)]), mkfs_erofs=mkfs(tmp_path))
    assert [cached.diff_id for cached in made] == [Digest.of(BASE), Digest.of(TOP)]
    files = sorted(path for path in (tmp_path / "cache").rglob("*") if not path.is_dir())
    assert files == sorted(tmp_path / "cache" / cached.path for cached in made)
    for cached, expected in zip(made, ([b"etc/", b"etc/a", b"etc/b"], [b"etc/", b"etc/b"]), strict=True):
        data = (tmp_path / "cache" / cached.path).read_bytes()
        assert cached.size == len(data)
        assert names(merge(data)) == expected
        assert stat.S_IMODE((tmp_path / "cache" / cached.path).stat().st_mode) == 0o444


def test_a_layer_of_several_images_and_places_is_made_once(tmp_path: Path) -> None:
    first, second = image_of(BASE, TOP, TOP), image_of(BASE, OTHER)
    layers = distinct_layers([(source, image) for image, source in (first, second)])
    assert [given.layer.diff_id for given in layers] == [Digest.of(data) for data in (BASE, TOP, OTHER)]
    assert [given.lowest for given in layers] == [True, False, False]
    assert len(build_layer_cache(tmp_path / "cache", layers, mkfs_erofs=mkfs(tmp_path))) == 3


def test_the_same_layers_give_the_same_files_however_packed(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    for compression in ("", "+gzip", "+zstd"):
        given = [SourceLayer(source=blobs, layer=blobs.add_layer(TOP, compression))]
        build_layer_cache(tmp_path / f"cache{compression}", given, mkfs_erofs=mkfs(tmp_path))
    read = {(tmp_path / f"cache{end}" / entry_path(Digest.of(TOP))).read_bytes() for end in ("", "+gzip", "+zstd")}
    assert len(read) == 1


def test_a_directory_without_an_entry_is_warned_of_above_other_layers(tmp_path: Path) -> None:
    image, source = image_of(OTHER, layer(file(b"usr/bin/y")))
    lowest, above = build_layer_cache(tmp_path / "cache", distinct_layers([(source, image)]), mkfs_erofs=mkfs(tmp_path))
    assert lowest.warnings == []
    (warning,) = above.warnings
    assert warning == (
        f"layer {image.layers[1].descriptor.digest}: no entry for its directory 'usr' and 1 more; containers of"
        " containerd see it as root's, with mode 0755, whatever a lower layer has there"
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"damaged", BlobError), (layer(hardlink(b"a", b"b")), LayerError)],
    ids=["damaged", "malformed"],
)
def test_nothing_is_left_after_an_error(tmp_path: Path, data: bytes, error: type[Exception]) -> None:
    blobs = MemoryBlobs()
    given = [SourceLayer(source=blobs, layer=blobs.add_layer(each)) for each in (BASE, data)]
    if data == b"damaged":
        blobs.blobs[given[1].layer.descriptor.digest] = b"changed"
    program = mkfs(tmp_path)
    with pytest.raises(error):
        build_layer_cache(tmp_path / "cache", given, mkfs_erofs=program)
    assert list(tmp_path.iterdir()) == [tmp_path / "mkfs.erofs"]


def test_a_layer_that_is_not_what_its_diff_id_says_never_reaches_mkfs(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    wrong = blobs.add_layer(BASE)
    given = SourceLayer(source=blobs, layer=type(wrong)(descriptor=wrong.descriptor, diff_id=Digest.of(TOP)))
    program = mkfs(tmp_path, '#!/bin/sh\n[ "$1" = --version ] && echo 1.9 || touch "${0%/*}/ran"\n')
    with pytest.raises(BlobError, match="the config promises the diff id"):
        build_layer_cache(tmp_path / "cache", [given], mkfs_erofs=program)
    assert not (tmp_path / "ran").exists()


def test_a_program_that_is_missing_is_noticed_before_a_layer_is_read(tmp_path: Path) -> None:
    image, source = image_of(BASE)
    source.blobs.clear()
    with pytest.raises(ProcessError, match="program not found; install erofs-utils"):
        build_layer_cache(tmp_path / "cache", distinct_layers([(source, image)]), mkfs_erofs=tmp_path / "none")


def test_a_layer_has_limits(tmp_path: Path) -> None:
    image, source = image_of(BASE)
    limits = Limits(total_size=len(BASE) - 1)
    with pytest.raises(LimitError, match=r"more than .* uncompressed bytes in the image, the limit"):
        build_layer_cache(
            tmp_path / "cache", distinct_layers([(source, image)]), mkfs_erofs=mkfs(tmp_path), limits=limits
        )


def test_caches_are_joined_by_links_to_the_files_themselves(tmp_path: Path) -> None:
    caches: list[Path] = []
    for data in (BASE, TOP, BASE):
        image, source = image_of(data)
        caches.append(tmp_path / f"cache-{len(caches)}")
        build_layer_cache(caches[-1], distinct_layers([(source, image)]), mkfs_erofs=mkfs(tmp_path))
    join_layer_caches(tmp_path / "both", caches)
    made = join_layer_caches(tmp_path / "again", [tmp_path / "both"])
    assert [cached.diff_id for cached in made] == sorted([Digest.of(BASE), Digest.of(TOP)])
    base, top = (entry_path(Digest.of(data)) for data in (BASE, TOP))
    assert (tmp_path / "again" / base).readlink() == caches[0] / base
    assert (tmp_path / "again" / top).readlink() == caches[1] / top


def test_other_users_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    image, source = image_of(BASE)
    before = os.umask(0o077)
    try:
        build_layer_cache(tmp_path / "cache", distinct_layers([(source, image)]), mkfs_erofs=mkfs(tmp_path))
        join_layer_caches(tmp_path / "joined", [tmp_path / "cache"])
    finally:
        os.umask(before)
    for cache in (tmp_path / "cache", tmp_path / "joined"):
        folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o755] * 3


def test_an_empty_cache_is_one(tmp_path: Path) -> None:
    assert build_layer_cache(tmp_path / "empty", [], mkfs_erofs=tmp_path / "none") == []
    assert join_layer_caches(tmp_path / "joined", [tmp_path / "empty"]) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for make in (build_layer_cache, join_layer_caches):
        with pytest.raises(StoreError, match="exists already"):
            make(tmp_path / "cache", [])
