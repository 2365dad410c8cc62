from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ProcessError
from nixoci.image_store.storage_conf import render_storage_conf, render_storage_drop_in
from nixoci.switch.places import Places
from tests.cli.test_json import check
from tests.image_store.test_mount_options import Machine
from tests.switch.test_contents import places, write
from tests.units.samples import executable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result


SYSTEMCTL = """#!/bin/sh
verb=$1$2
[ "$1" = start ] || while shift; [ $# -gt 0 ] && [ "$1" != -- ]; do :; done
case $verb in
    show--property=LoadState*) for unit; do [ "$unit" = -- ] || echo LoadState=not-found; done ;;
    show--property=ActiveState) for unit; do [ "$unit" = -- ] || echo inactive; done ;;
    start*) echo "Job for web.service failed." >&2; exit 1 ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a directory of paths for switches, where systemctl fails to start a unit."""
    monkeypatch.setattr(Places, "default", lambda *, user: places(tmp_path, user=user))
    (tmp_path / "programs").mkdir()
    executable(tmp_path / "programs/systemctl", SYSTEMCTL)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"), prepend=":")
    return tmp_path


def test_one_of_an_output_the_generation_before_and_nothing(nixoci: Callable[..., Result]) -> None:
    for arguments in ([], ["out", "--rollback"], ["out", "--uninstall"], ["--rollback", "--uninstall"]):
        done = nixoci("switch", *arguments)
        assert done.code == 2
        assert "give one of OUT, --rollback and --uninstall" in done.err


@pytest.mark.usefixtures("host")
def test_without_a_generation_there_is_no_way_back(nixoci: Callable[..., Result]) -> None:
    done = nixoci("switch", "--rollback")
    assert done.code == 1
    assert "no earlier generation; name an output" in done.err


def test_json_has_everything_that_changed(nixoci: Callable[..., Result], host: Path) -> None:
    write(host / "out/lib/systemd/system/web.service")
    write(host / "next/storage.conf.d/50-nixoci.conf")
    options = {"path": "/x", "mountopt": None, "change": "removed"}
    check("switch", nixoci("switch", "out", "--json").json | {"failed": ["web.service"], "mountOptions": options})
    next_ = nixoci("switch", "next", "--json").json
    assert next_["links"] == [
        {
            "path": str(host / "conf.d/50-nixoci.conf"),
            "target": str(host / "next/storage.conf.d/50-nixoci.conf"),
            "change": "added",
        },
        {"path": str(host / "units/web.service"), "target": None, "change": "removed"},
    ]
    removed = nixoci("switch", "--uninstall", "--json").json
    assert (removed["out"], removed["profile"]) == (None, None)
    check("switch", removed, next_ | {"failed": ["web.service"]})


def test_a_drop_in_of_another_store_changes(nixoci: Callable[..., Result], host: Path) -> None:
    for out, change in (("out", "added"), ("next", "changed")):
        write(host / out / "storage.conf.d/50-nixoci.conf")
        done = nixoci("switch", out)
        assert done.out.splitlines()[1].split() == ["link", str(host / "conf.d/50-nixoci.conf"), change]


def test_a_switch_without_a_change_of_units_says_so(nixoci: Callable[..., Result], host: Path) -> None:
    for out in ("out", "next"):
        write(host / out / "lib/systemd/system/web.service")
    nixoci("switch", "out")
    kept, moved = (nixoci("switch", out) for out in ("out", "next"))
    assert (kept.code, kept.out) == (moved.code, moved.out) == (0, "")
    assert kept.err.splitlines()[0] == f"{host / 'out'}: in place; no unit changes"
    assert moved.err.splitlines()[0] == f"{host / 'next'}: 1 link to its files; no unit changes"
    assert "no unit changes" not in nixoci("switch", "next", "--json").err


def test_an_uninstall_says_what_it_removes(nixoci: Callable[..., Result], host: Path) -> None:
    write(host / "out/storage.conf.d/50-nixoci.conf")
    nixoci("switch", "out")
    for arguments in (["--dry-run"], []):
        done = nixoci("switch", "--uninstall", *arguments)
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines()[1].split() == ["unlink", str(host / "conf.d/50-nixoci.conf"), "removed"]
    assert nixoci("switch", "--uninstall") == (0, "", "no switch has put anything in place\n"), "nothing is left"


