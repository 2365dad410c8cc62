"""The NAR that Nix reads: it begins when there is something to send, and ends only if its hash is right."""

import hashlib
from collections.abc import Callable
from time import monotonic

from nixoci.errors import DeltaError, NixociError
from nixoci.nix_store.hashes import from_sri
from nixoci.nix_store.wire import pack_string
from nixoci.streams import Data, Sink

START = b"".join(map(pack_string, (b"nix-archive-1", b"(", b"type")))
"""The bytes with which every NAR begins."""

_WHOLE = 1 << 20
"""Bytes up to which a NAR is sent only once it is whole and right, so that another can take its place until then."""

_PULSE = 8
"""Bytes of them that are sent at a time: more than one a second, over the five that curl averages."""

PAUSE = 200.0
"""Seconds between them: Nix drops a download that stalls for 300 (stalled-download-timeout)."""


class WrongNarError(DeltaError):
    """The NAR that was written is not the one that was promised; Nix must not get the end of it."""


class ClientGoneError(Exception):
    """The client has closed the connection, or does not read."""


class TooLateError(NixociError):
    """The NAR did not begin, or go on, in the time for which Nix can be kept waiting."""


class NarBody:
    """The body of an answer: a NAR of known size and hash.

    It can be written several times, from the start, until once it is complete. What was sent before must then come
    again; it is compared, and not sent again. The last byte, of a small NAR all, is sent once the hash is right.

    Args:
        nar_hash: SRI of the NAR.
        size: Bytes of the NAR.
        begin: Sends the head of the answer and returns the sink for its body.
    """

    def __init__(self, nar_hash: str, size: int, begin: Callable[[], Sink]) -> None:
        self._digest = from_sri(nar_hash)
        self._size = size
        self._begin = begin
        self._out: Sink | None = None
        self._sent = 0
        self._sent_hash = hashlib.sha256()
        self._held_from = 0 if size <= _WHOLE else size - 1
        self._sent_at = monotonic()
        self.restart()

    @property
    def begun(self) -> bool:
        """Say whether the head of the answer is sent."""
        return self._out is not None

    @property
    def is_small(self) -> bool:
        """Say whether nothing of it is sent before all of it is right."""
        return not self._held_from

    @property
    def silent(self) -> float:
        """The seconds for which nothing was sent."""
        return monotonic() - self._sent_at

    def restart(self) -> None:
        """Begin to write the NAR from its start."""
        self._at = 0
        self._again = hashlib.sha256()
        self._held = bytearray()

    def write(self, data: Data, /) -> None:
        """Write the next bytes of the NAR.

        Raises:
            WrongNarError: They are not those that were sent before, or too many.
        """
        view = memoryview(data)
        if self._at + len(view) > self._size:
            raise WrongNarError(f"a NAR of more than {self._size} bytes")
        if self._at < self._sent:
            seen = view[: self._sent - self._at]
            self._again.update(seen)
            self._at += len(seen)
            view = view[len(seen) :]
            if self._at == self._sent and self._again.digest() != self._sent_hash.digest():
                raise WrongNarError(f"a NAR that differs in the {self._sent} bytes that were sent")
        free = max(0, self._held_from - self._at)
        self._at += len(view)
        if free and view:
            self._send(view[:free])
        self._held += view[free:]

    def finish(self) -> None:
        """Send what was held.

        Raises:
            WrongNarError: The NAR is incomplete, or its hash is not the one that was promised.
        """
        if self._at != self._size:
            raise WrongNarError(f"a NAR of {self._at} bytes, expected {self._size}")
        found = self._sent_hash.copy()
        found.update(self._held)
        if found.digest() != self._digest:
            raise WrongNarError("a NAR of another hash")
        self._begun().write(memoryview(self._held))

    def send_checked(self, nar: Data) -> None:
        """Send a whole NAR, whose hash and size are known to be right."""
        if self._sent:
            self.write(nar)
            self.finish()
        else:
            self._begun().write(nar)

    def pulse(self) -> None:
        """Send some of the bytes with which every NAR begins, so that Nix goes on waiting.

        Raises:
            TooLateError: All of them are sent.
        """
        part = START[self._sent : min(self._sent + _PULSE, self._size - 1)]
        if not part:
            raise TooLateError("the NAR took too long to begin")
        self._send(memoryview(part))

    def _send(self, view: memoryview) -> None:
        self._sent_hash.update(view)
        self._sent += len(view)
        self._begun().write(view)
        self._sent_at = monotonic()

    def _begun(self) -> Sink:
        if self._out is None:
            self._out = self._begin()
        return self._out


class Waiting:
    """Waits while Nix is kept waiting.

    Args:
        body: The body of the answer that Nix waits for.
        pause: Seconds between signs of life.
    """

    def __init__(self, body: NarBody, *, pause: float = PAUSE) -> None:
        self._body = body
        self._pause = pause

    def until(self, happened: Callable[[float], bool]) -> None:
        """Wait for something; `happened` waits up to so many seconds for it, and returns whether it happened.

        Raises:
            TooLateError: Nix cannot be kept waiting any longer.
        """
        while not happened(self._pause):
            self._body.pulse()

    def go_on(self) -> None:
        """Refuse to work on if that has sent nothing for so long that Nix soon gives up.

        Raises:
            TooLateError: Another NAR has to come.
        """
        if self._body.silent > self._pause:
            raise TooLateError(f"nothing was rebuilt in {self._pause:g} seconds")
