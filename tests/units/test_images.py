"""The service that mounts images, with stand-ins for mount and umount, which note what they are told."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nixoci.container.model import Deployment
from nixoci.container.rules import check
from nixoci.document import structure
from nixoci.errors import ContainerError
from nixoci.units import images
from nixoci.units.images import images_service
from tests.units.samples import TOOLS, executable, noted, noting

SCRIPT = Path(images.__file__).with_name("mount-images.sh")
EROFS = "composefs-data/composefs.blob"


class Mounts:
    """The script with its places below a directory; `mounted` are the mount points that the kernel has."""

    def __init__(self, path: Path, *, shell: str = "sh") -> None:
        self.path, self.shell = path, shell
        self.run, self.roots, self.store = path / "run", path / "roots", path / "nix/store"
        self.mounted: set[str] = set()
        text = SCRIPT.read_text()
        for old, new in (
            ("run=/run/nixoci", f"run={shlex.quote(str(self.run))}"),
            ("roots=/nix/var/nix/gcroots/nixoci-engines", f"roots={shlex.quote(str(self.roots))}"),
            ("/nix/store/", f"{self.store}/"),
            ("/proc/self/mountinfo", str(path / "mountinfo")),
        ):
            assert old in text
            text = text.replace(old, new)
        (path / "script").write_text(text)
        (path / "bin").mkdir()
        self.run.mkdir()
        # real directories, so that what is removed can be seen
        table = shlex.quote(str(path / "table"))
        self.program("mount", f'cat "$3" > {table}; while read -r _ point _; do mkdir -p "$point"; done < {table}')
        self.program("umount", "")
        executable(path / "bin/rm", '#!/bin/sh\nshift 2; for each; do rmdir "$each" || unlink "$each"; done\n')

    def program(self, name: str, more: str) -> None:
        noting(self.path / "bin" / name, self.path / "log", more)

    def layer(self, name: str, *, store: str = "store") -> Path:
        """Make a layer in an image store and return its directory."""
        folder = self.store / store / "overlay" / name
        (folder / "composefs-data").mkdir(parents=True)
        (folder / EROFS).touch()
        return folder

    def __call__(self, action: str, *arguments: str | Path, code: int = 0) -> tuple[list[str], list[str], str]:
        """Run the script; return the lines of the table, the points that were unmounted, and the errors."""
        lines = [f"1 2 0:1 / {point} rw shared:1 - x x rw" for point in ["/", "/run", *sorted(self.mounted)]]
        (self.path / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
        for file in ("table", "log"):
            (self.path / file).write_text("")
        programs = [str(self.path / "bin" / name) for name in ("mount", "umount", "rm")]
        command = [self.shell, "script", action, *programs, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        table = (self.path / "table").read_text().splitlines()
        unmounted = [point for words in noted(self.path / "log") if words[0] == "umount" for point in words[2:]]
        self.mounted |= {line.split()[1] for line in table}
        self.mounted -= set(unmounted)
        return table, unmounted, done.stderr

    def points(self) -> set[str]:
        """Return the mounted images."""
        return {Path(point).name for point in self.mounted}


@pytest.fixture(params=["sh", "bash"])
def mounts(tmp_path: Path, request: pytest.FixtureRequest) -> Mounts:
    return Mounts(tmp_path, shell=request.param)


def test_an_image_is_mounted_over_its_metadata_which_then_goes(mounts: Mounts) -> None:
    layer = mounts.layer("aaa")
    table, unmounted, _ = mounts("start", layer)
    metadata, point = f"{mounts.run}/.metadata/store-aaa", f"{mounts.run}/images/store-aaa"
    assert table == [
        f"{layer}/{EROFS} {metadata} erofs ro,nodev,X-mount.mkdir=0700 0 0",
        f"overlay {point} overlay ro,nodev,metacopy=on,X-mount.mkdir=0700,lowerdir={metadata}::{layer}/diff 0 0",
    ]
    assert unmounted == [metadata]
    assert mounts.mounted == {point}


def test_a_store_gives_all_of_its_images_and_a_second_run_changes_nothing(mounts: Mounts) -> None:
    for name in ("aaa", "bbb"):
        mounts.layer(name)
    store = mounts.store / "store"
    mounts("start", store, store / "overlay/aaa")
    assert mounts.points() == {"store-aaa", "store-bbb"}
    assert mounts("start", store) == ([], [], "")
    assert noted(mounts.path / "log") == []


def test_a_joined_store_is_mounted_from_its_entries(mounts: Mounts) -> None:
    layer = mounts.layer("aaa", store="entry")
    joined = mounts.store / "joined/overlay"
    joined.mkdir(parents=True)
    (joined / "aaa").symlink_to(layer)
    mounts("start", joined.parent, layer)
    assert mounts.points() == {"entry-aaa"}


def test_an_entry_that_is_gone_is_named_and_keeps_no_other_from_its_mount(mounts: Mounts) -> None:
    entries = [mounts.layer("aaa").parents[1], mounts.layer("bbb", store="other").parents[1]]
    joined = mounts.path / "joined"
    (joined / "overlay").mkdir(parents=True)
    for entry, layer in zip(entries, ("aaa", "bbb"), strict=True):
        (joined / "overlay" / layer).symlink_to(entry / "overlay" / layer)
    entries[0].rename(mounts.path / "gone")
    _, _, error = mounts("start", joined, code=1)
    assert error == f"error: {joined}/overlay/aaa: leads to a store that is not there; was it removed?\n"
    assert mounts.points() == {"other-bbb"}


def test_a_store_without_images_is_no_error(mounts: Mounts) -> None:
    (mounts.store / "empty/overlay-images").mkdir(parents=True)
    (mounts.store / "empty/overlay-images/images.json").touch()
    assert mounts("start", mounts.store / "empty") == ([], [], "")


def test_what_is_no_longer_wanted_is_unmounted_and_what_engines_need_stays(mounts: Mounts) -> None:
    first, second = mounts.layer("aaa"), mounts.layer("bbb", store="entry")
    mounts("start", first, second)
    root = mounts.roots / "docker/entry"
    root.parent.mkdir(parents=True)
    root.touch()
    _, unmounted, _ = mounts("start")
    assert (unmounted, mounts.points()) == ([f"{mounts.run}/images/store-aaa"], {"entry-bbb"})
    assert mounts("stop") == ([], [], "")
    root.unlink()
    mounts("stop")
    assert mounts.points() == set()
    assert not (mounts.run / "images/entry-bbb").exists()


def test_what_engines_need_is_mounted_at_the_next_start(mounts: Mounts) -> None:
    mounts.layer("aaa", store="entry")
    for engine in ("docker", "containerd"):
        (mounts.roots / engine).mkdir(parents=True)
        (mounts.roots / engine / "entry").touch()
    (mounts.roots / "docker/gone").touch()
    mounts("start")
    assert mounts.points() == {"entry-aaa"}


def test_the_directory_of_a_runtime_is_mounted_read_only(mounts: Mounts) -> None:
    target = mounts.run / ".runtime/usr-bin"
    table, _, _ = mounts("start", "--programs", "/usr/bin", target)
    assert table == [f"/usr/bin {target} none bind,ro,X-mount.mkdir=0700 0 0"]
    other = mounts.run / ".runtime/opt-bin"
    _, unmounted, _ = mounts("start", "--programs", "/opt/bin", other)
    assert (unmounted, mounts.mounted) == ([str(target)], {str(other)})


def test_an_image_that_is_missing_keeps_no_other_from_its_mount(mounts: Mounts) -> None:
    layer = mounts.layer("aaa")
    _, _, error = mounts("start", "/nowhere/overlay/x", layer, code=1)
    assert error == "error: /nowhere/overlay/x: no image store, nor a layer with an EROFS file; was it removed?\n"
    assert mounts.points() == {"store-aaa"}


def test_a_mount_that_fails_is_seen_and_leaves_no_mount_point(mounts: Mounts) -> None:
    layer = mounts.layer("aaa")
    mounts.program("mount", f"mkdir -p {shlex.quote(str(mounts.run / 'images/store-aaa'))}; exit 32")
    _, _, error = mounts("start", layer, code=32)
    assert error.startswith("error: an image is not mounted, for the reason above; EROFS files need Linux 6.12")
    assert error.count("\n") == 1
    assert not (mounts.run / "images/store-aaa").exists()


def test_the_service_has_the_script_without_its_comments() -> None:
    unit = images_service([Path("/s/overlay/b"), Path("/s/overlay/a"), Path("/s/overlay/b")], TOOLS).render()
    assert "RequiresMountsFor=/s/overlay/a\nRequiresMountsFor=/s/overlay/b\n" in unit
    for engine in ("docker", "containerd", "k3s", "crio"):
        assert f"Before={engine}.service\n" in unit
    (start,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    programs = "/m/mount /m/umount /b/rm --programs /c /run/nixoci/.runtime/c"
    assert start.endswith(f" nixoci-images start {programs} /s/overlay/a /s/overlay/b")
    (stop,) = (line for line in unit.splitlines() if line.startswith("ExecStop="))
    assert stop.endswith(" nixoci-images stop /m/mount /m/umount /b/rm")
    # systemd's own escapes undone, it is the file's commands
    script = re.search(r'-c "(.*)" nixoci-images', start)
    assert script is not None
    undone = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), script[1])
    text = undone.replace("$$", "$").replace("%%", "%")
    commands = [line for line in SCRIPT.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert [line for line in text.splitlines() if line] == commands


def test_a_path_that_a_mount_table_cannot_hold_is_refused() -> None:
    for path in ("/a b", "/a,b", "/a\tb", "/a\nb", "/a:b", "/a#b", "/a\\b"):
        with pytest.raises(ContainerError, match=r"^imageStore: .* cannot be a mount option"):
            images_service([Path(path)], TOOLS)
    assert "--programs /" not in images_service([], replace(TOOLS, crun="/a b/crun")).render()


def test_names_that_the_mounts_need_are_taken() -> None:
    def refused(container: dict[str, object], name: str, message: str) -> None:
        document = {"images": {"i": "/i"}, "containers": {name: {"image": "i", "networks": ["none"]} | container}}
        with pytest.raises(ContainerError, match=message):
            check(structure(Deployment, document, what="d", strict=True))

    refused({"backend": "bundle"}, "images", r"^containers\.images: /run/nixoci/images has the mounts of all images")
    refused({"secrets": {"s": {"source": "/s"}}}, "images", r"^containers\.images: ")
    refused(
        {}, "nixoci-images", r"^containers\.nixoci-images: its unit is nixoci-images\.service, like that of the mounts"
    )
