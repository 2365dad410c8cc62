from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.document import unstructure
from nixoci.errors import DocumentError, LockError, NixociError
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.model import (
    LOCK_VERSION,
    Lock,
    LockedBlob,
    LockedConfig,
    LockedImage,
    LockedLayer,
    LockedNarHash,
    LockedPlatform,
)
from nixoci.nix_store.hashes import to_sri
from nixoci.oci.digest import Digest
from tests.nix_language.locks import image, lock, platform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

digests = st.binary(max_size=4).map(Digest.of)
blobs = {"media_type": st.text(max_size=5), "digest": digests, "size": st.integers(0, 1 << 60)}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
configs = st.builds(LockedConfig, **blobs, value=st.dictionaries(st.text(max_size=5), json_values, max_size=3))
platforms = st.builds(
    LockedPlatform,
    manifest=st.builds(LockedBlob, **blobs),
    config=configs,
    layers=st.lists(st.builds(LockedLayer, **blobs, diff_id=digests), max_size=3),
    nar_hash=st.none()
    | st.builds(LockedNarHash, format=st.integers(0, 9), hash=st.binary(min_size=32, max_size=32).map(to_sri)),
)
images = st.builds(
    LockedImage,
    reference=st.sampled_from(["docker.io/library/nginx:1.27", "oci:dir:1"]),
    digest=digests,
    platforms=st.dictionaries(st.sampled_from(["linux/amd64", "linux/arm/v7"]), platforms, min_size=1, max_size=2),
)
names = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9+._?=-]{0,5}", fullmatch=True)
locks = st.builds(Lock, version=st.just(LOCK_VERSION), images=st.dictionaries(names, images, max_size=3))

WEB = lock(web=image("docker.io/library/nginx:1.27", amd64=platform("amd64", "a", "b")))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(locks)
def test_a_lock_is_what_was_written(tmp_path: Path, value: Lock) -> None:
    path = tmp_path / "lock.json"
    write_lock(path, value)
    assert read_lock(path) == value
    assert not write_lock(path, read_lock(path)), "writing it again changes nothing"


