from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from nixoci.cli.image_store import image_store
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import executable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result


def test_a_store_its_storage_conf_and_json(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    (tmp_path / "link").symlink_to("image")
    store, conf = tmp_path / "store", tmp_path / "storage.conf"
    arguments = [store, tmp_path / "link", image.path, "--no-erofs", "--storage-conf", conf, "--json"]
    done = CliRunner().invoke(image_store, [str(argument) for argument in arguments], catch_exceptions=False)
    (stored,) = json.loads(done.stdout)
    assert stored["names"] == ["docker.io/library/sample:1"]
    assert stored["path"] == str(image.path)
    assert (store / "overlay" / stored["layer"] / "diff").readlink() == image.rootfs
    assert str(store) in conf.read_text("utf-8")
    assert "fuse-overlayfs" in conf.read_text("utf-8")


def test_a_drop_in_lies_in_the_store_that_it_names(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    store = tmp_path / "store"
    drop_in = store / "storage.conf.d/50-nixoci.conf"
    arguments = [store, image.path, "--no-erofs", "--drop-in", drop_in, "--fuse-overlayfs", "/fuse"]
    CliRunner().invoke(image_store, [str(argument) for argument in arguments], catch_exceptions=False)
    options = tomllib.loads(drop_in.read_text("utf-8"))["storage"]["options"]
    assert options == {
        "additionalimagestores": [str(store), {"append": True}],
        "overlay": {"mount_program": "/fuse"},
    }


@pytest.mark.parametrize(
    ("drop_in", "arguments", "options"),
    [
        ("drop-in.conf", [], "nodev,metacopy=on"),
        ("drop-in.conf", ["--mountopt", "nodev,redirect_dir=on"], "nodev,redirect_dir=on"),
        # `nixoci switch` links this one, and knows the machine
        ("store/storage.conf.d/50-nixoci.conf", [], None),
        ("store/storage.conf.d/50-nixoci.conf", ["--mountopt", "nosuid"], "nosuid"),
        ("drop-in.conf", ["--mountopt", ""], None),
    ],
)
def test_the_mount_options_of_a_drop_in(
    tmp_path: Path, nixoci: Callable[..., Result], drop_in: str, arguments: list[str], options: str | None
) -> None:
    image = image_path(tmp_path / "image", small_tree())
    program = executable(tmp_path / "mkcomposefs", "#!/bin/sh\ncat > /dev/null; for out; do :; done; echo > $out\n")
    more = ["--drop-in", str(tmp_path / drop_in), f"--mkcomposefs={program}", *arguments]
    done = nixoci("image-store", str(tmp_path / "store"), str(image.path), *more)
    assert done.code == 0, done.err
    table = tomllib.loads((tmp_path / drop_in).read_text("utf-8"))["storage"]["options"]
    assert table.get("overlay") == (None if options is None else {"mountopt": options})


@pytest.mark.parametrize("arguments", [[], ["--drop-in=x", "--no-erofs"], ["--drop-in=x", "--rootless"]])
def test_mount_options_are_for_a_drop_in_of_root(nixoci: Callable[..., Result], arguments: list[str]) -> None:
    done = nixoci("image-store", "store", "--mountopt=nodev", *arguments)
    assert done.code == 2
    assert "--mountopt is for --drop-in, and for root's images with EROFS files" in done.err


def test_what_is_not_an_image_path_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(image_store, [str(tmp_path / "store"), str(tmp_path)])
    assert str(done.exception) == (
        f"{tmp_path}: not an image path (made by `nixoci extract`): No such file or directory: {tmp_path}/image.json"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--storage-conf", "--drop-in", "--images-service"])
@pytest.mark.parametrize(
    ("place", "says"),
    [("file/here/x", "{}/file: Not a directory; check the path"), ("folder", "{}/folder: Is a directory; name a file")],
)
def test_a_file_that_cannot_be_written_costs_no_store(
    tmp_path: Path, nixoci: Callable[..., Result], option: str, place: str, says: str
) -> None:
    image = image_path(tmp_path / "image", small_tree())
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    program = executable(tmp_path / "mkcomposefs", "#!/bin/sh\ntouch made\n")
    done = nixoci("image-store", "store", str(image.path), option, str(tmp_path / place), f"--mkcomposefs={program}")
    assert (done.code, done.err) == (1, f"error: {says.format(tmp_path)}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"image", "file", "folder", "mkcomposefs"}


def test_what_was_dropped_is_said_on_stderr(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree(), config={"config": {"Env": ["LOST"]}})
    arguments = [str(tmp_path / "store"), str(image.path), "--no-erofs"]
    done = CliRunner().invoke(image_store, arguments, catch_exceptions=False)
    assert done.stderr.startswith("warning: image sample: 'LOST' in its Env dropped: ")
    assert done.stdout == ""


def test_an_image_without_a_name_is_said_on_stderr(tmp_path: Path) -> None:
    named = image_path(tmp_path / "named", small_tree())
    nameless = image_path(tmp_path / "nameless", small_tree(), config={"config": {"User": "app"}}, reference=None)
    arguments = [str(tmp_path / "store"), str(named.path), str(nameless.path), "--no-erofs"]
    done = CliRunner().invoke(image_store, arguments, catch_exceptions=False)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: {nameless.path}: the image has no name")
    assert line.endswith("extract it with --reference")


def test_a_service_mounts_the_images_where_the_store_will_be(tmp_path: Path) -> None:
    store, unit = tmp_path / "store", tmp_path / "units/nixoci-images.service"
    arguments = [store, "--self-contained", "--prefix", "/usr/lib/nixoci", "--images-service", unit]
    CliRunner().invoke(image_store, [str(argument) for argument in arguments], catch_exceptions=False)
    lines = unit.read_text("utf-8").splitlines()
    assert {"RequiresMountsFor=/usr/lib/nixoci", "WantedBy=multi-user.target", "Before=docker.service"} <= set(lines)
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    # nothing is known of the machine, so that systemd looks the programs up there
    assert start.startswith("ExecStart=sh -c ")
    assert start.endswith(" nixoci-images start mount umount rm /usr/lib/nixoci")


@pytest.mark.parametrize("kind", ["--rootless", "--no-erofs"])
def test_a_service_mounts_no_store_without_erofs_files(tmp_path: Path, kind: str) -> None:
    done = CliRunner().invoke(image_store, [str(tmp_path / "store"), kind, "--images-service", "-"])
    assert done.exit_code == 2
    assert "--images-service mounts EROFS files; leave out --rootless and --no-erofs" in done.stderr
    assert list(tmp_path.iterdir()) == []
