"""Tables on a terminal and in a pipe: whatever one copies stays whole."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import pytest

from nixoci.cli.table import print_fields, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = "registry.example.org:5000/team/group/project/a-rather-long-name/application:2026.11.28-alpine"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
STORE_PATH = "/nix/store/ffffffffffffffffffffffffffffffff-a-rather-long-name-of-an-image-2026.11.28-alpine/storage.conf"
WIDTHS = [20, 40, 80, 200]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The columns of the terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(request.param))
    columns: int = request.param
    return columns


def on_terminal(show: Callable[[], None]) -> list[str]:
    """Return the lines that a terminal gets, without its control sequences."""
    with redirect_stdout(Terminal()) as terminal:
        show()
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


@pytest.mark.usefixtures("width")
def test_references_digests_and_paths_are_whole_on_a_terminal() -> None:
    lines = on_terminal(
        lambda: print_table(["name", "reference", "digest", "path"], [["web", REFERENCE, DIGEST, STORE_PATH]])
    )
    assert [line.split() for line in lines] == [
        ["name", "reference", "digest", "path"],
        ["web", REFERENCE, DIGEST, STORE_PATH],
    ]


def test_prose_is_wrapped_between_words_only(width: int) -> None:
    text = f"{STORE_PATH} is not there; run `podman pull {REFERENCE}` and then look again at what there is to see"
    rows = [["problem", "image-store", text], ["ok", "podman", "5.8"]]
    first, *lines, last = on_terminal(lambda: print_table(["status", "check", "found"], rows, prose=True))
    column = first.index("found")
    assert " ".join(line[column:] for line in lines) == text
    assert [line[:column].split() for line in lines] == [["problem", "image-store"], *([] for _ in lines[1:])]
    assert last.split() == ["ok", "podman", "5.8"]
    longest = [word for word in text.split() if len(word) > width - column]
    assert all(len(line) <= max(width, column + 30) or line[column:] in longest for line in lines)


@pytest.mark.usefixtures("width")
def test_a_wide_character_takes_two_columns() -> None:
    lines = on_terminal(lambda: print_table(["name", "tag"], [["网页", "1"], ["data", "2"]]))
    assert lines[1:] == ["网页  1", "data  2"]


@pytest.mark.usefixtures("width")
def test_fields_are_whole() -> None:
    fields = [("reference", REFERENCE), ("digest", DIGEST), ("user", "")]
    lines = on_terminal(lambda: print_fields("web", fields))
    assert [line.split() for line in lines] == [["web"], ["reference", REFERENCE], ["digest", DIGEST]]


@pytest.mark.usefixtures("width")
def test_markup_in_a_name_is_text() -> None:
    assert on_terminal(lambda: print_table(["name"], [["[red]web[/red]"], [":smile:"]]))[1:] == [
        "[red]web[/red]",
        ":smile:",
    ]


def test_a_pipe_has_one_line_for_each_row() -> None:
    with redirect_stdout(io.StringIO()) as pipe:
        print_table(["name", "found"], [["web", "word " * 50], ["a\nb", "x"]], prose=True)
    assert pipe.getvalue() == f"NAME  FOUND\nweb   {'word ' * 49}word\na\\nb  x\n"
