"""The verb: compare an output with the last switch, keep it in the store, and put it in place."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.image_store.mount_options import (
    drop_in_stores,
    planned_mount_options,
    present_mount_options,
    update_mount_options,
)
from nixoci.nix_store.path import is_store_path
from nixoci.output import exclusive_directory
from nixoci.switch import generation
from nixoci.switch.contents import NOTHING, Contents, read_contents, unit_file_name
from nixoci.switch.links import (
    check_links,
    check_names,
    forget_prepared,
    make_link,
    prepare_links,
    present_links,
    remove_link,
)
from nixoci.switch.places import Places
from nixoci.switch.plan import Change, Plan, UnitChange, make_plan, units_to_stop
from nixoci.switch.record import Record, read_record, write_record
from nixoci.systemd import (
    forget_failures,
    reload_units,
    start_units,
    stop_units,
    unit_files,
    unit_states,
    units_that_stop_with,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """A symlink that a switch made, or removed if `target` is None."""

    path: Path
    target: str | None
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptionsChange:
    """The drop-in for podman's mount options that a switch wrote, or removed if `mountopt` is None."""

    path: Path
    mountopt: str | None
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """The outcome of a switch.

    Attributes:
        out: The output; None if what switches had put in place was removed.
        profile: The profile that keeps the output; None if it is not in the Nix store.
        units: Every unit of the old and the new output, and those of somebody else that restart with one.
        links: The symlinks that changed.
        failed: Units that did not start. The switch is complete nevertheless; another run starts them again.
        mount_options: The change of the mount options of root's podman; None if they are as before.
    """

    out: Path | None
    profile: Path | None
    units: tuple[UnitChange, ...]
    links: tuple[LinkChange, ...]
    failed: tuple[str, ...]
    mount_options: MountOptionsChange | None = None


def switch(out: Path, places: Places, *, dry_run: bool = False) -> Switched:
    """Switch to an output. A second run changes nothing; two runs at once wait for one another.

    Raises:
        StoreError: It is no output, or a path that it needs is not nixoci's or cannot be made.
        ProcessError: systemd or Nix fails; another run goes on from there.
    """
    return _switch(out.resolve(), places, number=None, dry_run=dry_run)


def roll_back(places: Places, *, dry_run: bool = False) -> Switched:
    """Switch to the output of the profile's previous generation; from an output that is none, to the present one.

    Raises:
        StoreError: There is none; otherwise as for `switch`.
        ProcessError: As for `switch`.
    """
    out_now = read_record(places.record).out
    if out_now is not None and not is_store_path(Path(out_now)) and places.profile.is_symlink():
        return _switch(places.profile.resolve(), places, number=None, dry_run=dry_run)
    number, out = generation.previous(places.profile)
    return _switch(out, places, number=number, dry_run=dry_run)


def uninstall(places: Places, *, dry_run: bool = False) -> Switched:
    """Remove all that switches have put in place, and the profile with its generations. A second run changes nothing.

    Raises:
        ProcessError: systemd fails; another run goes on from there.
    """
    return _switch(None, places, number=None, dry_run=dry_run)


def _switch(out: Path | None, places: Places, *, number: int | None, dry_run: bool) -> Switched:
    contents = read_contents(out, places) if out is not None else NOTHING
    if dry_run:
        plan = _plan(_own(_record(places), contents, places), contents, places)
        return replace(_switched(out, places, plan), mount_options=_planned_mount_options(contents, places))
    with exclusive_directory(places.record.parent, what=places.record):
        record = _own(_record(places), contents, places)
        plan = _plan(record, contents, places)
        forget_prepared(map(Path, record.links))
        if number is None and out is not None and is_store_path(out):
            generation.keep(places.profile, out)
        options = _planned_mount_options(contents, places)
        # podman has the options as long as it has a store that needs them
        if places.drop_ins is not None:
            update_mount_options(places.drop_ins, coming=_stores(contents, places))
        failed = _perform(out, places, record, contents, plan)
        if places.drop_ins is not None:
            update_mount_options(places.drop_ins)
        if number is not None:
            # last, so that another run goes back to the same one if this one is cut short
            generation.roll_back(places.profile, number)
        if out is None:
            generation.remove_all(places.profile)
            places.record.unlink(missing_ok=True)
        return replace(_switched(out, places, plan), mount_options=options, failed=tuple(failed))


def _record(places: Places) -> Record:
    """Return the record; one that is lost is made again from the links to the profile's present generation."""
    record = read_record(places.record)
    if record != Record() or not places.profile.is_symlink():
        return record
    out = places.profile.resolve()
    try:
        contents = read_contents(out, places)
    except StoreError:  # not an output, or gone
        return record
    present = present_links(contents.links)
    links = {str(path): [target] for path, target in contents.links.items() if present.get(path) == target}
    units = {
        unit: digest for unit, digest in contents.units.items() if str(places.units / unit_file_name(unit)) in links
    }
    return replace(record, out=str(out), links=links, units=units)


