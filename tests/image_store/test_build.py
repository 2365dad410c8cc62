from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from nixoci.errors import ImageError, ProcessError, StoreError
from nixoci.image_store import build
from nixoci.image_store.build import build_image_store
from nixoci.image_store.names import big_data_file
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import DOCKER_LAYER, DOCKER_MANIFEST, OCI_LAYER
from tests.image_store.trees import CREATED, Tree, image_path, small_tree


def records(store: Path, kind: str) -> list[dict[str, Any]]:
    value: list[dict[str, Any]] = json.loads((store / f"overlay-{kind}/{kind}.json").read_text("ascii"))
    return value


def data(store: Path, image: dict[str, str], item: str) -> bytes:
    """Read a big-data item where containers/storage looks for it."""
    return (store / "overlay-images" / image["id"] / big_data_file(item)).read_bytes()


def test_the_layer_is_the_tree(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (layer,) = records(tmp_path / "store", "layers")
    assert layer["diff-digest"] == f"sha256:{layer['id']}"
    assert layer["diff-size"] % 512 == 0
    assert (layer["uidset"], layer["gidset"]) == ([0, 33], [0, 7])
    overlay = tmp_path / "store/overlay" / layer["id"]
    assert (overlay / "diff").readlink() == image.rootfs
    link = (overlay / "link").read_text("ascii")
    assert len(link) == 26
    assert set(link) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    assert (tmp_path / "store/overlay/l" / link).readlink() == Path(f"../{layer['id']}/diff")
    assert list((overlay / "empty").iterdir()) == []
    assert not (overlay / "composefs-data").exists()
    assert (tmp_path / f"store/overlay-layers/{layer['id']}.tar-split.gz").exists()


def test_the_locks_are_there_and_empty(tmp_path: Path) -> None:
    build_image_store(tmp_path / "store", [], mkcomposefs=None)
    assert (tmp_path / "store/overlay-images/images.lock").read_bytes() == b""
    assert (tmp_path / "store/overlay-layers/layers.lock").read_bytes() == b""
    assert records(tmp_path / "store", "images") == records(tmp_path / "store", "layers") == []


def test_the_image_is_found_by_its_own_and_by_the_registry_digests(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    manifest = data(tmp_path / "store", record, "manifest")
    found = {digest for name, digest in record["big-data-digests"].items() if name.startswith("manifest")}
    document = image.document
    assert found == {str(Digest.of(manifest)), str(document.manifest.digest), str(document.digest)}
    assert found == set(map(str, stored.digests))
    assert record["digest"] == str(document.digest)
    assert record["names"] == ["docker.io/library/sample:1"]
    assert record["created"] == CREATED
    for item in record["big-data-names"]:
        content = data(tmp_path / "store", record, item)
        assert len(content) == record["big-data-sizes"][item]
        assert str(Digest.of(content)) == record["big-data-digests"][item]
    assert data(tmp_path / "store", record, f"manifest-{document.manifest.digest}").decode() == document.manifest.text
    assert data(tmp_path / "store", record, str(document.config.digest)).decode() == document.config.text


def test_config_and_manifest_have_one_layer_and_are_otherwise_the_registrys(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,), (layer,) = records(tmp_path / "store", "images"), records(tmp_path / "store", "layers")
    assert record["layer"] == layer["id"]
    text = data(tmp_path / "store", record, f"sha256:{record['id']}")
    assert hashlib.sha256(text).hexdigest() == record["id"]
    config, original = json.loads(text), json.loads(image.document.config.text)
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["diff-digest"]]}
    assert [entry.get("empty_layer", False) for entry in config["history"]] == [True, True, False, True]
    for entry, before in zip(config["history"], original["history"], strict=True):
        assert entry | {"empty_layer": 0} == before | {"empty_layer": 0}
    for changed in ("rootfs", "history"):
        del config[changed], original[changed]
    assert config == original
    manifest = json.loads(data(tmp_path / "store", record, "manifest"))
    assert manifest["config"]["digest"] == f"sha256:{record['id']}"
    assert manifest["config"]["size"] == len(text)
    assert manifest["layers"] == [{"mediaType": OCI_LAYER, "digest": layer["diff-digest"], "size": layer["diff-size"]}]
    assert manifest["annotations"] == {"a": "b"}


def test_a_docker_image_stays_one(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree(), mediaType=DOCKER_MANIFEST)
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    manifest = json.loads(data(tmp_path / "store", record, "manifest"))
    assert (manifest["mediaType"], manifest["layers"][0]["mediaType"]) == (DOCKER_MANIFEST, DOCKER_LAYER)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (None, None),
        ([], []),
        ([{"empty_layer": True}], [True, False]),
        ([{}, {}, {}], [True, True, False]),
    ],
)
def test_history_has_one_layer_or_is_not_there(tmp_path: Path, history: Any, expected: Any) -> None:
    image = image_path(tmp_path / "image", small_tree(), config={"history": history})
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    found = json.loads(data(tmp_path / "store", record, f"sha256:{record['id']}"))["history"]
    assert (found and [entry.get("empty_layer", False) for entry in found]) == expected


