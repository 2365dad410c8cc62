"""SIGTERM, Ctrl-C and SIGHUP end a command as an exception does, so that nothing half-written is left."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

INTERRUPTED = 128 + signal.SIGINT
"""The exit code of a command that Ctrl-C ended."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_PATIENCE = 0.05
"""Seconds after which a signal that the main thread has not seen is sent once more."""

_came: list[int] = []
"""The signals that were to end the work."""


class _EndedError(SystemExit):
    """The end of the work by a signal, with the exit code that a shell gives."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def signals_end_the_work() -> Iterator[None]:
    """Let the signals raise `SystemExit` in the block, with the exit code that a shell gives.

    A signal that whoever started this process ignores, as `nohup` and background jobs do, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    print_lost = sys.unraisablehook
    try:
        with _sent_again() as send_again:

            def send_lost(lost: "sys.UnraisableHookArgs") -> None:
                if not isinstance(lost.exc_value, _EndedError):
                    print_lost(lost)
                    return
                for each in before:
                    signal.signal(each, _end)
                send_again(lost.exc_value.number)

            sys.unraisablehook = send_lost  # for a signal that comes in a callback, such as a finalizer
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, _end)
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = print_lost
        _came.clear()


@contextmanager
def signal_goes_before_failures() -> Iterator[None]:
    """Let a block that fails after a signal came end by that signal: no program is started after it, for example.

    What the handler raises may be lost: a library drops it, or what cleans up raises something else.
    """
    try:
        yield
    except Exception as error:
        if _came:
            raise _EndedError(_came[0]) from error
        raise


def _end(number: int, _: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)  # what is half-written is removed now, in peace
    _came.append(number)
    with suppress(ImportError):  # the signal came while it was imported
        from nixoci.process import end_programs  # noqa: PLC0415 - many verbs run no programs

        end_programs()
    raise _EndedError(number)


@contextmanager
def _sent_again() -> Iterator[Callable[[int], object]]:
    """Send a signal that comes in the block to the main thread again, until `_end` has run.

    The function that it yields sends one after a while.

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
        yield lambda number: os.write(writer, bytes([number]))
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        watching.join()
        os.close(reader)
