"""Decoding contents before they are used, on a second thread, with bounded memory."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, Self, TypeVar

T = TypeVar("T", bound=Sized)

_BYTES = 16 << 20
"""Bytes of payloads, old segments and contents that wait at a time. A content with more is decoded alone."""

_KEPT = 8 << 20
"""Bytes of contents that are kept for their next use."""


class DecodeAhead(Generic[T]):
    """Decodes contents in the order in which they will be asked for.

    Args:
        order: The numbers of the contents that are decoded ahead.
        repeated: The numbers of contents that may be asked for again.
        read: Returns the payload and the old segment of a content.
        decode: Returns a content.
        declared: Returns the bytes of a content, judging by its payload. A small payload may make a large one, and
            contents wait as long as their reader does not take them.
        threads: Threads that decode. More than one pays only if they do not hold the interpreter's lock.
    """

    def __init__(
        self,
        order: Iterable[int],
        repeated: Container[int],
        read: Callable[[int], tuple[bytes, T]],
        decode: Callable[[int, bytes, T], bytes],
        declared: Callable[[int, bytes], int],
        *,
        threads: int = 1,
    ) -> None:
        self._order = deque(order)
        self._repeated = {number for number in self._order if number in repeated}
        self._kept: dict[int, bytes] = {}
        self._kept_size = 0
        self._read = read
        self._decode = decode
        self._declared = declared
        self._started: dict[int, tuple[int, Future[bytes]]] = {}
        self._waits = False  # whether the next one is decoded alone, when it is asked for
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> Self:
        try:
            self._start()  # the first one may be needed long after the others before it were written
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def content(self, number: int) -> bytes:
        """Return a content, decoded ahead or now.

        Raises:
            Exception: Whatever `read` and `decode` raise, `read` for one of the contents that follow too.
        """
        if number in self._kept:
            return self._kept[number]
        content = self._decoded(number)
        if number in self._repeated and len(content) <= _KEPT:
            self._kept[number] = content
            self._kept_size += len(content)
            while self._kept_size > _KEPT:
                self._kept_size -= len(self._kept.pop(next(iter(self._kept))))
        return content

    def _decoded(self, number: int) -> bytes:
        self._start()
        if number not in self._started:
            if self._order and self._order[0] == number:
                self._order.popleft()
                self._waits = False
            payload, old = self._read(number)
            if self._size(number, payload, old) > _BYTES:
                wait([future for _, future in self._started.values()])
            return self._decode(number, payload, old)
        content = self._started[number][1].result()
        del self._started[number]
        self._start()
        return content

    def _start(self) -> None:
        waiting = sum(size for size, _ in self._started.values())
        while self._order and not self._waits and waiting < _BYTES:
            number = self._order[0]
            payload, old = self._read(number)
            size = self._size(number, payload, old)
            if size > _BYTES:
                self._waits = True
                return
            self._order.popleft()
            self._started[number] = size, self._pool.submit(self._decode, number, payload, old)
            waiting += size

    def _size(self, number: int, payload: bytes, old: T) -> int:
        return len(payload) + len(old) + self._declared(number, payload)
