"""Switches with links in a directory, and a stand-in for systemctl that knows states."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import DocumentError, ProcessError, StoreError, UnsupportedVersionError
from nixoci.image_store.mount_options import present_mount_options
from nixoci.image_store.storage_conf import render_storage_drop_in
from nixoci.switch import generation, perform
from nixoci.switch.perform import Switched, roll_back, switch, uninstall
from nixoci.switch.plan import Action
from tests.image_store.test_mount_options import VENDOR, Machine
from tests.switch.test_contents import places, write
from tests.units.samples import executable

if TYPE_CHECKING:
    from pathlib import Path

SYSTEMCTL = """#!/bin/sh
cd "$STATES" || exit 1
verb=$1 property=$2
[ "$verb" = show ] && [ "$property" != --property=ActiveState ] || echo "$@" >> log
[ ! -e "killed-$verb" ] || { rm "killed-$verb"; kill -9 $PPID; exit 1; }
[ ! -e "broken-$verb" ] || { cat "broken-$verb" >&2; exit 1; }
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
[ $# -eq 0 ] || shift
for unit; do
    case $verb$property in
        show--property=ActiveState) cat "$unit" 2> /dev/null || echo inactive ;;
        show--property=LoadState,FragmentPath)
            echo LoadState=loaded; echo "FragmentPath=$(cat "file-of-$unit" 2> /dev/null)"; echo ;;
        show*) echo "RequiredBy=$(cat "required-by-$unit" 2> /dev/null)"; echo "BoundBy="; echo ;;
        start*) echo active > "$unit" ;;
        stop*) for each in "$unit" $(cat "required-by-$unit" 2> /dev/null); do echo inactive > "$each"; done ;;
    esac
done
"""
"""A stand-in that knows states, files and requirements of units; `killed-VERB` ends the process that calls it."""


class Host:
    """Outputs by number, and the machine that switches between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = places(folder)
        self.states = folder / "states"

    def output(self, name: str, **units: str) -> Path:
        """Make an output with services that start by themselves, by their texts."""
        folder = self.folder / name / "lib/systemd/system"
        wants = folder / "multi-user.target.wants"
        wants.mkdir(parents=True)
        for unit, text in units.items():
            write(folder / f"{unit}.service", text)
            (wants / f"{unit}.service").symlink_to(f"../{unit}.service")
        return self.folder / name

    def installed(self) -> dict[str, str]:
        """Return the links by name."""
        found = self.places.units.rglob("*") if self.places.units.exists() else []
        return {str(link.relative_to(self.places.units)): os.readlink(link) for link in found if link.is_symlink()}  # noqa: PTH115

    def calls(self, *verbs: str) -> list[str]:
        """Return the calls of systemctl since the last time, of some verbs."""
        log = self.states / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if line.split()[0] in verbs]


CHANGES = ("stop", "daemon-reload", "start")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    made.states.mkdir()
    (tmp_path / "programs").mkdir()
    executable(tmp_path / "programs/systemctl", SYSTEMCTL)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"), prepend=":")
    monkeypatch.setenv("STATES", str(made.states))
    return made


def actions(done: Switched) -> dict[str, Action]:
    return {each.unit.removesuffix(".service"): each.action for each in done.units}


