"""Decoding in a worker process.

Some codecs mostly hold the interpreter's lock. In the process of the reader they would wait for it, and it for them; a
process of its own decodes while the reader copies what did not change.
"""

import os
import signal
import socket
from contextlib import ExitStack
from threading import Lock
from typing import Self

from nixoci.delta.codecs.model import OldData
from nixoci.delta.codecs.worker import CODEC, DONE, MAX_ANSWER, READY, REQUEST, put
from nixoci.errors import DeltaError
from nixoci.openat import read_range
from nixoci.process import start_python

_PROGRAM = "nixoci.delta.codecs.worker"


class DecodeWorker:
    """Decodes contents, one after another, in a process that `start` or the first of them starts; threads may share it.

    A process that ended is started again. Where none can be started, contents are decoded in this process.

    Args:
        memory: Bytes of private memory that the process may have; by default any number.
    """

    def __init__(self, *, memory: int = 0) -> None:
        self._memory = memory
        self._lock = Lock()
        self._process: _Process | None = None
        self._works = hasattr(os, "memfd_create")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process unless it runs; it gets ready while this one goes on."""
        self._running()

    def start_for(self, version: int) -> None:
        """Start the process if a delta of this version of the format may have contents for it."""
        if version >= CODEC.version:
            self.start()

    def close(self) -> None:
        """End the process; it is not started again."""
        with self._lock:
            self._works = False
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def decodes(self, number: int) -> bool:
        """Return whether it has the codec with a number."""
        return number == CODEC.number

    def decode(self, payload: bytes, old: OldData, limit: int) -> bytes:
        """Return a content of its codec, as `registry.decode` does.

        Raises:
            DeltaError: The payload is damaged, or the process ended while it decoded.
        """
        while (process := self._running()) is not None:
            if process.ready():
                return process.decode(payload, old, limit)
            with self._lock:
                self._works = self._process is not process  # else this machine cannot have one
        from nixoci.delta.codecs.registry import decode  # noqa: PLC0415 - it loads what the process does without

        return decode(CODEC.number, payload, old, limit)

    def _running(self) -> "_Process | None":
        with self._lock:
            process = self._process
            if process is not None and process.has_ended():
                self._process = None
            if self._process is None and self._works:
                try:
                    self._process = _Process(self._memory)
                except OSError:
                    self._works = False
            running = self._process if self._works else None
        if process is not None and process is not running:
            process.end()
        return running


class _Process:
    """A process that decodes.

    Attributes:
        ended: Whether it was ended, or found to have ended.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, memory: int) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._program = start_python(_PROGRAM, str(memory), stdin=theirs.fileno())
        except BaseException:
            self._requests.close()
            raise
        self._lock, self._asking = Lock(), Lock()
        self._ready: bool | None = None
        self.ended = False

    def ready(self) -> bool:
        """Wait until it can decode; return False if it ends before that."""
        with self._lock:
            if self._ready is None:
                stdout = self._program.stdout
                self._ready = stdout is not None and not stdout.closed and stdout.read(1) == READY
            return self._ready

    def has_ended(self) -> bool:
        """Return whether it has ended, as where it was killed while it had nothing to do."""
        return self.ended or self._program.poll() is not None

    def decode(self, payload: bytes, old: OldData, limit: int) -> bytes:
        """Return a content.

        Raises:
            DeltaError: The payload is damaged, or the process ended while it decoded.
        """
        try:
            with ExitStack() as cleanup:
                file = os.memfd_create("nixoci-content")
                cleanup.callback(os.close, file)
                put(file, payload, old.take())
                answer = self._ask(REQUEST.pack(len(payload), limit), file)
                if answer == DONE:
                    return read_range(file, 0, os.fstat(file).st_size)
        except OSError as error:
            raise DeltaError(f"a content cannot be given to the process that decodes ({error.strerror})") from error
        if answer:
            raise DeltaError(answer[1:].decode("utf-8", "replace"))
        code = self.end()
        by = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise DeltaError(f"a patch does not apply (the process that decodes it ended {by})")

    def end(self) -> int:
        """End it, unless it has ended, and return its exit code, which is negative for a signal."""
        self.ended = True
        self._program.kill()  # there is nothing that it would put in order
        with self._lock, self._asking:
            self._requests.close()
            if self._program.stdout is not None:
                self._program.stdout.close()
            return self._program.wait()

    def _ask(self, request: bytes, file: int) -> bytes:
        """Return the answer to a request; nothing if the process ended."""
        answer, to = os.pipe()
        try:
            try:
                with self._asking:
                    if self.ended:
                        return b""
                    socket.send_fds(self._requests, [request], [file, to])
            finally:
                os.close(to)
            return os.read(answer, MAX_ANSWER)
        except (BrokenPipeError, ConnectionResetError):
            return b""
        finally:
            os.close(answer)
