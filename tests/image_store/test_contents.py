from __future__ import annotations

import json
from pathlib import Path

import pytest

from nixoci.errors import ContainerError, DocumentError, StoreError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import ImageStore, is_image_store, read_image_store, require_erofs
from nixoci.image_store.join import join_image_stores
from nixoci.image_store.names import big_data_file
from nixoci.oci.digest import Digest
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import MKCOMPOSEFS, executable


def test_an_image_store_is_asked_by_the_registrys_manifest(tmp_path: Path) -> None:
    image, store = image_path(tmp_path / "image", small_tree()), tmp_path / "store"
    with pytest.raises(ContainerError, match=r"^imageStore: .* is not an image store"):
        ImageStore(tmp_path).find("o", image)
    (stored,) = build_image_store(store, [image], mkcomposefs=None)
    assert ImageStore(store).find("o", image).record.id == stored.id
    with pytest.raises(ContainerError, match=r"^o: .* is not in the image store"):
        ImageStore(store).find("o", image_path(tmp_path / "other", small_tree(), config={"config": {"Env": ["A=b"]}}))
    images = store / "overlay-images/images.json"
    images.chmod(0o644)
    images.write_text("[{}]")
    with pytest.raises(DocumentError, match=r"images\.json"):
        ImageStore(store).find("o", image)
    images.write_text("[]")
    with pytest.raises(ContainerError, match=r"^o: .* is not in the image store"):
        ImageStore(store).find("o", image)


def test_a_store_is_read_once(tmp_path: Path) -> None:
    images = [
        image_path(
            tmp_path / name, small_tree(), reference=f"{name}.org/web:1", config={"config": {"Env": [f"A={name}"]}}
        )
        for name in "abc"
    ]
    stored = build_image_store(tmp_path / "store", images, mkcomposefs=None)
    store = ImageStore(tmp_path / "store")
    store.find("o", images[0])
    (tmp_path / "store/overlay-images/images.json").unlink()
    assert [store.find("o", image).record.id for image in images] == [record.id for record in stored]