def _own(record: Record, contents: Contents, places: Places) -> Record:
    """Return the record without what is somebody else's.

    These are units that are gone from the output, and whose place has another file, and links in no place of a switch.
    """

    def is_own(unit: str) -> bool:
        path = places.units / unit
        target = present_links([path]).get(path)
        return unit in contents.units or not os.path.lexists(path) or target in record.links.get(str(path), ())

    return replace(
        record,
        links={path: targets for path, targets in record.links.items() if places.has(Path(path))},
        units={unit: digest for unit, digest in record.units.items() if is_own(unit)},
    )


def _plan(record: Record, contents: Contents, places: Places) -> Plan:
    """Plan a switch, and check that it replaces nothing of somebody else."""
    check_links(contents.links, record, user=places.user)
    added = sorted(contents.units.keys() - record.units.keys())
    check_names(added, unit_files(added, user=places.user), record, places.units)
    states = unit_states(sorted({*record.units, *contents.units}), user=places.user)
    stopping = units_that_stop_with(units_to_stop(record, contents, states), user=places.user)
    states |= unit_states(sorted(stopping - states.keys()), user=places.user)
    present = present_links({*map(Path, record.links), *contents.links})
    return make_plan(record, contents, states=states, present=present, stopping=stopping)


def _perform(out: Path | None, places: Places, record: Record, contents: Contents, plan: Plan) -> Iterable[str]:
    done = Record(
        out=str(out) if out is not None else None,
        links={str(path): [target] for path, target in sorted(contents.links.items())},
        units=contents.units,
    )
    reload = _needs_reload(record, done, plan, places)
    if plan.is_empty and not reload:
        write_record(places.record, done)
        return []
    both = {
        path: sorted({*record.links.get(path, ()), *done.links.get(path, ())}) for path in record.links | done.links
    }
    changing = {name: digest if contents.units.get(name) == digest else "" for name, digest in record.units.items()}
    units = dict.fromkeys(contents.units, "") | changing
    write_record(places.record, replace(record, links=both))
    prepare_links(plan.links)
    # those that stop too: the next run may be one back to the output before
    start = sorted({*plan.stop, *plan.start})
    write_record(places.record, replace(record, links=both, units=units, start=start))
    stop_units(plan.stop, user=places.user)
    for path in plan.links:
        make_link(path)
    for path in plan.unlink:
        remove_link(path)
    if reload:
        reload_units(user=places.user)
    forget_failures((each.unit for each in plan.units if each.change is Change.REMOVED), user=places.user)
    write_record(places.record, replace(done, start=list(plan.start)))
    failed = start_units(plan.start, user=places.user)
    # what is somebody else's is not tried again for ever: it may be gone
    write_record(places.record, replace(done, start=[unit for unit in failed if unit in contents.units]))
    return failed


def _stores(contents: Contents, places: Places) -> tuple[Path, ...]:
    """Return the image stores of an output."""
    return drop_in_stores(Path(contents.links[places.drop_in])) if places.drop_in in contents.links else ()


def _planned_mount_options(contents: Contents, places: Places) -> MountOptionsChange | None:
    """Return the change of podman's mount options by a switch, as long as it has not begun."""
    if places.drop_ins is None:
        return None
    before = present_mount_options(places.drop_ins)
    stores = (*_stores(contents, places), *drop_in_stores(places.drop_ins.kept_images))
    after = planned_mount_options(places.drop_ins, stores)
    if before == after:
        return None
    change = Change.REMOVED if after is None else Change.ADDED if before is None else Change.CHANGED
    return MountOptionsChange(path=places.drop_ins.mount_options, mountopt=after, change=change)


def _needs_reload(record: Record, done: Record, plan: Plan, places: Places) -> bool:
    """Return whether systemd may not know the units as they will be.

    A run that was cut short may have made each link and not told systemd: then its record is not that of a whole one.
    """

    def links(of: Record) -> dict[str, list[str]]:
        return {path: targets for path, targets in of.links.items() if Path(path).is_relative_to(places.units)}

    changes = any(path.is_relative_to(places.units) for path in (*plan.links, *plan.unlink))
    return changes or record.units != done.units or links(record) != links(done)


def _switched(out: Path | None, places: Places, plan: Plan) -> Switched:
    links = [
        LinkChange(path=path, target=target, change=Change.CHANGED if path in plan.replaced else Change.ADDED)
        for path, target in sorted(plan.links.items())
    ]
    links += [LinkChange(path=path, target=None, change=Change.REMOVED) for path in plan.unlink]
    profile = places.profile if out is not None and is_store_path(out) else None
    return Switched(out=out, profile=profile, units=plan.units, links=tuple(links), failed=())
