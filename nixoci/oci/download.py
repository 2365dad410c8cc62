"""A blob as a stream over as many connections as it takes: one that breaks is resumed where it broke."""

import io
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

from urllib3.exceptions import HTTPError

from nixoci.background import CallAhead
from nixoci.errors import BlobError
from nixoci.oci.http_client import Answer, NoAnswerError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SKIPPED = 1 << 20
"""Bytes that are read at a time, and dropped, where a server does not resume."""

_CLOSED = "the server closed it"
_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,19})-.*", re.IGNORECASE | re.DOTALL)
_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Bounds of patience.

    Attributes:
        attempts: Further requests in a row that bring nothing, before a read fails.
        pause: Seconds before the second request; each further pause is twice as long.
        longest: Maximum seconds of a pause, also of one that the server asks for.
    """

    attempts: int = 5
    pause: float = 0.5
    longest: float = 60.0


def download(
    ask: Callable[[Mapping[str, str]], Answer], *, size: int | None, retries: Retries, ahead: bool = False
) -> BinaryIO:
    """Return a blob as a stream.

    Args:
        ask: Makes a request with more headers.
        size: The blob's bytes; None if nothing says it.
        retries: Bounds of patience.
        ahead: Make the request now, on another thread, and not at the first read. The body waits in the connection.
    """
    return io.BufferedReader(_Download(ask, size=size, retries=retries, ahead=ahead))


class _Download(io.RawIOBase):
    def __init__(
        self, ask: Callable[[Mapping[str, str]], Answer], *, size: int | None, retries: Retries, ahead: bool
    ) -> None:
        super().__init__()
        self._ask = ask
        self._size = size
        self._retries = retries
        self._answer: Answer | None = None
        self._offset = 0
        self._fruitless = 0
        self._ahead = CallAhead(partial(ask, {}), drop=Answer.close) if ahead else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read the next bytes, none at the end only.

        Raises:
            BlobError: The registry does not have the blob, or the connection keeps breaking.
        """
        view = memoryview(buffer).cast("B")
        while True:
            try:
                data = self._next(len(view))
            except (HTTPError, OSError, EOFError) as error:
                self._break(error)
            else:
                self._offset += len(data)
                self._fruitless = 0
                view[: len(data)] = data
                return len(data)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.drop()
            self._ahead = None
        self._drop()
        super().close()

    def _next(self, count: int) -> bytes:
        """Return the next bytes of this connection."""
        data = self._opened().read(count)
        if not data and self._size is not None and self._offset < self._size:
            raise EOFError(_CLOSED)
        return data

    def _opened(self) -> Answer:
        """Return the answer that the next bytes are read from."""
        if self._answer is None:
            if self._ahead is not None:
                ahead, self._ahead = self._ahead, None
                self._answer = ahead.take()
            else:
                self._answer = self._ask({"Range": f"bytes={self._offset}-"} if self._offset else {})
            self._skip(self._answer)
        return self._answer

    def _skip(self, answer: Answer) -> None:
        """Drop what was read before, if the server begins there again."""
        start = self._start(answer)
        if start > self._offset:
            raise BlobError(f"the server resumes at byte {start} instead of {self._offset}")
        while start < self._offset:
            data = answer.read(min(self._offset - start, _SKIPPED))
            if not data:
                raise EOFError(_CLOSED)
            start += len(data)

    def _start(self, answer: Answer) -> int:
        """Return the position of an answer's first byte in the blob."""
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            return 0
        said = answer.header("Content-Range")
        if not said:
            return self._offset
        found = _CONTENT_RANGE.fullmatch(said)
        if found is None:
            raise BlobError(f"the server resumes with the Content-Range {said[:_SHOWN]!a}, expected bytes FIRST-LAST/…")
        return int(found[1])

    def _break(self, error: Exception) -> None:
        """Drop a connection that broke, and wait before the next one."""
        self._drop()
        self._fruitless += 1
        if self._fruitless > self._retries.attempts:
            raise BlobError(
                str(error)
                if isinstance(error, NoAnswerError)
                else f"the connection broke at byte {self._offset}: {error}"
            ) from error
        asked = error.pause if isinstance(error, NoAnswerError) else 0.0
        pause = self._retries.pause * 2 ** (self._fruitless - 1)
        time.sleep(min(max(pause, asked), self._retries.longest))

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
