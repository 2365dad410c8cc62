"""Reading podman's records, with a stand-in for the program; tests/host has tests with the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nixoci.errors import DocumentError, NixociError, ProcessError
from nixoci.gc_roots.podman import Podman


def stand_in(folder: Path, **store: object) -> Path:
    """Return a podman that answers `info` with a store, and knows the directory of one container."""
    info = {"graphDriverName": "overlay", "graphRoot": str(folder), "other": 1, **store}
    (folder / "info").write_text(json.dumps(info))
    program = folder / "podman"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in info) cat {folder}/info ;; *) [ "$5" = tree ] && echo /nix/store/x/rootfs ;; esac\n'
    )
    program.chmod(0o755)
    return program


def write(folder: Path, name: str, value: object) -> None:
    (folder / "overlay-containers").mkdir(exist_ok=True)
    (folder / "overlay-containers" / name).write_text(json.dumps(value))


def test_containers_of_both_files(tmp_path: Path) -> None:
    write(tmp_path, "containers.json", [{"id": "a", "names": ["web"], "image": "1", "layer": "x", "flags": {}}])
    write(tmp_path, "volatile-containers.json", [{"id": "b", "image": ""}])
    found = Podman(stand_in(tmp_path)).containers()
    assert [(record.id, record.names, record.image) for record in found] == [("a", ["web"], "1"), ("b", [], "")]


def test_no_container_was_ever_made(tmp_path: Path) -> None:
    assert Podman(stand_in(tmp_path)).containers() == []


def test_stores(tmp_path: Path) -> None:
    assert Podman(stand_in(tmp_path)).image_stores == []
    assert Podman(stand_in(tmp_path, graphOptions={"additionalImageStores": None})).image_stores == []
    older = {"overlay.additionalImageStores": ["/a"], "overlay.imagestore": "/a"}
    assert Podman(stand_in(tmp_path, graphOptions=older)).image_stores == [Path("/a")]
    options = {"additionalImageStores": ["/a", "/b"], "imagestore": "/a"}
    assert Podman(stand_in(tmp_path, graphOptions=options)).image_stores == [Path("/a"), Path("/b")]


@pytest.mark.parametrize(
    ("store", "native"),
    [
        ({}, False),
        ({"graphStatus": None}, False),
        ({"graphStatus": {"Native Overlay Diff": "false", "Using metacopy": "true"}}, False),
        ({"graphStatus": {"Native Overlay Diff": "true"}}, True),
    ],
)
def test_how_it_finds_the_changes_of_a_container(tmp_path: Path, store: dict[str, object], native: bool) -> None:
    assert Podman(stand_in(tmp_path, **store)).native_diff is native


def test_the_directory_that_a_container_runs_from(tmp_path: Path) -> None:
    podman = Podman(stand_in(tmp_path))
    assert podman.rootfs("tree") == Path("/nix/store/x/rootfs")
    assert podman.rootfs("gone") is None


@pytest.mark.parametrize("value", [{}, None, 3, "text", [1], [{"id": 1}], [{"names": []}], [{"id": "a", "names": [1]}]])
def test_records_of_another_shape_are_refused(tmp_path: Path, value: object) -> None:
    write(tmp_path, "containers.json", value)
    with pytest.raises(DocumentError, match=r"containers\.json"):
        Podman(stand_in(tmp_path)).containers()


def test_podman_is_missing_or_fails(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="install podman"):
        Podman(tmp_path / "podman")
    program = stand_in(tmp_path)
    (tmp_path / "info").unlink()
    with pytest.raises(NixociError, match="podman info"):
        Podman(program)
