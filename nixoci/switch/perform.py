"""The verb: compare an output with the last switch, keep it in the store, and put it in place."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nixoci.container.places import is_store_path
from nixoci.output import exclusive_directory
from nixoci.switch import generation
from nixoci.switch.contents import Contents, read_contents
from nixoci.switch.links import check_links, make_link, present_links, remove_link
from nixoci.switch.places import Places
from nixoci.switch.plan import Change, Plan, UnitChange, make_plan
from nixoci.switch.record import Record, read_record, write_record
from nixoci.systemd import forget_failures, reload_units, start_units, stop_units, unit_states


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """A symlink that a switch made, or removed if `target` is None."""

    path: Path
    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """The outcome of a switch.

    Attributes:
        out: The output.
        profile: The profile that keeps the output; None if it is not in the Nix store.
        units: Every unit of the old and the new output.
        links: The symlinks that changed.
        failed: Units that did not start. The switch is complete nevertheless; another run starts them again.
    """

    out: Path
    profile: Path | None
    units: tuple[UnitChange, ...]
    links: tuple[LinkChange, ...]
    failed: tuple[str, ...]


def switch(out: Path, places: Places, *, dry_run: bool = False) -> Switched:
    """Switch to an output. A second run changes nothing; two runs at once wait for one another.

    Raises:
        StoreError: It is no output, or a path that it needs is not nixoci's.
        ProcessError: systemd or Nix fails; another run goes on from there.
    """
    return _switch(out.resolve(), places, number=None, dry_run=dry_run)


def roll_back(places: Places, *, dry_run: bool = False) -> Switched:
    """Switch to the output of the profile's previous generation.

    Raises:
        StoreError: There is none; otherwise as for `switch`.
        ProcessError: As for `switch`.
    """
    number, out = generation.previous(places.profile)
    return _switch(out, places, number=number, dry_run=dry_run)


def _switch(out: Path, places: Places, *, number: int | None, dry_run: bool) -> Switched:
    contents = read_contents(out, places)
    if dry_run:
        record = read_record(places.record)
        plan = _plan(record, contents, places)
        check_links(contents.links, record, user=places.user)
        return _switched(out, places, plan)
    with exclusive_directory(places.record.parent):
        record = read_record(places.record)
        plan = _plan(record, contents, places)
        check_links(contents.links, record, user=places.user)
        _keep(out, places, number)
        failed = _perform(out, places, record, contents, plan)
        return replace(_switched(out, places, plan), failed=tuple(failed))


def _plan(record: Record, contents: Contents, places: Places) -> Plan:
    states = unit_states(sorted({*record.units, *contents.units}), user=places.user)
    present = present_links({*map(Path, record.links), *contents.links})
    return make_plan(record, contents, states=states, present=present)


def _keep(out: Path, places: Places, number: int | None) -> None:
    if number is not None:
        generation.roll_back(places.profile, number)
    elif is_store_path(out):
        generation.keep(places.profile, out)


def _perform(out: Path, places: Places, record: Record, contents: Contents, plan: Plan) -> Iterable[str]:
    done = Record(
        out=str(out),
        links={str(path): [target] for path, target in sorted(contents.links.items())},
        units=contents.units,
    )
    if plan.is_empty:
        write_record(places.record, done)
        return []
    both = {
        path: sorted({*record.links.get(path, ()), *done.links.get(path, ())}) for path in record.links | done.links
    }
    write_record(places.record, replace(record, links=both, start=list(plan.start)))
    stop_units(plan.stop, user=places.user)
    for path, target in plan.links.items():
        make_link(path, target)
    for path in plan.unlink:
        remove_link(path)
    if any(path.is_relative_to(places.units) for path in (*plan.links, *plan.unlink)):
        reload_units(user=places.user)
    forget_failures((each.unit for each in plan.units if each.change is Change.REMOVED), user=places.user)
    write_record(places.record, replace(done, start=list(plan.start)))
    failed = start_units(plan.start, user=places.user)
    write_record(places.record, replace(done, start=failed))
    return failed


def _switched(out: Path, places: Places, plan: Plan) -> Switched:
    links = [LinkChange(path=path, target=target) for path, target in sorted(plan.links.items())]
    links += [LinkChange(path=path, target=None) for path in plan.unlink]
    profile = places.profile if is_store_path(out) else None
    return Switched(out=out, profile=profile, units=plan.units, links=tuple(links), failed=())
