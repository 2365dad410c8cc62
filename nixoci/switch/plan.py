"""The difference between the present state and an output: what to stop, link and start."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nixoci.switch.contents import Contents
from nixoci.switch.record import Record

_RUNNING = {"active", "activating", "reloading", "refreshing"}


class Change(Enum):
    """A unit or a symlink compared with that of the last switch."""

    ADDED = "added"
    CHANGED = "changed"
    KEPT = "kept"
    REMOVED = "removed"


class Action(Enum):
    """The treatment of a unit."""

    START = "start"
    RESTART = "restart"
    STOP = "stop"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitChange:
    """A unit of the old or the new output, or one of somebody else's that stops and starts with such a unit."""

    unit: str
    change: Change
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a switch, in order.

    Attributes:
        units: Every unit, by name, and the units of somebody else that restart.
        stop: Units to stop, before anything else changes.
        links: Symlinks to make or replace, with their targets.
        replaced: Those of them that are there with another target.
        unlink: Symlinks to remove.
        start: Units to start, at the end. Some may be running: what requires a unit stops with it.
    """

    units: tuple[UnitChange, ...]
    stop: tuple[str, ...]
    links: dict[Path, str]
    replaced: frozenset[Path]
    unlink: tuple[Path, ...]
    start: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing is to be done."""
        return not (self.stop or self.links or self.unlink or self.start)


def units_to_stop(record: Record, contents: Contents, states: Mapping[str, str]) -> set[str]:
    """Return the units that run, and that changed or are gone."""
    return {
        name
        for name, digest in record.units.items()
        if contents.units.get(name) != digest and states.get(name) in _RUNNING
    }


def make_plan(
    record: Record,
    contents: Contents,
    *,
    states: Mapping[str, str],
    present: Mapping[Path, str],
    stopping: Collection[str] = (),
) -> Plan:
    """Plan a switch.

    A unit that changed restarts if it runs, or if it failed and starts by itself. A new one starts if it starts by
    itself, or else with a unit that requires it. One that somebody stopped stays stopped. What stops with a unit that
    it requires starts again.

    Args:
        record: The last switch.
        contents: The output to switch to.
        states: The state of each unit of both, and of `stopping` (`ActiveState`).
        present: The symlinks of both that are there, with their targets.
        stopping: Units that systemd stops with those of `units_to_stop`.
    """
    old, new = record.units, contents.units
    running = {name for name, state in states.items() if state in _RUNNING}
    changes = {name: _change(old.get(name), new.get(name)) for name in sorted({*old, *new})}
    replaced = {name for name, change in changes.items() if change in {Change.CHANGED, Change.REMOVED}}
    stop = units_to_stop(record, contents, states)
    failed = {name for name in replaced & contents.wanted if states.get(name) == "failed"}
    added = {name for name, change in changes.items() if change is Change.ADDED}
    gone = old.keys() - new.keys()
    wanted = (added & contents.wanted) | failed | (stop & new.keys()) | (set(record.start) - gone)
    wanted -= contents.timed
    again = (running & set(stopping)) - contents.timed - gone
    # also what runs and does not stop, which costs nothing: systemd may stop it for another reason
    start = wanted | again | (running & new.keys() - contents.timed if stop else set())
    changes |= dict.fromkeys((again | wanted) - changes.keys(), Change.KEPT)
    units = tuple(
        UnitChange(unit=name, change=change, action=_action(name, stop=stop | again, start=wanted | again))
        for name, change in sorted(changes.items())
    )
    links = {path: target for path, target in contents.links.items() if present.get(path) != target}
    return Plan(
        units=units,
        stop=tuple(sorted(stop)),
        links=links,
        replaced=frozenset(links.keys() & present.keys()),
        unlink=tuple(
            path
            for path in sorted(map(Path, record.links))
            if path not in contents.links and present.get(path) in record.links[str(path)]
        ),
        start=tuple(sorted(start)),
    )


def _change(old: str | None, new: str | None) -> Change:
    if old is None:
        return Change.ADDED
    if new is None:
        return Change.REMOVED
    return Change.KEPT if old == new else Change.CHANGED


def _action(name: str, *, stop: set[str], start: set[str]) -> Action:
    if name in start:
        return Action.RESTART if name in stop else Action.START
    return Action.STOP if name in stop else Action.NONE
