from __future__ import annotations

from pathlib import Path

import pytest

from nixoci.engines.mstack import build_stack
from nixoci.errors import StoreError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import read_image_store
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import MKCOMPOSEFS, executable


@pytest.fixture
def store(tmp_path: Path) -> Path:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=executable(tmp_path / "mkcomposefs", MKCOMPOSEFS))
    return tmp_path / "store"


def test_the_only_layer_is_the_mounted_image(tmp_path: Path, store: Path) -> None:
    (image,) = read_image_store(store)
    point = build_stack(store, tmp_path / "web.mstack")
    assert point == f"/run/nixoci/images/store-{image.layer.id}"
    # systemd.mstack(7): layer@NAME is a read-only layer; without rw the root cannot be written
    assert [each.name for each in (tmp_path / "web.mstack").iterdir()] == ["layer@0"]
    assert str((tmp_path / "web.mstack/layer@0").readlink()) == point


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_writable_one_of_a_named_image(tmp_path: Path, store: Path, by: str) -> None:
    (image,) = read_image_store(store)
    name = image.record.names[0] if by == "name" else image.record.id
    build_stack(store, tmp_path / "web.mstack", name=name, writable=True)
    assert sorted(each.name for each in (tmp_path / "web.mstack").iterdir()) == ["layer@0", "rw"]
    assert (tmp_path / "web.mstack/rw").is_dir()


def test_an_empty_store_has_no_stack(tmp_path: Path) -> None:
    build_image_store(tmp_path / "empty", [], mkcomposefs=None)
    with pytest.raises(StoreError, match=r"empty: has no image; give an image store that has one$"):
        build_stack(tmp_path / "empty", tmp_path / "web.mstack")


def test_what_cannot_be_stacked_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(StoreError, match=r"store: no image 'other'; it has docker\.io/library/sample:1$"):
        build_stack(store, tmp_path / "out", name="other")
    with pytest.raises(StoreError, match="is not an image store"):
        build_stack(tmp_path, tmp_path / "out")
    image = image_path(tmp_path / "plain", small_tree())
    build_image_store(tmp_path / "flat", [image], mkcomposefs=None)
    with pytest.raises(StoreError, match="has no EROFS file to mount"):
        build_stack(tmp_path / "flat", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="out: exists already"):
        build_stack(store, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match=r"/file'$"):
        build_stack(store, tmp_path / "file/web.mstack")


def test_a_stack_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd mounts whatever layers a directory has, also one of which the writable layer is missing."""
    out = tmp_path / "stacks/web.mstack"
    make_directory = Path.mkdir

    def fail(path: Path, **options: bool) -> None:
        if path.name == "rw":
            assert not out.exists()
            raise OSError(28, "No space left on device")
        make_directory(path, **options)

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(OSError, match="No space left on device"):
        build_stack(store, out, writable=True)
    assert not out.parent.exists()