def test_from_one_output_to_the_next(host: Host) -> None:
    old = host.output("old", web="1", gone="1", same="1")
    new = host.output("new", web="2", same="1", more="1")
    host.places.units.mkdir()
    (host.places.units / "ssh.service").symlink_to("/elsewhere")
    assert actions(switch(old, host.places)) == dict.fromkeys(("web", "gone", "same"), Action.START)
    wants = "multi-user.target.wants"
    links = {f"{name}.service": f"{old}/lib/systemd/system/{name}.service" for name in ("web", "gone", "same")}
    links |= {f"{wants}/{name}": f"../{name}" for name in list(links)}
    assert host.installed() == links | {"ssh.service": "/elsewhere"}
    assert host.calls(*CHANGES) == ["daemon-reload", "start -- gone.service same.service web.service"]

    planned = switch(new, host.places, dry_run=True)
    assert host.calls(*CHANGES) == []
    assert host.installed() == links | {"ssh.service": "/elsewhere"}
    done = switch(new, host.places)
    assert (planned.units, planned.links) == (done.units, done.links)
    assert actions(done) == {"web": Action.RESTART, "gone": Action.STOP, "same": Action.NONE, "more": Action.START}
    stop, reload, start = host.calls(*CHANGES)
    assert (stop, reload) == ("stop -- gone.service web.service", "daemon-reload")
    assert {"more.service", "web.service"} <= set(start.split())
    links = {f"{name}.service": f"{new}/lib/systemd/system/{name}.service" for name in ("web", "same", "more")}
    links |= {f"{wants}/{name}": f"../{name}" for name in list(links)}
    assert host.installed() == links | {"ssh.service": "/elsewhere"}

    before = host.places.record.stat().st_mtime_ns
    again = switch(new, host.places)
    assert (set(actions(again).values()), again.links) == ({Action.NONE}, ())
    assert host.calls(*CHANGES) == []
    assert host.places.record.stat().st_mtime_ns == before


def test_what_nixoci_did_not_make_is_neither_replaced_nor_removed(host: Host) -> None:
    out = host.output("out", web="1")
    empty = host.output("empty")
    web = host.places.units / "web.service"
    write(web, "mine")
    with pytest.raises(StoreError, match=r"web\.service: is a file that no switch of nixoci made; remove it"):
        switch(out, host.places)
    assert host.calls(*CHANGES) == []
    web.unlink()
    web.symlink_to(out / "lib/systemd/system/web.service")
    with pytest.raises(StoreError, match=r"systemctl disable web\.service"):
        switch(out, host.places, dry_run=True)
    web.unlink()
    switch(out, host.places)
    web.unlink()
    web.symlink_to("/dev/null")  # systemctl mask
    switch(empty, host.places)
    assert host.installed() == {"web.service": "/dev/null"}


def test_a_switch_that_failed_goes_on_from_there(host: Host) -> None:
    old, new = host.output("old", web="1"), host.output("new", web="2")
    switch(old, host.places)
    write(host.states / "broken-daemon-reload", "systemd")
    with pytest.raises(ProcessError):
        switch(new, host.places)
    assert (host.states / "web.service").read_text() == "inactive\n"
    (host.states / "broken-daemon-reload").unlink()
    host.calls()
    assert actions(switch(new, host.places)) == {"web": Action.START}
    assert host.calls("start") == ["start -- web.service"]


def test_units_that_do_not_start_are_named_and_started_by_the_next_run(host: Host) -> None:
    out = host.output("out", web="1", other="1")
    write(host.states / "broken-start", "Job for web.service failed because of a test.")
    assert switch(out, host.places).failed == ("web.service",)
    (host.states / "broken-start").unlink()
    host.calls()
    assert switch(out, host.places).failed == ()
    assert host.calls("start") == ["start -- web.service"]


def test_an_image_store_needs_no_systemd(host: Host) -> None:
    write(host.folder / "store/storage.conf.d/50-nixoci.conf")
    host.places.drop_in.parent.mkdir()
    host.places.drop_in.symlink_to("/mine")
    with pytest.raises(StoreError, match=r"50-nixoci\.conf: is a link to /mine that .* made; remove it$"):
        switch(host.folder / "store", host.places)
    host.places.drop_in.unlink()
    (change,) = switch(host.folder / "store", host.places).links
    assert change.path == host.places.drop_in
    assert host.places.drop_in.exists()
    assert host.calls("show", *CHANGES) == []


def test_a_record_of_a_later_version_is_refused(host: Host) -> None:
    write(host.places.record, json.dumps({"version": 2, "outputs": []}))
    with pytest.raises(UnsupportedVersionError, match=r"switch\.json: version 2"):
        switch(host.output("out", web="1"), host.places)


def test_a_damaged_record_says_what_to_do(host: Host) -> None:
    write(host.places.record, "{")
    with pytest.raises(
        DocumentError, match=r"switch\.json: not valid JSON: .*; remove this file, and run this again: "
    ):
        switch(host.output("out", web="1"), host.places)


