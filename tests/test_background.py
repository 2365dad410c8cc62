"""Work on a second thread."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.background import BackgroundCalls, CallAhead, _BoundedQueue, read_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_calls_run_in_order_on_one_other_thread() -> None:
    done: list[tuple[int, int]] = []
    with BackgroundCalls(2) as calls:
        for number in range(50):
            calls.call(lambda number: done.append((number, threading.get_ident())), number)
        calls.finish()
    assert [number for number, _ in done] == list(range(50))
    (thread,) = {thread for _, thread in done}
    assert thread != threading.get_ident()


def test_only_so_many_calls_wait() -> None:
    go, started, third = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        go.wait(60)

    def add(calls: BackgroundCalls) -> None:
        calls.call(lambda: None)
        third.set()

    with BackgroundCalls(1) as calls:
        calls.call(hold)
        calls.call(lambda: None)
        assert started.wait(60)
        adder = threading.Thread(target=add, args=(calls,))
        adder.start()
        assert not third.wait(0.05)
        go.set()
        assert third.wait(60)
        adder.join()


def call_often(calls: BackgroundCalls) -> None:
    for _ in range(4):
        calls.call(int, "1")


def test_a_failed_call_is_reported_by_a_later_one() -> None:
    with BackgroundCalls(1) as calls:
        calls.call(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            call_often(calls)
    with BackgroundCalls(1) as calls:
        calls.call(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            calls.finish()


def test_calls_that_wait_when_the_block_fails_are_not_run() -> None:
    ran = threading.Event()

    def hold(calls: BackgroundCalls) -> None:
        while not calls._stopped:
            time.sleep(0.001)

    with suppress(KeyError), BackgroundCalls(2) as calls:
        calls.call(hold, calls)
        calls.call(ran.set)
        raise KeyError("x")
    assert not ran.is_set()


def test_a_call_runs_before_its_result_is_needed() -> None:
    started, go, dropped = threading.Event(), threading.Event(), list[int]()

    def work() -> int:
        started.set()
        assert go.wait(60)
        return 7

    ahead = CallAhead(work, drop=dropped.append)
    assert started.wait(60)
    go.set()
    assert ahead.take() == 7
    ahead.drop()
    assert dropped == []


def test_the_error_of_a_call_is_raised_where_its_result_is_needed() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        CallAhead(lambda: int("x"), drop=print).take()


def test_a_result_that_nobody_takes_is_dropped_once() -> None:
    go, there, dropped = threading.Event(), threading.Event(), list[int]()

    def drop(number: int) -> None:
        dropped.append(number)
        there.set()

    late = CallAhead(lambda: 7 if go.wait(60) else 0, drop=drop)
    late.drop()
    assert dropped == []
    go.set()
    assert there.wait(60)
    early = CallAhead(lambda: 8, drop=drop)
    early._thread.join()
    early.drop()
    early.drop()
    failed = CallAhead(lambda: int("x"), drop=drop)
    failed.drop()
    assert dropped == [7, 8]


def test_items_are_read_ahead_in_order() -> None:
    assert list(read_ahead(iter(range(100)), 3)) == list(range(100))
    assert list(read_ahead(iter([None, None]), 3)) == [None, None]


def test_the_error_of_the_iterator_comes_out_after_its_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(KeyError):
        next(ahead)


def test_an_iterator_that_is_not_used_up_is_stopped() -> None:
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    seen: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10**9):
            seen.append(number)
            yield number

    with closing(read_ahead(items(), 3)) as ahead:
        assert next(ahead) == 0
    assert len(seen) < 100
    assert set(threading.enumerate()) <= before


class Interrupted:
    """A queue in place of another, whose first item does not arrive: a signal comes before it."""

    def __init__(self, inner: Any) -> None:
        self.get = inner.get
        self._inner = inner
        self._came = False

    def put(self, item: object) -> None:
        if not self._came:
            self._came = True
            raise KeyboardInterrupt
        self._inner.put(item)


def ends(work: Callable[[], object]) -> bool:
    """Return whether work ends that a signal interrupts; it runs on a thread that cannot keep the tests."""
    seen: list[BaseException] = []

    def watched() -> None:
        try:
            work()
        except KeyboardInterrupt as error:
            seen.append(error)

    thread = threading.Thread(target=watched, daemon=True)
    thread.start()
    thread.join(60)
    return bool(seen) and not thread.is_alive()


def test_a_signal_between_the_steps_of_adding_a_call_does_not_keep_the_block() -> None:
    def work() -> None:
        calls = BackgroundCalls(1)
        calls._calls._items = Interrupted(calls._calls._items)  # type: ignore[assignment]
        with calls:
            calls.call(int, "1")

    assert ends(work)


def test_a_signal_between_the_steps_of_taking_an_item_does_not_keep_the_iterator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> None:
        with closing(read_ahead(iter(range(100)), 1)) as ahead:
            next(ahead)

    made = _BoundedQueue.__init__

    def init(self: _BoundedQueue[object], size: int) -> None:
        made(self, size)
        self._room = Interrupted(self._room)  # type: ignore[assignment]

    monkeypatch.setattr(_BoundedQueue, "__init__", init)
    assert ends(work)