@pytest.fixture
def machine(host: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make a machine whose podman has a container of an own image, with a layer, and an output with an image store."""
    made = Machine(host)
    made.drop_ins.store.unlink()
    there = replace(places(host), drop_in=made.drop_ins.store, drop_ins=made.drop_ins)
    monkeypatch.setattr(Places, "default", lambda *, user: replace(there, user=user))
    write(host / "out/storage.conf.d/50-nixoci.conf", render_storage_drop_in(made.store, mount_options=""))
    monkeypatch.setattr("nixoci.cli.switch.containers_with_moves", lambda podman: ["web"] if podman else [])
    monkeypatch.setattr("nixoci.cli.switch.Podman", lambda: True)
    return made


def test_mount_options_are_reported(nixoci: Callable[..., Result], machine: Machine) -> None:
    file = str(machine.drop_ins.mount_options)
    planned = nixoci("switch", "out", "--dry-run", "--json").json
    assert planned["mountOptions"] == {"path": file, "mountopt": "redirect_dir=on", "change": "added"}
    done = nixoci("switch", "out")
    assert (done.code, ["write", file, "added"] in [line.split() for line in done.out.splitlines()]) == (0, True)
    assert "mountOptions" not in nixoci("switch", "out", "--json").json


def test_an_uninstall_warns_of_containers_that_need_the_option(
    nixoci: Callable[..., Result], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nixoci("switch", "out")
    file = str(machine.drop_ins.mount_options)
    planned = nixoci("switch", "--uninstall", "--dry-run")
    assert planned.err == (
        f"warning: web: without {file}, `podman commit` writes directories empty that they have moved; remove these"
        " containers, or add redirect_dir=on to mountopt in storage.conf\n"
    )
    assert ["remove", file, "removed"] in [line.split() for line in planned.out.splitlines()]
    monkeypatch.setattr("nixoci.cli.switch.containers_with_moves", lambda _: [])
    assert nixoci("switch", "--uninstall", "--dry-run").err == ""

    def fail() -> None:
        raise ProcessError("podman: not found")

    monkeypatch.setattr("nixoci.cli.switch.Podman", fail)
    assert nixoci("switch", "--uninstall").err == ""
    assert not machine.drop_ins.mount_options.exists()


@pytest.mark.parametrize("version", ["5.4.2", "5.8.6", None])
def test_a_podman_that_reads_no_drop_ins_is_named(
    nixoci: Callable[..., Result], host: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    """Without the images in its main file it would pull all of them."""
    if version is not None:
        executable(host / "programs/podman", f"#!/bin/sh\necho podman version {version}\n")
    else:
        monkeypatch.setenv("PATH", str(host / "programs"))
        executable(host / "programs/systemctl", SYSTEMCTL)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(host / "main.conf"))
    write(host / "out/storage.conf.d/50-nixoci.conf", render_storage_drop_in(host / "store"))
    there = places(host)
    for main, warned in ((render_storage_conf("/other"), True), (render_storage_conf(host / "store"), False)):
        write(host / "main.conf", main)
        done = nixoci("switch", "out")
        said = [line for line in done.err.splitlines() if line.startswith(f"warning: {there.drop_in}")]
        assert done.code == 0
        if version == "5.4.2" and warned:
            command = f"ln --symbolic {there.profile}/storage.conf {there.drop_in.parent.parent}/storage.conf"
            what = f"{there.drop_in}: podman 5.4.2 does not read it, as 5.8 does"
            assert said == [f"warning: {what}; run `{command}`, or name the image store in that file"]
        else:
            assert said == []


def test_units_that_do_not_start_fail_the_command_but_not_the_switch(nixoci: Callable[..., Result], host: Path) -> None:
    folder = host / "out/lib/systemd/system"
    write(folder / "web.service")
    (folder / "multi-user.target.wants").mkdir()
    (folder / "multi-user.target.wants/web.service").symlink_to("../web.service")
    planned = nixoci("switch", "out", "--dry-run", "--json")
    assert planned.code == 0
    assert planned.json["units"] == [{"unit": "web.service", "change": "added", "action": "start"}]
    assert not (host / "units").exists()
    done = nixoci("switch", "out")
    assert done.code == 1
    assert done.out.splitlines() == ["ACTION  UNIT         CHANGE", "start   web.service  added"]
    assert "warning: " in done.err
    assert done.err.splitlines()[-1] == (
        "error: web.service: not started; see `journalctl --unit=web.service`, then run this again, or with --rollback"
    )
    assert (host / "units/web.service").is_symlink()