def test_a_record_that_is_lost_is_made_again_from_the_present_generation(host: Host) -> None:
    old, new = host.output("old", web="1", gone="1", same="1"), host.output("new", web="2", same="1")
    generations(host, old)
    switch(old, host.places)
    (host.places.units / "gone.service").unlink()
    (host.places.units / "gone.service").symlink_to("/elsewhere/gone.service")
    host.places.record.unlink()
    host.calls()
    done = switch(new, host.places)
    assert actions(done) == {"web": Action.RESTART, "same": Action.NONE}
    assert host.calls(*CHANGES) == ["stop -- web.service", "daemon-reload", "start -- same.service web.service"]
    assert host.installed()["gone.service"] == "/elsewhere/gone.service"
    assert host.installed()["web.service"] == f"{new}/lib/systemd/system/web.service"
    host.places.record.unlink()
    (host.places.units / "gone.service").unlink()
    with pytest.raises(StoreError, match=f"is a link to {new}/lib/systemd/system/same.service that no switch"):
        switch(old, host.places)


def test_a_unit_of_somebody_else_that_stops_with_one_of_ours_starts_again(host: Host) -> None:
    old, new = host.output("old", web="1", same="1"), host.output("new", web="2", same="1")
    switch(old, host.places)
    write(host.states / "required-by-web.service", "same.service own.service idle.service")
    write(host.states / "required-by-own.service", "more.service")
    for unit in ("own", "more"):
        write(host.states / f"{unit}.service", "active\n")
    planned = switch(new, host.places, dry_run=True)
    done = switch(new, host.places)
    assert planned.units == done.units
    assert actions(done) == dict.fromkeys(("more", "own", "same", "web"), Action.RESTART)
    assert (host.states / "own.service").read_text() == "active\n"


def test_a_unit_of_somebody_else_starts_again_after_a_switch_that_was_cut_short(host: Host) -> None:
    old, new = host.output("old", web="1"), host.output("new", web="2")
    switch(old, host.places)
    write(host.states / "required-by-web.service", "own.service")
    write(host.states / "own.service", "active\n")
    write(host.states / "broken-daemon-reload", "systemd")
    with pytest.raises(ProcessError):
        switch(new, host.places)
    assert (host.states / "own.service").read_text() == "inactive\n"
    (host.states / "broken-daemon-reload").unlink()
    assert actions(switch(new, host.places)) == {"web": Action.START, "own": Action.START}
    assert (host.states / "own.service").read_text() == "active\n"
    assert json.loads(host.places.record.read_text()).get("start", []) == []


def test_a_unit_of_a_package_is_not_shadowed(host: Host) -> None:
    out = host.output("out", web="1", ssh="1")
    write(host.states / "file-of-ssh.service", "/usr/lib/systemd/system/ssh.service")
    for dry_run in (True, False):
        with pytest.raises(
            StoreError, match=r"^ssh\.service: is a unit of this machine already, /usr/lib/.*; rename the container"
        ):
            switch(out, host.places, dry_run=dry_run)
    assert (host.installed(), host.calls(*CHANGES)) == ({}, [])


def test_a_further_instance_of_a_template_is_no_unit_of_somebody_else(host: Host) -> None:
    outs = [host.output(name, **{"web@": "1"}) for name in ("old", "new")]
    for number, out in enumerate(outs):
        wants = out / "lib/systemd/system/multi-user.target.wants"
        (wants / "web@.service").rename(wants / f"web@{number}.service")
        assert actions(switch(out, host.places))[f"web@{number}"] is Action.START
        write(host.states / "file-of-web@1.service", str(host.places.units / "web@.service"))


def test_a_unit_whose_file_somebody_replaced_is_not_stopped_when_it_is_gone(host: Host) -> None:
    switch(host.output("out", web="1", other="1"), host.places)
    (host.places.units / "web.service").unlink()
    write(host.places.units / "web.service", "mine")
    host.calls()
    done = switch(host.output("empty"), host.places)
    assert actions(done) == {"other": Action.STOP}
    assert host.calls("stop") == ["stop -- other.service"]
    assert (host.places.units / "web.service").read_text() == "mine"


