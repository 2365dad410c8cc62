from __future__ import annotations

from pathlib import Path

from nixoci.switch.contents import Contents
from nixoci.switch.plan import Action, Change, Plan, make_plan
from nixoci.switch.record import Record


def plan(before: dict[str, str], after: dict[str, str], /, *, wanted: str = "", timed: str = "", **states: str) -> Plan:
    contents = Contents(links={}, units=after, wanted=frozenset(wanted.split()), timed=frozenset(timed.split()))
    every = {name: states.get(name, "inactive") for name in {*before, *after}}
    return make_plan(Record(units=before), contents, states=every, present={})


def found(made: Plan) -> dict[str, tuple[Change, Action]]:
    return {each.unit: (each.change, each.action) for each in made.units}


def test_units_that_changed_restart_and_others_run_on() -> None:
    made = plan({"a": "1", "b": "1"}, {"a": "2", "b": "1"}, a="active", b="active")
    assert found(made) == {"a": (Change.CHANGED, Action.RESTART), "b": (Change.KEPT, Action.NONE)}
    assert made.stop == ("a",)
    # b may have stopped with a, which it may require
    assert made.start == ("a", "b")


def test_new_units_start_if_they_start_by_themselves_and_those_that_are_gone_stop() -> None:
    made = plan({"old": "1", "idle": "1"}, {"auto": "1", "other": "1"}, wanted="auto", old="activating")
    assert found(made) == {
        "old": (Change.REMOVED, Action.STOP),
        "idle": (Change.REMOVED, Action.NONE),
        "auto": (Change.ADDED, Action.START),
        "other": (Change.ADDED, Action.NONE),
    }
    assert (made.stop, made.start) == (("old",), ("auto",))


def test_a_unit_that_somebody_stopped_stays_stopped_and_one_that_failed_is_tried_again() -> None:
    made = plan({"a": "1", "b": "1"}, {"a": "2", "b": "2"}, wanted="a b", a="inactive", b="failed")
    assert found(made) == {"a": (Change.CHANGED, Action.NONE), "b": (Change.CHANGED, Action.START)}


def test_nothing_is_done_for_what_did_not_change() -> None:
    same = {"a": "1", "b": "1"}
    assert plan(same, same, wanted="a b", a="active", b="failed").is_empty


def test_what_a_timer_starts_is_left_to_the_timer() -> None:
    made = plan({"c": "1", "t": "1"}, {"c": "2", "t": "2"}, timed="c", c="activating", t="active")
    assert (made.stop, made.start) == (("c", "t"), ("t",))


def test_a_switch_that_was_cut_short_is_completed() -> None:
    record = Record(units={"a": "1", "gone": ""}, start=["a", "gone"])
    contents = Contents(links={}, units={"a": "2"}, wanted=frozenset(), timed=frozenset())
    assert make_plan(record, contents, states={"a": "inactive"}, present={}).start == ("a",)
    # a unit of somebody else that stopped with one of these
    other = Record(units={"a": "1"}, start=["a", "other"])
    assert make_plan(other, contents, states={"a": "inactive"}, present={}).start == ("a", "other")


def test_links_are_made_replaced_and_removed_but_only_own_ones() -> None:
    same, moved, gone, foreign = (Path(f"/units/{name}.service") for name in ("same", "moved", "gone", "foreign"))
    record = Record(links={str(path): ["/old"] for path in (same, moved, gone, foreign)})
    contents = Contents(links={same: "/old", moved: "/new"}, units={}, wanted=frozenset(), timed=frozenset())
    present = {same: "/old", moved: "/old", gone: "/old", foreign: "/dev/null"}
    made = make_plan(record, contents, states={}, present=present)
    assert made.links == {moved: "/new"}
    assert made.unlink == (gone,)