def test_an_image_without_an_erofs_file_is_named(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (found,) = read_image_store(tmp_path / "store")
    with pytest.raises(StoreError) as caught:
        require_erofs(found)
    assert str(caught.value) == (
        f"{tmp_path}/store: image docker.io/library/sample:1 has no EROFS file to mount; make the image store without"
        " --no-erofs and --rootless"
    )
    file = found.folder / "composefs-data/composefs.blob"
    file.parent.mkdir()
    file.touch()
    require_erofs(found)


def test_an_image_has_its_files(tmp_path: Path) -> None:
    image, store = image_path(tmp_path / "image", small_tree()), tmp_path / "store"
    (stored,) = build_image_store(store, [image], mkcomposefs=None)
    (found,) = read_image_store(store)
    assert found.record.id == Digest.of(found.config).hex == stored.id
    assert Digest.of(found.manifest) in stored.digests
    assert found.data(str(image.document.config.digest)).decode() == image.document.config.text
    assert found.rootfs == image.rootfs
    assert (found.entry, found.erofs) == (store, None)
    assert found.tar_split.exists()
    with pytest.raises(StoreError, match="the image store is damaged"):
        found.data("nothing")
    erofs = store / "overlay" / stored.layer / "composefs-data/composefs.blob"
    erofs.parent.mkdir()
    erofs.touch()
    assert found.erofs == erofs


def test_a_self_contained_store_refers_to_no_tree_and_may_be_elsewhere(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    program = executable(tmp_path / "mkcomposefs", MKCOMPOSEFS)
    for name, mkcomposefs in (("trees", None), ("objects", program)):
        build_image_store(tmp_path / name, [image], mkcomposefs=mkcomposefs, self_contained=True)
        (found,) = read_image_store(tmp_path / name, place=Path("/usr/lib/nixoci"))
        assert found.rootfs is None


def test_other_directories_are_no_image_stores(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    assert [is_image_store(tmp_path / name) for name in ("store", "image", "nothing")] == [True, False, False]
    with pytest.raises(StoreError, match="is not an image store"):
        read_image_store(tmp_path / "image")
    layers = tmp_path / "store/overlay-layers/layers.json"
    layers.chmod(0o644)
    layers.write_text("[]")
    with pytest.raises(StoreError, match="lacks its layer"):
        read_image_store(tmp_path / "store")


IDS = ("..", "../../x", "", "/etc/passwd", "a\nb", "A" * 64, "0" * 4096, f"{'0' * 64}\n")


@pytest.mark.parametrize("value", IDS)
@pytest.mark.parametrize("name", ["images", "layers"])
def test_an_id_that_is_a_path_is_refused_by_all_that_read_the_store(tmp_path: Path, name: str, value: str) -> None:
    store = damaged(tmp_path, name, {"id": value})
    with pytest.raises(StoreError, match=r"the id of an image or layer, not 64 hex digits; the .* damaged") as refused:
        read_image_store(store)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < len(str(store)) + 200
    with pytest.raises(StoreError, match="not 64 hex digits"):
        join_image_stores(tmp_path / "joined", [store])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "store"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layer": "a\nb"}, r'lacks its layer "a\\nb"'),
        ({"names": ["docker.io/library/a:1\nb"]}, r'has the name "docker.io/library/a:1\\nb", which is no reference'),
        ({"names": ['a"b,c']}, r'has the name "a\\"b,c", which is no reference'),
        ({"big-data-sizes": {}}, r'lacks the size of "sha256:'),
        ({"big-data-names": ["manifest", "other"]}, r'lacks the size of "other"'),
        ({"big-data-names": [".."], "big-data-sizes": {"..": 1}}, r'lacks the size of "sha256:'),
    ],
)
def test_a_record_that_is_damaged_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(StoreError, match=rf"/store: image [0-9a-f]{{64}} {says}.*; the image store is damaged"):
        read_image_store(damaged(tmp_path, "images", change))


@pytest.mark.parametrize("item", ["..", "?/?????"])
def test_an_item_that_is_no_file_name_is_refused(tmp_path: Path, item: str) -> None:
    store = damaged(tmp_path, "images", {})
    (record,) = json.loads((store / "overlay-images/images.json").read_text())
    record["big-data-names"].append(item)
    record["big-data-sizes"][item] = 1
    (store / "overlay-images/images.json").write_text(json.dumps([record]))
    with pytest.raises(StoreError, match="which is no file name"):
        read_image_store(store)


def test_another_config_is_refused(tmp_path: Path) -> None:
    (found,) = read_image_store(damaged(tmp_path, "images", {}))
    file = found.store / "overlay-images" / found.record.id / big_data_file(f"sha256:{found.record.id}")
    file.chmod(0o644)
    file.write_bytes(b"{}")
    with pytest.raises(StoreError, match=rf"the config of image {found.record.id} is sha256:[0-9a-f]+; .* damaged"):
        _ = found.config


def test_an_entry_that_is_gone_is_named(tmp_path: Path) -> None:
    build_image_store(tmp_path / "entry", [image_path(tmp_path / "image", small_tree())], mkcomposefs=None)
    join_image_stores(tmp_path / "store", [tmp_path / "entry"])
    (tmp_path / "entry").rename(tmp_path / "gone")
    with pytest.raises(StoreError, match=rf"lacks the folder of its layer, {tmp_path}/entry/overlay/[0-9a-f]+; build"):
        read_image_store(tmp_path / "store")


def damaged(tmp_path: Path, name: str, change: dict[str, object]) -> Path:
    """Return an image store of one image with a changed record."""
    store = tmp_path / "store"
    build_image_store(store, [image_path(tmp_path / "image", small_tree())], mkcomposefs=None)
    file = store / f"overlay-{name}/{name}.json"
    (record,) = json.loads(file.read_text())
    file.chmod(0o644)
    file.write_text(json.dumps([record | change]))
    return store
