"""Switches between plain services on a real systemd, among units of a package and of somebody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# tests switch faster than a start limit allows for; a person does not
SLEEP = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\n"
NEEDS = "[Unit]\nRequires=web.service\nAfter=web.service\n"
UNITS = "/etc/systemd/system"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as booted:
        yield booted


def output(machine: Machine, name: str, units: Mapping[str, str], *more: str) -> str:
    """Make an output whose units start by themselves; `more` are further links in its `.wants`."""
    folder = f"/opt/{name}/lib/systemd/system"
    machine.run(["mkdir", "--parents", f"{folder}/multi-user.target.wants"])
    for unit, text in units.items():
        machine.run(["tee", f"{folder}/{unit}"], input=text)
        if "@" not in unit:
            machine.run(["ln", "--symbolic", f"../{unit}", f"{folder}/multi-user.target.wants/{unit}"])
    for link in more:
        template = f"../{link.partition('@')[0]}@.service"
        machine.run(["ln", "--symbolic", template, f"{folder}/multi-user.target.wants/{link}"])
    return f"/opt/{name}"


def switch(machine: Machine, *arguments: str, code: int = 0) -> Any:
    """Switch, and return the actions by unit; or the line on stderr, if it fails."""
    done = machine.run(["nixoci", "switch", "--json", *arguments], check=False)
    assert done.returncode == code, done.stderr
    if code:
        return done.stderr.splitlines()[-1]
    return {each["unit"]: each["action"] for each in json.loads(done.stdout)["units"]}


def states(machine: Machine, *units: str) -> dict[str, str]:
    return dict(zip(units, machine.run(["systemctl", "is-active", *units], check=False).stdout.split(), strict=True))


def test_units_of_any_name_and_their_neighbors(machine: Machine) -> None:
    escaped = "a\\x2db.service"
    own = {"web.service": SLEEP, escaped: SLEEP, "t@.service": SLEEP}
    old = output(machine, "old", own, "t@1.service")
    new = output(machine, "new", {**own, "web.service": f"[Unit]\nDescription=new\n{SLEEP}"}, "t@1.service")
    units = ("web.service", escaped, "t@1.service")
    assert switch(machine, old) == dict.fromkeys(units, "start")
    assert set(states(machine, *units).values()) == {"active"}
    # somebody's own unit stops with the one that it requires, and a drop-in of somebody's stays
    machine.run(["tee", f"{UNITS}/mine.service"], input=f"{NEEDS}{SLEEP}")
    machine.run(["mkdir", f"{UNITS}/web.service.d"])
    machine.run(["tee", f"{UNITS}/web.service.d/mine.conf"], input="[Service]\nNice=5\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "start", "mine.service"])
    planned = switch(machine, "--dry-run", new)
    assert switch(machine, new) == planned
    assert planned == {**dict.fromkeys(units, "none"), "web.service": "restart", "mine.service": "restart"}
    assert set(states(machine, *units, "mine.service").values()) == {"active"}
    assert switch(machine, new) == dict.fromkeys(units, "none")
    assert machine.run(["systemctl", "show", "--property=Nice", "--value", "web"]).stdout.strip() == "5"


def test_a_unit_of_a_package_is_refused(machine: Machine) -> None:
    out = output(machine, "package", {"dbus.service": SLEEP})
    says = switch(machine, out, code=1)
    assert says.startswith("error: dbus.service: is a unit of this machine already, /usr/lib/systemd/system/dbus")
    assert states(machine, "web.service") == {"web.service": "active"}


def test_one_unit_that_cannot_start_keeps_no_other_from_it(machine: Machine) -> None:
    broken = {
        "missing.service": "[Unit]\nRequires=nowhere.service\nAfter=nowhere.service\n" + SLEEP,
        "false.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
        "assert.service": "[Unit]\nAssertPathExists=/nowhere\n" + SLEEP,
        "slow.service": "[Unit]\nJobRunningTimeoutSec=1s\n[Service]\nType=oneshot\nExecStart=/bin/sleep 30\n",
        "bad.timer": "[Timer]\nOnCalendar=nonsense\n",
    }
    out = output(machine, "broken", {"web.service": SLEEP, "good.service": SLEEP, **broken})
    names = ", ".join(sorted(broken))
    assert switch(machine, out, code=1).startswith(f"error: {names}: not started; see `journalctl --unit=")
    assert set(states(machine, "web.service", "good.service").values()) == {"active"}
    assert set(switch(machine, "/opt/new").values()) <= {"start", "stop", "restart", "none"}
    assert states(machine, "good.service") == {"good.service": "inactive"}


def test_a_full_or_read_only_etc_stops_nothing(machine: Machine) -> None:
    before = machine.run(["find", UNITS, "-printf", "%p %l\n"]).stdout
    machine.run(["mount", "--bind", UNITS, UNITS])
    machine.run(["mount", "--options", "remount,bind,ro", UNITS])
    says = switch(machine, "/opt/old", code=1)
    assert "cannot be made: Read-only file system; on NixOS" in says
    machine.run(["umount", UNITS])
    assert states(machine, "web.service", "mine.service") == {"web.service": "active", "mine.service": "active"}
    assert machine.run(["find", UNITS, "-printf", "%p %l\n"]).stdout == before
    assert switch(machine, "/opt/old")["web.service"] == "restart"


def test_a_switch_that_is_killed_at_any_time_is_completed(machine: Machine) -> None:
    for number, seconds in enumerate((0.25, 0.3, 0.35, 0.4, 0.5, 0.6)):
        wanted = "/opt/old" if number % 2 else "/opt/new"
        machine.run(["timeout", "--signal=KILL", f"{seconds}", "nixoci", "switch", wanted], check=False)
        switch(machine, wanted)
        found = machine.run(["readlink", f"{UNITS}/web.service"]).stdout.strip()
        assert found == f"{wanted}/lib/systemd/system/web.service"
        description = machine.run(["systemctl", "show", "--property=Description", "--value", "web"]).stdout.strip()
        assert (description == "new") == (wanted == "/opt/new")
        assert set(states(machine, "web.service", "mine.service", "t@1.service").values()) == {"active"}
        assert machine.run(["find", UNITS, "-name", ".*.nixoci-new"]).stdout == ""
