"""Work on a second thread, with bounded memory: calls one after another, and an iterator that is read ahead."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class BackgroundCalls:
    """Runs calls one after another on a thread of its own; several threads may add to them.

    Raises:
        Exception: From `call` and `finish`, whatever an earlier call raised.
    """

    def __init__(self, waiting: int) -> None:
        """Let at most `waiting` calls be unfinished."""
        self._pool = ThreadPoolExecutor(1)
        self._calls: deque[Future[object]] = deque()
        self._waiting = waiting
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a call after those before it; if there are `waiting` of them, wait for the first to end."""
        with self._lock:
            if len(self._calls) == self._waiting:
                self._calls.popleft().result()
            self._calls.append(self._pool.submit(function, *args, **kwargs))

    def finish(self) -> None:
        """Wait for all calls."""
        while self._calls:
            self._calls.popleft().result()


def read_ahead(items: Iterator[T], waiting: int) -> Generator[T]:
    """Yield the items of an iterator that runs on a thread of its own, at most `waiting` items ahead.

    Raises:
        Exception: Whatever the iterator raised.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=waiting)
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
        ready.put(end)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                ready.get(timeout=0.01)
        thread.join()
