"""The NARs that Nix asks for next are made before it asks, if nothing else is to be done, and they are right."""

from __future__ import annotations

import hashlib
import io
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.rebuild import Rebuilder
from nixoci.nix_store.hashes import to_sri
from nixoci.nix_store.path import PathInfo
from nixoci.substituter import ahead as module
from nixoci.substituter.ahead import NarsAhead, copy_order
from nixoci.substituter.body import NarBody, Waiting
from tests.delta.trees import store_path
from tests.substituter.site import NEW_APP, NEW_LIB, Site, site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixoci.streams import Data

NARS = {store_path("a", "1"): b"first", store_path("b", "2"): b"second", store_path("c", "3"): b"third"}
FIRST, SECOND, THIRD = NARS


def described(path: str, nar: bytes, *references: str) -> PathInfo:
    digest = to_sri(hashlib.sha256(nar).digest())
    return PathInfo(path=path, nar_hash=digest, nar_size=len(nar), references=references)


class Maker:
    """Stands in for the rebuilder of a delta.

    Attributes:
        made: The paths whose NARs were made.
        go_on: Set while NARs may be made.
    """

    def __init__(self) -> None:
        self.nars = dict(NARS)
        self.made: list[str] = []
        self.go_on = Event()
        self.go_on.set()

    def write(self, info: PathInfo, out: Any, *, explained: bool) -> None:
        assert explained  # whoever asks for a wrong one meets it again
        assert self.go_on.wait(60)
        self.made.append(info.path)
        out.write(self.nars[info.path])


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def ahead(maker: Maker) -> Iterator[NarsAhead]:
    rebuilder: Any = maker
    nars = NarsAhead({path: described(path, nar) for path, nar in NARS.items()}, rebuilder)
    yield nars
    maker.go_on.set()
    nars.close()


def take(ahead: NarsAhead, path: str) -> Data | None:
    """Take a NAR once what is being made is made."""
    ahead._pool.submit(lambda: None).result(60)
    return ahead.take(path, Waiting(NarBody(described(path, b"x").nar_hash, 1, io.BytesIO), pause=60))


def go_on(ahead: NarsAhead, *, wanted: bool = True, busy: bool = False) -> None:
    ahead.go_on_after(FIRST, lambda _: wanted, lambda: busy)


def test_what_follows_is_made_once(ahead: NarsAhead, maker: Maker) -> None:
    go_on(ahead)
    go_on(ahead)
    assert (take(ahead, THIRD), take(ahead, SECOND)) == (b"third", b"second")
    assert maker.made == [SECOND, THIRD]
    assert take(ahead, SECOND) is None


def test_one_that_is_being_made_is_waited_for(ahead: NarsAhead, maker: Maker) -> None:
    maker.go_on.clear()
    begun = Event()
    waiting = Waiting(NarBody(described(SECOND, b"x").nar_hash, 1, io.BytesIO), pause=60)

    def busy() -> bool:
        begun.set()
        return False

    ahead.go_on_after(FIRST, lambda _: True, busy)
    assert begun.wait(60)
    assert ahead.take(THIRD, waiting) is None, "it was not begun"
    maker.go_on.set()
    assert ahead.take(SECOND, waiting) == b"second"
    assert maker.made == [SECOND]


def test_nothing_is_made_that_nobody_wants(ahead: NarsAhead, maker: Maker) -> None:
    go_on(ahead, wanted=False)
    assert take(ahead, SECOND) is None
    assert maker.made == []


def test_nothing_is_made_while_nix_waits_for_another(ahead: NarsAhead, maker: Maker) -> None:
    go_on(ahead, busy=True)
    assert take(ahead, SECOND) is None
    assert maker.made == []


@pytest.mark.parametrize(("bound", "size"), [("_LARGEST", 5), ("_BYTES", 6), ("_PATHS", 1)])
def test_no_more_is_made_than_is_kept(
    ahead: NarsAhead, maker: Maker, monkeypatch: pytest.MonkeyPatch, bound: str, size: int
) -> None:
    monkeypatch.setattr(module, bound, size)
    go_on(ahead)
    take(ahead, FIRST)
    assert maker.made == ([THIRD] if bound == "_LARGEST" else [SECOND])


@pytest.mark.parametrize("wrong", [b"secant", b"seconds"])
def test_a_wrong_one_is_dropped(ahead: NarsAhead, maker: Maker, wrong: bytes) -> None:
    maker.nars[SECOND] = wrong
    go_on(ahead)
    assert (take(ahead, SECOND), take(ahead, THIRD)) == (None, b"third")


def test_so_is_one_that_cannot_be_made(ahead: NarsAhead, maker: Maker) -> None:
    del maker.nars[SECOND]
    go_on(ahead)
    assert (take(ahead, SECOND), take(ahead, THIRD)) == (None, b"third")


def test_at_the_end_no_more_is_made(ahead: NarsAhead, maker: Maker) -> None:
    ahead.close()
    go_on(ahead)
    assert maker.made == []


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=10))
def test_what_is_needed_comes_first(needs: list[list[int]]) -> None:
    paths = [store_path(f"p{number}", "abcdfghijk"[-number - 1]) for number in range(10)]
    infos = {
        paths[number]: described(paths[number], b"", *sorted({paths[other] for other in others if other < number}))
        for number, others in enumerate(needs)
    }
    order = copy_order(infos)
    assert sorted(order) == sorted(infos)
    for path, info in infos.items():
        assert all(order.index(needed) < order.index(path) for needed in info.references)


def test_what_does_not_need_each_other_comes_by_its_hash() -> None:
    """As `nix copy` of Nix 2.34 asks for them."""
    low, high, root = store_path("z", "1"), store_path("a", "2"), store_path("m", "0")
    infos = {path: described(path, b"", *needs) for path, needs in ((high, ()), (root, (low, high)), (low, ()))}
    assert copy_order(infos) == [low, high, root]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site(tmp_path, monkeypatch) as running:
        yield running


def test_nix_gets_what_was_made_ahead(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    write = Rebuilder.write

    def noted(rebuilder: Rebuilder, info: PathInfo, *arguments: Any, **options: Any) -> None:
        made.append(info.path)
        write(rebuilder, info, *arguments, **options)

    monkeypatch.setattr(Rebuilder, "write", noted)
    for path in (NEW_APP, NEW_LIB):
        machine.narinfo(path)
    address = f"rebuilt/{NEW_LIB[11:43]}.nar"
    assert machine.ask(address) == (200, machine.nars[NEW_LIB])
    (place,) = machine.shelf._places.values()
    nars = place.future.result(60).ahead
    machine.counts_after(1)
    assert nars._made[NEW_APP].result(60) == machine.nars[NEW_APP]
    assert machine.fetch(NEW_APP) == machine.nars[NEW_APP]
    assert made == [NEW_LIB, NEW_APP]
    assert machine.counts_after(2)['nars_total{way="rebuilt"}'] == 2


def test_what_nix_has_not_asked_about_is_not_made(machine: Site) -> None:
    machine.ask(f"rebuilt/{NEW_LIB[11:43]}.nar")
    (place,) = machine.shelf._places.values()
    machine.counts_after(1)
    assert place.future.result(60).ahead._made == {}
