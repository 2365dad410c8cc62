"""The deltas that are in use, without their contents."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import replace
from threading import Event, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nixoci.errors import DeltaError
from nixoci.nix_store.hashes import to_sri
from nixoci.publish.index import PublishedDelta
from nixoci.substituter.body import NarBody, Waiting
from nixoci.substituter.shelf import Bounds, OpenDelta, Shelf
from nixoci.substituter.upstream import Upstream

if TYPE_CHECKING:
    import pytest


FIRST, SECOND, THIRD = (
    PublishedDelta(bases=["x"], size=1, sha256=to_sri(bytes([number]) * 32), download=9) for number in range(3)
)


def opened(delta: PublishedDelta, closed: list[str]) -> OpenDelta:
    """Return a delta without content, which notes that it is closed."""
    cleanup = ExitStack()
    cleanup.callback(closed.append, delta.file)
    rebuilder: Any = SimpleNamespace(payload_size=1)
    return OpenDelta(delta, {}, rebuilder, cleanup)


def use(shelf: Shelf, delta: PublishedDelta) -> None:
    waiting = Waiting(NarBody(delta.sha256, 1, io.BytesIO), pause=600)
    with shelf.use(delta, waiting):
        pass


def test_a_delta_stays_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Shelf, "_open", lambda _, delta: opened(delta, closed))
    with Shelf(Upstream("http://127.0.0.1:1"), store=None, bounds=Bounds(deltas=4)) as shelf:
        for delta in (FIRST, SECOND, THIRD):
            use(shelf, delta)
        assert [shelf.has(delta) for delta in (FIRST, SECOND, THIRD)] == [True, True, True]
        assert closed == []
    assert sorted(closed) == sorted([FIRST.file, SECOND.file, THIRD.file])


def test_what_makes_room_for_a_delta_that_never_comes_is_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    failed: list[str] = []
    stalled, go_on = Event(), Event()

    def fetch(_: Shelf, delta: PublishedDelta) -> OpenDelta:
        if delta is SECOND:
            stalled.set()
            go_on.wait(60)
        return opened(delta, closed)

    def ask(delta: PublishedDelta) -> None:
        try:
            use(shelf, delta)
        except DeltaError as error:
            failed.append(str(error))

    monkeypatch.setattr(Shelf, "_open", fetch)
    with Shelf(Upstream("http://127.0.0.1:1"), store=None, bounds=Bounds(deltas=2)) as shelf:
        use(shelf, FIRST)
        asking: list[Thread] = []
        for delta in (SECOND, THIRD):  # the third takes the place of the first, and waits for the second
            asking.append(Thread(target=ask, args=(delta,), daemon=True))
            asking[-1].start()
            assert stalled.wait(60)
        while THIRD.file not in shelf._places:
            Event().wait(0.01)
        ending = Thread(target=shelf.close)
        ending.start()
        assert shelf._closing.wait(60)
        go_on.set()
        for thread in (ending, *asking):
            thread.join(60)
            assert not thread.is_alive()
    assert failed == [f"{THIRD.file}: the substituter ends"]
    assert sorted(set(closed)) == sorted([FIRST.file, SECOND.file])


def test_a_delta_that_was_fetched_ahead_in_vain_is_not_fetched_ahead_again(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Shelf, "_open", lambda _, delta: opened(delta, closed))
    with Shelf(Upstream("http://127.0.0.1:1"), store=None) as shelf:

        def fetched_ahead(delta: PublishedDelta) -> bool:
            """Fetch a delta ahead, and forget it as after a while."""
            shelf.fetch_ahead(delta)
            place = shelf._places.pop(delta.file, None)
            if place is not None:
                place.future.result(60).close()
            return place is not None

        assert [fetched_ahead(FIRST) for _ in range(3)] == [True, False, False]
        use(shelf, FIRST)
        shelf._places.pop(FIRST.file).future.result(60).close()
        assert fetched_ahead(FIRST), "the last one was used"
        assert not fetched_ahead(replace(SECOND, size=(4 << 20) + 1)), "it is too large"


def test_a_delta_that_is_fetched_ahead_takes_no_place_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Shelf, "_open", lambda _, delta: opened(delta, closed))
    with Shelf(Upstream("http://127.0.0.1:1"), store=None, bounds=Bounds(deltas=1)) as shelf:
        use(shelf, FIRST)
        shelf.fetch_ahead(SECOND)
        assert shelf.has(FIRST)
    shelf.fetch_ahead(SECOND)
    assert closed == [FIRST.file]
