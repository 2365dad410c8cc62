"""Switches with a systemd in a file: those that are killed are completed or undone, and a dry run tells the truth."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.switch import perform
from nixoci.switch.perform import switch, uninstall
from nixoci.switch.plan import Action
from tests.switch.test_contents import places, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KILLED = 99
_STATES = {True: "active", False: "inactive"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OLD = {"web": "1", "gone": "1", "same": "1"}
NEW = {"web": "2", "same": "1", "more": "1"}


class Systemd:
    """A systemd in a file: the text of each unit that runs, and of each that it knows.

    It knows a unit from its first start, or from the last reload.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = places(folder).units
        self.file = folder / "running.json"
        self.known = folder / "known.json"
        self.before: Callable[[], None] = lambda: None
        """Called before anything changes."""

    @property
    def running(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.file.read_text()) if self.file.exists() else {}
        return found

    def _change(self, units: Iterable[str], *, start: bool) -> None:
        for unit in units:
            self.before()
            left = {name: text for name, text in self.running.items() if name != unit}
            if start:
                with suppress(OSError, ValueError):  # a unit that does not exist
                    left[unit] = self.running.get(unit) or self._text(unit)
            self.file.write_text(json.dumps(left))

    def _text(self, unit: str) -> str:
        """Return the text of a unit as systemd knows it, reading it if it knows none."""
        known: dict[str, str] = json.loads(self.known.read_text()) if self.known.exists() else {}
        if unit not in known:
            known[unit] = (self.units / unit).read_text()
            self.known.write_text(json.dumps(known))
        return known[unit]

    def reload(self) -> None:
        """Read every unit again."""
        self.before()
        found = {each.name: each.read_text() for each in self.units.glob("*.service") if each.exists()}
        self.known.write_text(json.dumps(found))

    def stop(self, units: Iterable[str]) -> None:
        """Stop units, as somebody may."""
        self._change(units, start=False)

    def reboot(self) -> None:
        """Run what starts by itself."""
        self.file.unlink(missing_ok=True)
        self.known.unlink(missing_ok=True)
        wanted = [link.name for link in (self.units / "multi-user.target.wants").glob("*.service") if link.exists()]
        self._change(sorted(wanted), start=True)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let switches use this systemd."""

        def start(units: Iterable[str], **_: Any) -> list[str]:
            self._change(units, start=True)
            return []

        functions: dict[str, Callable[..., Any]] = {
            "unit_states": lambda units, **_: {unit: _STATES[unit in self.running] for unit in units},
            "unit_files": lambda *_, **__: {},
            "units_that_stop_with": lambda *_, **__: set(),
            "stop_units": lambda units, **_: self._change(units, start=False),
            "start_units": start,
            "reload_units": lambda **_: self.reload(),
            "forget_failures": lambda *_, **__: None,
        }
        for name, function in functions.items():
            monkeypatch.setattr(perform, name, function)


def output(folder: Path, units: dict[str, str]) -> Path:
    made = folder / "lib/systemd/system"
    for unit, text in units.items():
        write(made / f"{unit}.service", text)
        (made / "multi-user.target.wants").mkdir(exist_ok=True)
        (made / f"multi-user.target.wants/{unit}.service").symlink_to(f"../{unit}.service")
    return folder


def listing(folder: Path) -> dict[str, str]:
    """Return the targets of the links below a directory."""
    return {str(link.relative_to(folder)): os.readlink(link) for link in folder.rglob("*") if link.is_symlink()}  # noqa: PTH115


def run_until(point: int, systemd: Systemd, act: Callable[[], object]) -> bool:
    """Act in a process that is killed before its change of this number; return whether it was."""
    child = os.fork()
    if not child:
        left = point

        def change() -> None:
            nonlocal left
            if left == 0:
                os._exit(KILLED)
            left -= 1

        def see(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
            if writes or event in {"os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir"}:
                change()

        systemd.before = change
        sys.addaudithook(see)
        try:
            act()
        except BaseException:  # noqa: BLE001 - this process has no caller
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, KILLED}
    return code == KILLED


def test_a_switch_that_was_killed_is_completed_or_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From each state that a kill leaves, with and without a reboot, to the new output and back to the old one."""
    outs = {"old": output(tmp_path / "old", OLD), "new": output(tmp_path / "new", NEW)}
    systemd = Systemd(tmp_path / "machine")
    systemd.folder.mkdir()
    systemd.use(monkeypatch)
    switch(outs["old"], places(systemd.folder))
    shutil.copytree(systemd.folder, tmp_path / "before", symlinks=True)
    for point in count():
        killed = run_until(point, systemd, partial(switch, outs["new"], places(systemd.folder)))
        systemd.folder.rename(tmp_path / "killed")
        for wanted, reboot in product(outs, (False, True)):
            shutil.copytree(tmp_path / "killed", systemd.folder, symlinks=True)
            if reboot:
                systemd.reboot()
            case = point, wanted, reboot
            switch(outs[wanted], places(systemd.folder))
            units = {"old": OLD, "new": NEW}[wanted]
            assert systemd.running == {f"{name}.service": text for name, text in units.items()}, case
            links = listing(places(systemd.folder).units)
            expected = {f"{name}.service": f"{outs[wanted]}/lib/systemd/system/{name}.service" for name in units}
            expected |= {f"multi-user.target.wants/{name}.service": f"../{name}.service" for name in units}
            assert links == expected, case
            again = switch(outs[wanted], places(systemd.folder))
            assert ({each.action for each in again.units}, again.links) == ({Action.NONE}, ()), case
            shutil.rmtree(systemd.folder)
        if not killed:
            assert point > 30
            return
        shutil.rmtree(tmp_path / "killed")
        shutil.copytree(tmp_path / "before", systemd.folder, symlinks=True)