def test_a_history_of_another_shape_is_refused(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree(), config={"history": ["RUN x"]})
    with pytest.raises(
        ImageError, match=r"^image sample: config: history\[0\]: expected an object, found a string; rebuild"
    ):
        build_image_store(tmp_path / "store", [image], mkcomposefs=None)


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2024-01-02T03:04:05.123456789012Z", "2024-01-02T03:04:05.123456789012Z"),
        ("2024-01-02T03:04:05+14:00", "2024-01-02T03:04:05+14:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("2024-01-02T03:04:05", "2024-01-02T03:04:05Z"),
        ("2024-01-02 03:04:05.5+0100", "2024-01-02T02:04:05.500000Z"),
        ("2024-01-02T03:04:05,5Z", "2024-01-02T03:04:05.500000Z"),
        ("2024-05-06", "2024-05-06T00:00:00Z"),
        ("1704164645", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:60Z", "absent"),
        ("yesterday", "absent"),
        ("", "absent"),
        (None, None),
    ],
)
def test_podman_gets_no_time_that_go_cannot_read(tmp_path: Path, created: str | None, expected: str | None) -> None:
    history = [{"created": created, "created_by": "x"}]
    image = image_path(tmp_path / "image", small_tree(), config={"created": created, "history": history})
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    config = json.loads(data(tmp_path / "store", record, f"sha256:{record['id']}"))
    assert config.get("created", "absent") == config["history"][0].get("created", "absent") == expected
    assert len(stored.warnings) == (0 if created == expected else 2)
    assert record["created"] == ("1970-01-01T00:00:00Z" if expected in {"absent", None} else expected)


def test_nulls_and_absent_fields_of_a_config_stay_readable(tmp_path: Path) -> None:
    config: dict[str, object] = {
        "rootfs": None,
        "history": [None, {}],
        "config": {"Labels": {"a": None}, "Env": [None, "A=b"]},
    }
    image = image_path(tmp_path / "image", small_tree(), config=config)
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,), (layer,) = records(tmp_path / "store", "images"), records(tmp_path / "store", "layers")
    written = json.loads(data(tmp_path / "store", record, f"sha256:{record['id']}"))
    assert written["rootfs"] == {"type": "layers", "diff_ids": [layer["diff-digest"]]}
    assert written["history"] == [{"empty_layer": True}, {}]
    assert written["config"]["Env"] == ["A=b"]


@pytest.mark.parametrize("created", ["yesterday", "2024-02-30T00:00:00Z", "", None])
def test_a_time_that_go_does_not_read_stays_out_of_the_records(tmp_path: Path, created: str | None) -> None:
    image = image_path(tmp_path / "image", small_tree(), config={"created": created})
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    assert {record["created"] for kind in ("images", "layers") for record in records(tmp_path / "store", kind)} == {
        "1970-01-01T00:00:00Z"
    }


def test_the_same_image_with_two_names_is_one_record(tmp_path: Path) -> None:
    images = [
        image_path(tmp_path / "a", small_tree(), reference="example.org/a:1"),
        image_path(tmp_path / "b", small_tree(), reference="example.org/b:1"),
        image_path(tmp_path / "c", small_tree(), reference=None),
    ]
    build_image_store(tmp_path / "store", images, mkcomposefs=None)
    (record,), (layer,) = records(tmp_path / "store", "images"), records(tmp_path / "store", "layers")
    assert record["names"] == ["example.org/a:1", "example.org/b:1"]
    assert (tmp_path / "store/overlay" / layer["id"] / "diff").readlink() == images[0].rootfs


def test_two_configs_over_the_same_tree_share_the_layer(tmp_path: Path) -> None:
    images = [
        image_path(tmp_path / "a", small_tree(), reference="example.org/a:1"),
        image_path(tmp_path / "b", small_tree(), reference="example.org/b:1", config={"config": {"Cmd": ["y"]}}),
    ]
    build_image_store(tmp_path / "store", images, mkcomposefs=None)
    first, second = records(tmp_path / "store", "images")
    (layer,) = records(tmp_path / "store", "layers")
    assert first["id"] != second["id"]
    assert first["layer"] == second["layer"] == layer["id"]
    assert len(list((tmp_path / "store/overlay-layers").iterdir())) == 3


def test_two_trees_with_the_same_layers_do_not_clash(tmp_path: Path) -> None:
    images = [
        image_path(tmp_path / "a", small_tree(b"a"), reference="example.org/a:1"),
        image_path(tmp_path / "b", small_tree(b"b"), reference="example.org/b:1"),
    ]
    build_image_store(tmp_path / "store", images, mkcomposefs=None)
    assert len({record["id"] for record in records(tmp_path / "store", "layers")}) == 2
    assert len(list((tmp_path / "store/overlay/l").iterdir())) == 2