def test_a_mask_is_named_as_one(host: Host) -> None:
    out = host.output("out", web="1")
    host.places.units.mkdir()
    (host.places.units / "web.service").symlink_to("/dev/null")
    with pytest.raises(StoreError, match=r"masks the unit: run `systemctl unmask web\.service`, or rename"):
        switch(out, host.places)


def test_a_link_that_cannot_be_made_is_known_before_anything_stops(host: Host) -> None:
    old = host.output("old", web="1", same="1")
    switch(old, host.places)
    before = host.installed()
    host.calls()
    new = host.output("new", web="2", same="1", more="1")
    write(new / "lib/systemd/system/more.service.d/x.conf", "[Unit]\n")
    write(host.places.units / "more.service.d", "a file in the place of a directory")
    with pytest.raises(StoreError, match=r"more\.service\.d/x\.conf: cannot be made: .*; mend that and run this again"):
        switch(new, host.places)
    assert host.installed() == before
    assert set(actions(switch(old, host.places)).values()) == {Action.NONE}
    assert host.calls("stop", "start") == []


@pytest.mark.parametrize(
    "message",
    [
        "A dependency job for web.service failed. See 'journalctl -xe' for details.",
        "Assertion failed on job for web.service.",
        "Failed to start web.service: Unit gone.service not found.",
        "Job for web.service timed out.",
        "Job for web.service canceled.",
        "Unit web.service was started already once and can't be started again.",
    ],
)
def test_each_sentence_of_systemctl_about_a_failure_names_the_unit(host: Host, message: str) -> None:
    write(host.states / "broken-start", message)
    assert switch(host.output("out", web="1", other="1"), host.places).failed == ("web.service",)
    (host.states / "broken-start").unlink()
    assert switch(host.output("out2", web="1", other="1"), host.places).failed == ()


def test_a_failure_without_a_name_is_that_of_units_in_that_state(host: Host) -> None:
    write(host.states / "broken-start", "Job failed. See 'journalctl -xe' for details.")
    write(host.states / "web.service", "failed\n")
    assert switch(host.output("out", web="1", other="1"), host.places).failed == ("web.service",)


@pytest.mark.parametrize("message", ["Unit nowhere.service not found", "Unit web.service has a bad unit file setting"])
def test_other_units_start_if_systemd_refuses_them_all(host: Host, message: str) -> None:
    """As it does because of one that requires a unit which is not there, or whose file is not valid."""
    refused = f'case "$*" in start*web.service*) echo "Failed to enqueue jobs: {message}." >&2; exit 5; esac\n'
    executable(host.folder / "programs/systemctl", SYSTEMCTL.replace("verb=$1", f"{refused}verb=$1", 1))
    others = ("a", "b", "x", "y")
    assert switch(host.output("out", web="1", **dict.fromkeys(others, "1")), host.places).failed == ("web.service",)
    assert {(host.states / f"{name}.service").read_text() for name in others} == {"active\n"}


def generations(host: Host, *outs: Path) -> None:
    """Make outputs the generations of the profile, the last one the present."""
    for number, out in enumerate(outs, 1):
        (host.folder / f"profile-{number}-link").symlink_to(out)
    host.places.profile.symlink_to(f"profile-{len(outs)}-link")


