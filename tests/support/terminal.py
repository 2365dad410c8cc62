"""A terminal that keeps everything it gets, and the progress bars that were drawn on it."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"(?P<label>\S[^━╸╺]*?) +[━╸╺ ]{8,}(?P<rest>[^━╸╺ ].*)?")
_PERCENT = re.compile(r"([0-9]+)% +")


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


def drawn_bars(work: Callable[[], object]) -> dict[str, tuple[int | None, str]]:
    """Return the last percentage of each bar that `work` draws, None if it had none, and what is beside it."""
    with redirect_stderr(Terminal()) as terminal:
        work()
    lines = _CONTROL.sub("", terminal.getvalue().replace("\r", "\n")).splitlines()
    found = [match for line in lines if (match := _BAR.fullmatch(line.rstrip()))]
    bars = {}
    for bar in found:
        beside = bar["rest"] or ""
        percent = _PERCENT.match(beside)
        bars[bar["label"]] = (
            int(percent[1]) if percent else None,
            " ".join(_PERCENT.sub("", beside, count=1).split()),
        )
    return bars