def test_images_and_platforms_are_sorted(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    write_lock(path, lock(b=image("b", arm64=platform("x"), amd64=platform("y")), a=image("a")))
    value = json.loads(path.read_bytes())
    assert list(value["images"]) == ["a", "b"]
    assert list(value["images"]["b"]["platforms"]) == ["linux/amd64", "linux/arm64"]


def test_an_unchanged_lock_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    assert write_lock(path, WEB)
    before = path.stat()
    assert not write_lock(path, WEB)
    assert (before.st_ino, before.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    """Return the text of a lock that was changed by hand."""
    value = unstructure(WEB)
    change(value)
    return json.dumps(value)


def web(value: dict[str, Any]) -> Any:
    return value["images"]["web"]


def amd64(value: dict[str, Any]) -> Any:
    return web(value)["platforms"]["linux/amd64"]


A_DIGEST = "expected sha256:<64 hex digits> or sha512:<128 hex digits>"
PLATFORM = 'images["web"].platforms["linux/amd64"]'


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda value: value.update(extra=1), "unknown key 'extra'"),
        (lambda value: value.pop("version"), "version: is missing"),
        (lambda value: value.update(version="1"), 'version: expected an integer, got "1"'),
        (lambda value: value.update(images=[]), "images: expected an object, got []"),
        (lambda value: web(value).update(tag="1"), "images[\"web\"]: unknown key 'tag'"),
        (lambda value: amd64(value).pop("manifest"), f"{PLATFORM}: key 'manifest' is missing"),
        (
            lambda value: amd64(value)["layers"][1].update(size="12"),
            f'{PLATFORM}.layers[1].size: expected an integer, got "12"',
        ),
        (
            lambda value: amd64(value)["layers"][1].update(size=True),
            f"{PLATFORM}.layers[1].size: expected an integer, got true",
        ),
        (
            lambda value: amd64(value)["layers"][0].update(diffId="sha256:12"),
            (
                f"{PLATFORM}.layers[0].diffId: digest 'sha256:12': expected sha256:<64 hex digits> or sha512:<128 hex"
                " digits>"
            ),
        ),
        (
            lambda value: amd64(value)["config"].update(value=None),
            f"{PLATFORM}.config.value: expected an object, got null",
        ),
    ],
)
def test_what_is_no_lock_is_named_by_its_path(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    path = tmp_path / "lock.json"
    path.write_text(changed(change), encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        read_lock(path)
    assert str(caught.value) == f"{path}: {says}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda value: value.update(version=2),
            "version 2, this nixoci reads 1; use the nixoci that wrote it",
        ),
        (
            lambda value: value["images"].update({"a/b": web(value)}),
            'images["a/b"]: not a valid name; expected [a-zA-Z0-9_][a-zA-Z0-9+._?=-]*',
        ),
        (
            lambda value: web(value)["platforms"].update({"linux": amd64(value)}),
            "images[\"web\"]: platform 'linux': expected os/architecture[/variant], for example linux/amd64",
        ),
        (
            lambda value: amd64(value)["layers"][1].update(size=-1),
            f"{PLATFORM}.layers[1].size: expected 0 or more, got -1",
        ),
        *(
            (
                lambda value, text=text: web(value).update(reference=text),
                f'images["web"]: reference "{text}": is not written in full; expected docker.io/library/nginx:latest',
            )
            for text in ("nginx", "nginx:latest", "docker://docker.io/library/nginx:latest", "docker.io/nginx")
        ),
        (
            lambda value: web(value).update(platforms={}),
            'images["web"].platforms: expected one or more, got none; remove the image and add it again',
        ),
        (
            lambda value: amd64(value).update(narHash={"format": 1, "hash": "sha256-abc"}),
            (
                f'{PLATFORM}.narHash.hash: expected sha256-<base64>, got "sha256-abc"; remove narHash, and `nixoci'
                " prefetch` computes it again"
            ),
        ),
        (
            lambda value: web(value).update(reference="oci:"),
            "images[\"web\"]: source 'oci:': the path is missing; expected oci:PATH[:TAG]",
        ),
    ],
)
def test_what_a_lock_may_not_say(tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(changed(change), encoding="utf-8")
    with pytest.raises(LockError) as caught:
        read_lock(path)
    assert str(caught.value) == f"{path}: {says}"


def test_another_version_may_have_other_keys(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    path.write_text('{"version": 2, "pins": []}', encoding="utf-8")
    with pytest.raises(LockError, match="version 2, this nixoci reads 1"):
        read_lock(path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"version": 1, "version": 1}', '{"version": NaN}', "\xff"])
def test_what_is_not_even_a_document(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(NixociError) as caught:
        read_lock(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_lock_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    with pytest.raises(LockError) as caught:
        read_lock(path)
    says = f"{path}: there is no such lock file; make it with `nixoci add REF --lock {path}`"
    assert str(caught.value) == says


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "lock.json"
    with pytest.raises(LockError) as caught, exclusive_access(path):
        pass
    assert str(caught.value) == f"{path}: its directory does not exist; make it first"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_a_pipe_or_a_device_is_no_lock_to_change(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "lock.json"
    make(path)
    with pytest.raises(LockError) as caught, exclusive_access(path):
        pass
    assert str(caught.value) == f"{path}: is no regular file, and this command may write the lock; name a file"


def test_writers_wait_for_one_another(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0", encoding="utf-8")

    def increment(_: int) -> None:
        with exclusive_access(path):
            value = int(path.read_text(encoding="utf-8"))
            sleep(0.001)
            path.write_text(str(value + 1), encoding="utf-8")

    # the kernel's lock belongs to an open file, so threads exclude one another as processes do
    with ThreadPoolExecutor(max_workers=4) as threads:
        list(threads.map(increment, range(40)))
    assert path.read_text(encoding="utf-8") == "40"
    assert [file.name for file in tmp_path.iterdir()] == ["count"]