def test_a_way_back_that_failed_goes_back_to_the_same_generation(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = [host.output(name, web=name) for name in ("a", "b", "c")]
    generations(host, *outs)
    numbers: list[int] = []
    monkeypatch.setattr(generation, "roll_back", lambda _profile, number: numbers.append(number))
    monkeypatch.setattr(perform, "is_store_path", lambda path: path in outs)
    switch(outs[2], host.places)
    write(host.states / "broken-daemon-reload", "systemd")
    with pytest.raises(ProcessError):
        roll_back(host.places)
    assert numbers == []
    (host.states / "broken-daemon-reload").unlink()
    assert roll_back(host.places).out == outs[1]
    assert numbers == [2]


def test_the_way_back_from_an_output_that_is_no_generation_is_to_the_present_one(host: Host) -> None:
    outs = [host.output(name, web=name) for name in ("a", "b", "c")]
    generations(host, *outs[:2])
    switch(outs[2], host.places)
    assert roll_back(host.places).out == outs[1]


def test_podman_has_its_mount_options_from_before_the_first_store_to_after_the_last(host: Host) -> None:
    machine = Machine(host.folder)
    machine.drop_ins.store.unlink()
    machine.set(VENDOR, "nodev")
    there = replace(host.places, drop_in=machine.drop_ins.store, drop_ins=machine.drop_ins)
    out = host.output("out", web="1")
    write(out / "storage.conf.d/50-nixoci.conf", render_storage_drop_in(machine.store, mount_options=""))
    own = machine.drop_ins.mount_options

    def change(done: Switched) -> tuple[Path, str | None, str] | None:
        changed = done.mount_options
        return None if changed is None else (changed.path, changed.mountopt, changed.change.value)

    assert change(switch(out, there, dry_run=True)) == (own, "nodev,redirect_dir=on", "added")
    assert not own.exists()
    # a switch that systemd stops: the options are there before the store
    (host.states / "broken-daemon-reload").write_text("broken")
    with pytest.raises(ProcessError):
        switch(out, there)
    assert present_mount_options(machine.drop_ins) == "nodev,redirect_dir=on"
    (host.states / "broken-daemon-reload").unlink()
    assert change(switch(out, there)) is None
    machine.set(VENDOR, "nosuid")
    assert change(switch(out, there)) == (own, "nosuid,redirect_dir=on", "changed")
    assert change(switch(out, there)) is None
    # a container of the store that is kept needs them still
    kept = host.folder / "kept"
    machine.add_store(kept)
    machine.name(machine.drop_ins.kept_images, kept)
    assert change(uninstall(there)) is None
    assert own.exists()
    machine.drop_ins.kept_images.unlink()
    assert change(uninstall(there, dry_run=True)) == change(uninstall(there)) == (own, None, "removed")
    assert not own.exists()


def test_an_uninstall_removes_what_switches_made_and_nothing_else(host: Host) -> None:
    out = host.output("out", web="1", other="1")
    write(out / "storage.conf.d/50-nixoci.conf")
    generations(host, host.output("before"), out)
    own = host.folder / "profile-of-somebody-1-link"
    own.symlink_to(out)
    host.places.units.mkdir()
    (host.places.units / "ssh.service").symlink_to("/elsewhere")
    write(host.places.drop_in.parent / "mine.conf")
    switch(out, host.places)
    (host.places.units / "other.service").unlink()
    (host.places.units / "other.service").symlink_to("/dev/null")  # systemctl mask
    host.calls()

    planned = uninstall(host.places, dry_run=True)
    assert host.calls(*CHANGES) == []
    assert "web.service" in host.installed()
    done = uninstall(host.places)
    assert (planned.units, planned.links) == (done.units, done.links)
    assert (done.out, done.profile, actions(done)) == (None, None, {"web": Action.STOP})
    assert host.calls(*CHANGES) == ["stop -- web.service", "daemon-reload"]
    assert host.installed() == {"ssh.service": "/elsewhere", "other.service": "/dev/null"}
    assert [file.name for file in host.places.drop_in.parent.iterdir()] == ["mine.conf"]
    assert [link.name for link in host.folder.glob("profile*")] == [own.name]
    assert list(host.places.record.parent.glob("switch.json")) == []

    again = uninstall(host.places)
    assert (again.units, again.links, host.calls(*CHANGES)) == ((), (), [])
    (host.places.units / "other.service").unlink()
    assert actions(switch(out, host.places, dry_run=True)) == {"web": Action.START, "other": Action.START}


def test_an_output_that_has_vanished_gives_way_to_the_next(host: Host) -> None:
    old, new = host.output("old", web="1", gone="1"), host.output("new", web="1")
    switch(old, host.places)
    shutil.rmtree(old)
    assert actions(switch(new, host.places)) == {"web": Action.NONE, "gone": Action.STOP}
    assert host.installed() == {
        "web.service": f"{new}/lib/systemd/system/web.service",
        "multi-user.target.wants/web.service": "../web.service",
    }
    shutil.rmtree(new)
    with pytest.raises(StoreError, match="new: no such directory"):
        switch(new, host.places)
