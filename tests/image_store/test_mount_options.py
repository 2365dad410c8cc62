"""The mount options of root's podman: what the other files set, and the one by which it compares trees."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import StoreError
from nixoci.image_store.mount_options import (
    DropIns,
    compares_trees,
    comparing_options,
    planned_mount_options,
    present_mount_options,
    update_mount_options,
)
from nixoci.image_store.names import EROFS, OVERLAY
from nixoci.image_store.storage_conf import render_storage_drop_in

if TYPE_CHECKING:
    from pathlib import Path

VENDOR = "usr/share/containers/storage.conf"
ADMIN = "etc/containers/storage.conf"
EARLIER = "etc/containers/storage.conf.d/40-site.conf"
LATER = "etc/containers/storage.conf.d/60-site.conf"


class Machine:
    """The configuration of a machine, and an image store with EROFS files that a drop-in names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.drop_ins = DropIns(root)
        self.store = root / "store"
        self.add_store(self.store)
        self.name(self.drop_ins.store, self.store)

    def add_store(self, store: Path, *, erofs: bool = True) -> None:
        (store / OVERLAY / "layer" / EROFS).parent.mkdir(parents=True)
        if erofs:
            (store / OVERLAY / "layer" / EROFS).touch()

    def name(self, drop_in: Path, store: Path) -> None:
        self.write(drop_in.relative_to(self.root), render_storage_drop_in(store, mount_options=""))

    def write(self, name: str | Path, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def set(self, name: str, mountopt: str, *more: str) -> None:
        self.write(name, "\n".join(["[storage.options.overlay]", f'mountopt = "{mountopt}"', *more]))

    def update(self) -> str | None:
        """Update the drop-in twice; return its options."""
        update_mount_options(self.drop_ins)
        first = present_mount_options(self.drop_ins)
        assert planned_mount_options(self.drop_ins, [self.store]) == first
        update_mount_options(self.drop_ins)
        assert present_mount_options(self.drop_ins) == first
        return first


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("distribution", "options"),
    [
        (None, "redirect_dir=on"),
        ("", "redirect_dir=on"),
        ("nodev", "nodev,redirect_dir=on"),
        (" nodev, noatime ", "nodev,noatime,redirect_dir=on"),
        ("nodev,metacopy=off", "nodev,metacopy=off,redirect_dir=on"),
        # podman compares trees then
        ("nodev,metacopy=on", None),
        ("redirect_dir=on,nodev", None),
        # the kernel refuses it beside the others, or somebody wants it so
        ("userxattr", None),
        ("redirect_dir=nofollow", None),
    ],
)
def test_options_of_the_distribution_stay(machine: Machine, distribution: str | None, options: str | None) -> None:
    if distribution is not None:
        machine.set(VENDOR, distribution)
    assert machine.update() == options
    if options is not None:
        table = tomllib.loads(machine.drop_ins.mount_options.read_text("utf-8"))
        assert table == {"storage": {"options": {"overlay": {"mountopt": options}}}}


def test_the_file_that_counts_is_the_one_that_podman_takes(machine: Machine) -> None:
    machine.set(VENDOR, "nodev,metacopy=on")
    machine.set(ADMIN, "nosuid")
    assert machine.update() == "nosuid,redirect_dir=on"
    machine.set(EARLIER, "nodev")
    assert machine.update() == "nodev,redirect_dir=on"
    # this one hides those of the drop-in
    machine.set(LATER, "noatime")
    assert machine.update() is None


def test_the_older_place_of_mount_options_counts_where_the_other_is_empty(machine: Machine) -> None:
    machine.write(VENDOR, '[storage.options]\nmountopt = "nosuid"\n')
    assert machine.update() == "nosuid,redirect_dir=on"
    machine.set(EARLIER, "nodev")
    assert machine.update() == "nodev,redirect_dir=on"
    machine.set(EARLIER, "")
    assert machine.update() == "nosuid,redirect_dir=on"


@pytest.mark.parametrize("setting", ['use_composefs = "true"', 'mount_program = "/usr/bin/fuse-overlayfs"'])
def test_a_podman_that_compares_trees_anyway_needs_no_option(machine: Machine, setting: str) -> None:
    machine.set(VENDOR, "nodev", setting)
    assert machine.update() is None
    assert compares_trees(machine.drop_ins.read())
    machine.set(VENDOR, "nodev", 'use_composefs = "false"')
    assert machine.update() == "nodev,redirect_dir=on"


def test_an_option_that_is_decided_is_replaced_in_advice_alone(machine: Machine) -> None:
    machine.set(VENDOR, "nodev,redirect_dir=off")
    assert comparing_options(machine.drop_ins.read()) == "nodev,redirect_dir=on"


def test_it_is_there_as_long_as_a_store_with_erofs_files_is_named(machine: Machine) -> None:
    machine.set(VENDOR, "nodev")
    kept = machine.root / "kept"
    machine.add_store(kept)
    machine.name(machine.drop_ins.kept_images, kept)
    assert machine.update() == "nodev,redirect_dir=on"
    machine.drop_ins.store.unlink()
    assert machine.update() == "nodev,redirect_dir=on"
    machine.drop_ins.kept_images.unlink()
    update_mount_options(machine.drop_ins)
    assert not machine.drop_ins.mount_options.exists()
    # before a drop-in names the store, not after
    update_mount_options(machine.drop_ins, coming=[kept])
    assert present_mount_options(machine.drop_ins) == "nodev,redirect_dir=on"


def test_a_store_without_erofs_files_needs_none(machine: Machine) -> None:
    tree = machine.root / "tree"
    machine.add_store(tree, erofs=False)
    machine.name(machine.drop_ins.store, tree)
    update_mount_options(machine.drop_ins)
    assert not machine.drop_ins.mount_options.exists()


def test_a_configuration_that_no_podman_reads_changes_nothing(machine: Machine) -> None:
    machine.set(VENDOR, "nodev,metacopy=on")
    broken = machine.write(LATER, "[storage")
    assert machine.update() is None
    broken.unlink()
    machine.set(VENDOR, "nodev")
    assert machine.update() == "nodev,redirect_dir=on"
    machine.write(LATER, "[storage")
    machine.set(VENDOR, "nosuid")
    assert machine.update() == "nodev,redirect_dir=on"


def test_one_that_is_damaged_is_made_again(machine: Machine) -> None:
    assert machine.update() == "redirect_dir=on"
    machine.drop_ins.mount_options.write_text("[storage", encoding="utf-8")
    assert machine.update() == "redirect_dir=on"


def test_a_drop_in_that_cannot_be_written_says_so(machine: Machine) -> None:
    machine.drop_ins.mount_options.mkdir()
    with pytest.raises(StoreError, match=r"mount-options\.conf: cannot be changed: Is a directory; mend that"):
        update_mount_options(machine.drop_ins)
