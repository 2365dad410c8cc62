"""Containers that have moved directories; the attribute is one of users here, who may not set the overlay's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nixoci.gc_roots import moves
from nixoci.gc_roots.moves import containers_with_moves
from nixoci.gc_roots.podman import Podman
from tests.gc_roots.test_podman import stand_in, write

ATTRIBUTE = "user.nixoci-test"


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Podman:
    """Give a podman with its own image `own`."""
    monkeypatch.setattr(moves, "_REDIRECT", ATTRIBUTE)
    (tmp_path / "overlay-images").mkdir()
    (tmp_path / "overlay-images/images.json").write_text(json.dumps([{"id": "own"}]))
    return Podman(stand_in(tmp_path))


def layer(folder: Path, name: str, moved: str = "", source: str = "/usr") -> None:
    """Make a container's layer with directories, of which one was moved."""
    diff = folder / "overlay" / name / "diff"
    (diff / "etc/deep").mkdir(parents=True)
    if moved:
        try:
            os.setxattr(diff / moved, ATTRIBUTE, source.encode())
        except OSError:
            pytest.skip("the file system has no extended attributes")


def test_those_of_own_images_are_named(podman: Podman, tmp_path: Path) -> None:
    for name, moved in (("web", "etc/deep"), ("plain", ""), ("nameless", "etc"), ("stored", "etc")):
        layer(tmp_path, name, moved)
    records = [
        {"id": "1", "names": ["web"], "image": "own", "layer": "web"},
        {"id": "2", "names": ["plain"], "image": "own", "layer": "plain"},
        {"id": "3", "image": "own", "layer": "nameless"},
        # the image is one of an image store, and gone with it
        {"id": "4", "names": ["stored"], "image": "other", "layer": "stored"},
        {"id": "5", "names": ["gone"], "image": "own", "layer": "gone"},
    ]
    write(tmp_path, "containers.json", records)
    assert containers_with_moves(podman) == ["3", "web"]


@pytest.mark.parametrize(
    ("source", "lost"), [("/etc/deep", False), ("deep", False), ("/deep", True), ("etc/deep", True), ("other", True)]
)
def test_a_directory_that_was_moved_back_has_its_files(podman: Podman, tmp_path: Path, source: str, lost: bool) -> None:
    layer(tmp_path, "web", "etc/deep", source)
    write(tmp_path, "containers.json", [{"id": "1", "names": ["web"], "image": "own", "layer": "web"}])
    assert containers_with_moves(podman) == (["web"] if lost else [])


def test_links_in_a_layer_lead_nowhere(podman: Podman, tmp_path: Path) -> None:
    layer(tmp_path, "outside", "etc")
    layer(tmp_path, "web")
    (tmp_path / "overlay/web/diff/link").symlink_to(tmp_path / "overlay/outside/diff/etc")
    write(tmp_path, "containers.json", [{"id": "1", "names": ["web"], "image": "own", "layer": "web"}])
    assert containers_with_moves(podman) == []


@pytest.mark.parametrize("replace", ["mkfifo", "symlink", "remove", "deep"])
def test_a_directory_that_a_container_replaces_meanwhile(
    podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: str
) -> None:
    """Nothing waits for the other end of a pipe, and nothing leads out of the layer."""
    layer(tmp_path, "outside", "etc")
    layer(tmp_path, "web")
    deep = tmp_path / "overlay/web/diff/etc/deep"
    listed = moves._folders

    def then(directory: int) -> list[bytes]:
        names = listed(directory)
        if b"deep" in names and deep.is_dir() and not deep.is_symlink():
            deep.rmdir()
            if replace == "mkfifo":
                os.mkfifo(deep)
            elif replace == "symlink":
                deep.symlink_to(tmp_path / "overlay/outside/diff/etc")
            elif replace == "deep":
                deep.mkdir()
                os.setxattr(deep, ATTRIBUTE, b"/usr")
                monkeypatch.setattr(moves, "_folders", listed)
        return names

    monkeypatch.setattr(moves, "_folders", then)
    write(tmp_path, "containers.json", [{"id": "1", "names": ["web"], "image": "own", "layer": "web"}])
    assert containers_with_moves(podman) == (["web"] if replace == "deep" else [])


def test_a_layer_of_many_levels(podman: Podman, tmp_path: Path) -> None:
    layer(tmp_path, "web")
    handle = os.open(tmp_path / "overlay/web/diff", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("x", dir_fd=handle)
        below = os.open("x", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.setxattr(handle, ATTRIBUTE, b"/usr")
    os.close(handle)
    write(tmp_path, "containers.json", [{"id": "1", "names": ["web"], "image": "own", "layer": "web"}])
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    assert containers_with_moves(podman) == ["web"]
    assert len(list(opened.iterdir())) == before
