"""Progress on a terminal."""

from __future__ import annotations

import io
import threading
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

import pytest

from nixoci import progress
from nixoci.progress import byte_progress, folder_growth, ignore, item_progress
from tests.support.terminal import Terminal, drawn_bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nixoci.progress import Advance


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIX_BUILD_TOP", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize("bar", [byte_progress, item_progress])
def test_there_is_none_in_a_pipe(bar: type[object]) -> None:
    with redirect_stderr(io.StringIO()) as pipe, bar("work", 10) as advance:  # type: ignore[call-arg,attr-defined]
        assert advance is ignore
    assert not pipe.getvalue()


@pytest.mark.parametrize("bar", [byte_progress, item_progress])
def test_there_is_none_in_a_build_whose_log_nix_takes_by_a_terminal(
    bar: Callable[[str, int], AbstractContextManager[Advance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIX_BUILD_TOP", "/build")
    with redirect_stderr(Terminal()) as terminal, bar("work", 10) as advance:
        assert advance is ignore
    assert not terminal.getvalue()


def test_there_is_one_in_a_shell_of_nix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_BUILD_TOP", "/build")
    monkeypatch.setenv("IN_NIX_SHELL", "impure")

    def work() -> None:
        with byte_progress("work", 10) as advance:
            advance(10)

    assert list(drawn_bars(work)) == ["work"]


@pytest.mark.parametrize("name", ["web", "[/x]", "[red]web", "{task.total}"])
def test_a_name_is_shown_as_it_is(name: str) -> None:
    def work() -> None:
        with byte_progress(f"hashing {name}", 10) as advance:
            advance(10)

    assert list(drawn_bars(work)) == [f"hashing {name}"]


def test_a_bar_has_a_percentage_a_rate_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])

    def work() -> None:
        with byte_progress("sending", 10_000_000) as advance:
            for _ in range(4):
                now[0] += 1
                advance(1_000_000)

    assert drawn_bars(work) == {"sending": (40, "4.0/10.0 MB 1.0 MB/s 0:00:06")}


def test_a_bar_of_items_counts_them() -> None:
    def work() -> None:
        with item_progress("verifying", 3) as advance:
            advance(1)
            advance(2)

    ((label, (percent, beside)),) = drawn_bars(work).items()
    assert (label, percent) == ("verifying", 100)
    assert beside.startswith("3/3")


def test_a_total_that_is_not_known_has_no_percentage() -> None:
    def work() -> None:
        with byte_progress("reading", None) as advance:
            advance(5)

    assert drawn_bars(work)["reading"][0] is None


def test_no_work_draws_no_bar() -> None:
    def work() -> None:
        with byte_progress("downloading", 0), item_progress("verifying", 0):
            pass

    assert drawn_bars(work) == {}


def test_a_folder_that_grows_is_reported_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LOOK", 0.001)
    (tmp_path / "before").write_bytes(bytes(50))
    reported: list[int] = []
    half = threading.Event()

    def advance(count: int) -> None:
        reported.append(count)
        half.set()

    with folder_growth(tmp_path, 1000, advance):
        (tmp_path / "blobs").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "before")
        (tmp_path / "blobs/partial").write_bytes(bytes(400))
        assert half.wait(60)
        (tmp_path / "blobs/partial").rename(tmp_path / "blobs/whole")
        (tmp_path / "blobs/more").write_bytes(bytes(700))
    assert reported[0] == 400
    assert sum(reported) == 1000, "neither more nor less than what was expected"


def test_a_program_that_fails_leaves_the_bar_where_it_was(tmp_path: Path) -> None:
    reported: list[int] = []
    with pytest.raises(OSError, match="gone"), folder_growth(tmp_path, 1000, reported.append):
        raise OSError("gone")
    assert sum(reported) == 0


def test_nobody_looks_at_a_folder_without_a_terminal(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    with folder_growth(tmp_path, 1000, ignore):
        assert set(threading.enumerate()) <= before