def test_an_uninstall_that_was_killed_is_completed_or_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From each state that a kill leaves, with and without a reboot, to the end and back to the output."""
    out = output(tmp_path / "out", OLD)
    systemd = Systemd(tmp_path / "machine")
    systemd.folder.mkdir()
    systemd.use(monkeypatch)
    at = places(systemd.folder)
    switch(out, at)
    (systemd.folder / "profile-1-link").symlink_to(out)
    at.profile.symlink_to("profile-1-link")
    shutil.copytree(systemd.folder, tmp_path / "before", symlinks=True)
    for point in count():
        killed = run_until(point, systemd, partial(uninstall, at))
        systemd.folder.rename(tmp_path / "killed")
        for undone, reboot in product((False, True), (False, True)):
            shutil.copytree(tmp_path / "killed", systemd.folder, symlinks=True)
            if reboot:
                systemd.reboot()
            case, wanted = (point, undone, reboot), OLD if undone else {}
            if undone:
                switch(out, at)
            else:
                uninstall(at)
                assert listing(systemd.folder) == {}, case
                assert not at.record.exists(), case
            assert systemd.running == {f"{name}.service": text for name, text in wanted.items()}, case
            assert len(listing(at.units)) == 2 * len(wanted), case
            shutil.rmtree(systemd.folder)
        if not killed:
            assert point > 20
            return
        shutil.rmtree(tmp_path / "killed")
        shutil.copytree(tmp_path / "before", systemd.folder, symlinks=True)


UNITS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("12"))


@given(outputs=st.lists(UNITS, min_size=2, max_size=4), stopped=st.sets(st.sampled_from("abcde")), wild=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_dry_run_tells_what_the_run_then_does(
    outputs: list[dict[str, str]], stopped: set[str], *, wild: bool
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        systemd = Systemd(Path(name))
        systemd.use(patch)
        at = places(systemd.folder)
        for number, units in enumerate(outputs):
            out = output(systemd.folder / str(number), units)
            (out / "lib/systemd/system").mkdir(parents=True, exist_ok=True)
            if wild:
                systemd.stop(f"{unit}.service" for unit in stopped)
            before, links = systemd.running, listing(at.units)
            planned = switch(out, at, dry_run=True)
            assert (systemd.running, listing(at.units)) == (before, links)
            done = switch(out, at)
            assert (planned.units, planned.links) == (done.units, done.links)
            changes = {str(change.path.relative_to(at.units)): change.target for change in done.links}
            after = listing(at.units)
            assert {path: target for path, target in (links | changes).items() if target is not None} == after
            actions = {change.unit: change.action for change in done.units}
            assert {unit for unit, action in actions.items() if action is Action.STOP} == before.keys() - (
                systemd.running.keys()
            )
            started = {unit for unit, action in actions.items() if action is Action.START}
            assert started == systemd.running.keys() - before.keys()
            restarted = {unit for unit, action in actions.items() if action is Action.RESTART}
            same = before.keys() & systemd.running.keys()
            assert restarted == {unit for unit in same if before[unit] != systemd.running[unit]}
