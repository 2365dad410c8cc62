"""Decoding contents before they are used, on a second thread, with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

_BYTES = 16 << 20
"""Bytes of old segments and payloads that wait or are decoded at a time. A content with more is decoded alone."""


class DecodeAhead:
    """Decodes contents in the order in which they will be asked for.

    Args:
        order: The numbers of the contents that are decoded ahead.
        read: Returns the payload and the old segment of a content.
        decode: Returns a content.
    """

    def __init__(
        self,
        order: Iterable[int],
        read: Callable[[int], tuple[bytes, bytes]],
        decode: Callable[[int, bytes, bytes], bytes],
    ) -> None:
        self._order = deque(order)
        self._read = read
        self._decode = decode
        self._started: dict[int, tuple[int, Future[bytes]]] = {}
        self._waits = False  # whether the next one is decoded alone, when it is asked for
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def content(self, number: int) -> bytes:
        """Return a content, decoded ahead or now.

        Raises:
            Exception: Whatever `read` and `decode` raise, `read` for one of the contents that follow too.
        """
        self._start()
        if number not in self._started:
            if self._order and self._order[0] == number:
                self._order.popleft()
                self._waits = False
            payload, old = self._read(number)
            if len(payload) + len(old) > _BYTES:
                wait([future for _, future in self._started.values()])
            return self._decode(number, payload, old)
        content = self._started[number][1].result()
        del self._started[number]
        self._start()
        return content

    def _start(self) -> None:
        size = sum(bytes_read for bytes_read, _ in self._started.values())
        while self._order and not self._waits and size < _BYTES:
            number = self._order[0]
            payload, old = self._read(number)
            if len(payload) + len(old) > _BYTES:
                self._waits = True
                return
            self._order.popleft()
            self._started[number] = len(payload) + len(old), self._pool.submit(self._decode, number, payload, old)
            size += len(payload) + len(old)
