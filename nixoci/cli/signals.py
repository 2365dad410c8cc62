"""SIGTERM, Ctrl-C and SIGHUP end a command as an exception does, so that nothing half-written is left."""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
"""The exit code of a command that Ctrl-C ended."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_PATIENCE = 0.05
"""Seconds after which a signal that the main thread has not seen is sent once more."""


@contextmanager
def signals_end_the_work() -> Iterator[None]:
    """Let the signals raise `SystemExit` in the block, with the exit code that a shell gives.

    A signal that whoever started this process ignores, as `nohup` and background jobs do, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    try:
        with _sent_again():
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, _end)
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)  # what is half-written is removed now, in peace
    with suppress(ImportError):  # the signal came while it was imported
        from nixoci.process import end_programs  # noqa: PLC0415 - many verbs run no programs

        end_programs()
    sys.exit(128 + number)


@contextmanager
def _sent_again() -> Iterator[None]:
    """Send a signal that comes in the block to the main thread again, until `_end` has run.

    A handler of Python runs between two steps of the main thread. A signal that comes after the last step before that
    thread waits for another one does not wake it, and would have no effect until the other is done.
    """
    main = threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while number := os.read(reader, 1):
            while signal.getsignal(number[0]) is _end and not select.select([reader], [], [], _PATIENCE)[0]:
                signal.pthread_kill(main, number[0])

    watching = threading.Thread(target=watch, name="signals", daemon=True)
    watching.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        watching.join()
        os.close(reader)
