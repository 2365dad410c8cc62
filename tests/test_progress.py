"""Progress on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from nixoci.progress import byte_progress, ignore


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_there_is_none_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with byte_progress("work", 10) as advance:
        assert advance is ignore
    assert not pipe.getvalue()


@pytest.mark.parametrize("name", ["web", "[/x]", "[red]web", "{task.total}"])
def test_a_name_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with byte_progress(f"hashing {name}", 10) as advance:
        advance(10)
    assert f"hashing {name}" in terminal.getvalue()
