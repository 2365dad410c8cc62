from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.layer_cache.layout import entry_path
from nixoci.oci.digest import Digest
from tests.layer_cache.samples import mkfs
from tests.support.layers import directory, file, layer
from tests.support.layout import blob_path, write_docker_archive, write_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

BASE = layer(directory(b"etc"), file(b"etc/a", b"base"))
TOP = layer(directory(b"etc"), file(b"etc/b", b"top"))
OTHER = layer(file(b"x", b"other"))


@pytest.fixture
def program(tmp_path: Path) -> str:
    write_layout(tmp_path / "layout", [BASE, TOP], tag="1", compression=None)
    return f"--mkfs-erofs={mkfs(tmp_path / 'bin')}"


def cached(*layers: bytes) -> list[str]:
    return [str(entry_path(Digest.of(data))) for data in layers]


def test_layers_of_several_sources(nixoci: Run, tmp_path: Path, program: str) -> None:
    write_docker_archive(tmp_path / "web.tar", [BASE, OTHER], tags=["web:1"])
    done = nixoci("layer-cache", "out", "oci:layout:1", "docker-archive:web.tar", program, "--json")
    assert done.err == ""
    assert [entry["path"] for entry in done.json] == cached(BASE, TOP, OTHER)
    assert all((tmp_path / "out" / entry["path"]).stat().st_size == entry["size"] for entry in done.json)


def test_a_single_layer_by_its_blob(nixoci: Run, tmp_path: Path, program: str) -> None:
    digest = Digest.of(TOP)
    blob = f"--blob={digest}={blob_path(tmp_path / 'layout', digest)}"
    done = nixoci("layer-cache", "out", f"--layer={digest}={digest}", blob, program, "--json")
    assert [entry["path"] for entry in done.json] == cached(TOP)
    wrong = nixoci("layer-cache", "wrong", f"--layer={Digest.of(BASE)}={digest}", blob, program)
    assert (wrong.code, wrong.err.count("\n")) == (1, 1)
    assert f"the config promises the diff id {Digest.of(BASE)}" in wrong.err
    assert not (tmp_path / "wrong").exists()


def test_a_single_layer_without_its_blob(nixoci: Run, program: str) -> None:
    digest = Digest.of(TOP)
    done = nixoci("layer-cache", "out", f"--layer={digest}={digest}", program)
    assert done == (
        1,
        "",
        f"error: --layer {digest}: no file is given for blob {digest}; add --blob {digest}=FILE\n",
    )


def test_caches_are_joined(nixoci: Run, tmp_path: Path, program: str) -> None:
    nixoci("layer-cache", "one", "oci:layout:1", program)
    write_layout(tmp_path / "layout", [OTHER], tag="2")
    nixoci("layer-cache", "two", "oci:layout:2", program)
    done = nixoci("layer-cache", "both", "one", "two", "--json")
    assert sorted(entry["path"] for entry in done.json) == sorted(cached(BASE, TOP, OTHER))
    path = entry_path(Digest.of(OTHER))
    assert (tmp_path / "both" / path).readlink() == tmp_path / "two" / path


@pytest.mark.parametrize("other", ["oci:layout:1", f"--layer={Digest.of(TOP)}={Digest.of(TOP)}"])
def test_caches_and_images_do_not_mix(nixoci: Run, program: str, other: str) -> None:
    nixoci("layer-cache", "one", "oci:layout:1", program)
    done = nixoci("layer-cache", "out", "one", other, program)
    assert done.code == 1
    assert done.err.startswith("error: one is a layer cache and ")
    assert done.err.endswith(" is none; give sources of one kind\n")


def test_a_registry_is_refused_with_a_way_out(nixoci: Run, program: str) -> None:
    done = nixoci("layer-cache", "out", "docker://docker.io/library/nginx:1.27", program)
    assert done.code == 1
    assert "this verb reads files, not registries; copy the image first with `skopeo copy docker://" in done.err


def test_a_warning_is_one_line(nixoci: Run, tmp_path: Path, program: str) -> None:
    write_layout(tmp_path / "layout", [BASE, layer(file(b"usr/x"))], tag="2")
    done = nixoci("layer-cache", "out", "oci:layout:2", program)
    assert (done.code, done.out, done.err.count("\n")) == (0, "", 1)
    assert done.err.startswith("warning: layer sha256:")
    assert "no entry for its directory 'usr'; " in done.err