def test_one_name_for_two_images_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    images = [image_path(tmp_path / "a", small_tree(b"a")), image_path(tmp_path / "b", small_tree(b"b"))]
    with pytest.raises(StoreError) as caught:
        build_image_store(tmp_path / "store", images, mkcomposefs=None)
    assert str(caught.value) == (
        f"docker.io/library/sample:1: two images have this name: {tmp_path}/a and {tmp_path}/b; leave one out or"
        " rename it"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_ids_do_not_depend_on_where_things_lie(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = build_image_store(tmp_path / "s", [image_path(tmp_path / "a", small_tree())], mkcomposefs=None)
    second = build_image_store(
        tmp_path / "elsewhere/t", [image_path(tmp_path / "elsewhere/b", small_tree())], mkcomposefs=None
    )
    assert [(image.id, image.layer) for image in first] == [(image.id, image.layer) for image in second]


def test_the_same_images_give_the_same_bytes_whatever_the_umask(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "s", [image], mkcomposefs=None)
    before = os.umask(0o077)
    try:
        build_image_store(tmp_path / "t", [image], mkcomposefs=None)
    finally:
        os.umask(before)
    assert listing(tmp_path / "s") == listing(tmp_path / "t")


def test_a_missing_program_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    with pytest.raises(
        ProcessError, match=r"^image sample: /nowhere/mkcomposefs: program not found; install composefs"
    ):
        build_image_store(tmp_path / "store", [image], mkcomposefs="/nowhere/mkcomposefs")
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image = image_path(tmp_path / "image", small_tree())
    monkeypatch.setattr(build, "records_text", full)
    with pytest.raises(OSError, match="No space left on device; free some and run again") as caught:
        build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    assert caught.value.filename == str(tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_a_missing_dump_is_named(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    image.metadata.unlink()
    with pytest.raises(StoreError, match=r"metadata\.dump: cannot be read: No such file or directory; extract"):
        build_image_store(tmp_path / "store", [image], mkcomposefs=None)


def test_an_image_without_files_is_stored(tmp_path: Path) -> None:
    tree = Tree(small_tree().root)
    tree.root.children.clear()
    build_image_store(tmp_path / "store", [image_path(tmp_path / "image", tree)], mkcomposefs=None)
    (layer,) = records(tmp_path / "store", "layers")
    assert layer["diff-size"] == 3 * 512


def listing(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (
            path.readlink() if path.is_symlink() else stat.S_IMODE(path.stat().st_mode),
            path.read_bytes() if path.is_file() and not path.is_symlink() else None,
        )
        for path in [root, *root.rglob("*")]
    }


def test_entries_of_the_environment_that_are_no_variables_are_dropped(tmp_path: Path) -> None:
    env = ["A=<b>", "TOKEN", "", "=x", "B=", "C=1=2"]
    image = image_path(tmp_path / "image", small_tree(), config={"config": {"Env": env, "Cmd": ["x"]}})
    (stored,) = build_image_store(tmp_path / "store", [image, image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    config = json.loads(data(tmp_path / "store", record, f"sha256:{record['id']}"))
    assert config["config"] == {"Env": ["A=<b>", "B=", "C=1=2"], "Cmd": ["x"]}
    assert stored.warnings == [
        f"image sample: {entry!r} in its Env dropped: it is not NAME=value, and podman would refuse to start the image"
        for entry in ("TOKEN", "", "=x")
    ]
    assert data(tmp_path / "store", record, str(image.document.config.digest)).decode() == image.document.config.text


def test_a_config_with_keys_in_another_case_gets_its_one_layer_and_loses_nothing(tmp_path: Path) -> None:
    given: dict[str, object] = {
        "config": {"env": ["A=b", "TOKEN"], "cmd": ["x"]},
        "history": [{"Created": "no", "EMPTY_LAYER": False}],
    }
    image = image_path(tmp_path / "image", small_tree(), config=given)
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    config = json.loads(data(tmp_path / "store", record, f"sha256:{record['id']}"))
    assert config["config"] == {"Env": ["A=b"], "Cmd": ["x"]}
    assert config["history"] == [{}]
    assert len(stored.warnings) == 2


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {"Env": None}}, {"config": {"Env": []}}])
def test_a_config_without_an_environment_stays_as_it_is(tmp_path: Path, config: dict[str, Any]) -> None:
    image = image_path(tmp_path / "image", small_tree(), config=config)
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (record,) = records(tmp_path / "store", "images")
    written = json.loads(data(tmp_path / "store", record, f"sha256:{record['id']}"))
    assert written["config"] == json.loads(image.document.config.text)["config"]
    assert stored.warnings == []
