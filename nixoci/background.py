"""Work on a second thread, with bounded memory: calls one after another, one call, an iterator that is read ahead."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Generic, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _BoundedQueue(Generic[T]):
    """A `queue.Queue` of a size, made of two queues that are written in C: they take a fraction of its time.

    A signal whose handler raises can end `put` and `get` between their two steps, and the queue then has less room than
    before. Whoever ends the work must not wait for room: `put_last`, `let_go`.
    """

    def __init__(self, size: int) -> None:
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(size):
            self._room.put(None)

    def put(self, item: T) -> None:
        """Add an item once there is room."""
        self._room.get()
        self._items.put(item)

    def put_last(self, item: T) -> None:
        """Add an item that ends the work, whether there is room or not."""
        self._items.put(item)

    def get(self) -> T:
        """Return the next item once there is one."""
        item = self._items.get()
        self._room.put(None)
        return item

    def let_go(self) -> None:
        """Let a thread that waits for room add its item, though nobody will take it."""
        self._room.put(None)


class BackgroundCalls:
    """Runs calls one after another on a thread of its own; several threads may add to them.

    Raises:
        Exception: From `call` and `finish`, whatever an earlier call raised.
    """

    def __init__(self, waiting: int) -> None:
        """Let at most `waiting` calls wait for the one that runs."""
        self._calls = _BoundedQueue[Callable[[], object] | None](waiting)
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)
        self._stopped = False
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._end()

    def call(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a call after those before it; if too many wait, return once one of them runs."""
        self._check()
        self._calls.put(partial(function, *args, **kwargs))

    def finish(self) -> None:
        """Wait for all calls; there can be no more."""
        self._end()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        if self._thread.is_alive():
            self._calls.put_last(None)
            self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._error is None and not self._stopped:
                try:
                    call()
                except BaseException as error:  # noqa: BLE001 - it is raised again in the other thread
                    self._error = error


class CallAhead(Generic[T]):
    """A call that runs on a thread of its own until somebody needs its result, or does not."""

    def __init__(self, function: Callable[[], T], *, drop: Callable[[T], object]) -> None:
        """Start the call; `drop` gets a result that nobody takes."""
        self._drop = drop
        self._lock = threading.Lock()
        self._result: tuple[T] | BaseException | None = None
        self._dropped = False
        # a daemon: the process may end while a server does not answer
        self._thread = threading.Thread(target=self._work, args=(function,), name="ahead", daemon=True)
        self._thread.start()

    def take(self) -> T:
        """Wait for the result and return it; once.

        Raises:
            Exception: Whatever the call raised.
        """
        self._thread.join()
        result, self._result = self._result, None
        if isinstance(result, tuple):
            return result[0]
        raise RuntimeError("taken twice") if result is None else result

    def drop(self) -> None:
        """Let go of the result without waiting for it."""
        with self._lock:
            self._dropped = True
            result, self._result = self._result, None
        if isinstance(result, tuple):
            self._drop(result[0])

    def _work(self, function: Callable[[], T]) -> None:
        try:
            result: tuple[T] | BaseException = (function(),)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the other thread
            result = error
        with self._lock:
            if not self._dropped:
                self._result = result
                return
        if isinstance(result, tuple):
            self._drop(result[0])


def read_ahead(items: Iterator[T], waiting: int) -> Generator[T]:
    """Yield the items of an iterator that runs on a thread of its own, at most `waiting` items ahead.

    Raises:
        Exception: Whatever the iterator raised.
    """
    ready = _BoundedQueue[tuple[T] | BaseException | None](waiting)
    stopped = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                ready.put((item,))
                if stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised again in the other thread
            end = error
        ready.put_last(end)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        ready.let_go()
        thread.join()
