"""A guard against work that does not end."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SECONDS = 120


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail if the block takes minutes.

    It is for input of a size on which right code takes about a second and wrong code takes many minutes. So the speed
    of the machine decides nothing.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
