"""The manual pages: complete, and right for the programs that read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import click
import pytest

from nixoci.cli import VERBS, cli
from nixoci.cli.manual import render_verb_page
from nixoci.cli.verb import Verb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

PROGRAM = click.Context(cli, info_name="nixoci")
SHOWN = cli.shown(PROGRAM, VERBS)
WIDE = {"MANWIDTH": "500", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-c", "MAN_KEEP_FORMATTING": "", "TERM": "dumb"}


@cache  # two tests look at each page
def man(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the `man` of this machine, without fonts and hyphenation."""
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("man and groff NOT found, so no manual page was formatted: install man-db and groff")
    command = ["man", "--no-hyphenation", "--no-justification", *arguments]
    return subprocess.run(command, env=os.environ | WIDE, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "share/man/man1"
    # in a process of its own, since click remembers the names of the help option from the first use of a verb
    subprocess.run([sys.executable, "-m", "nixoci", "man", folder], check=True)
    return folder


def test_the_program_and_every_verb_have_a_page(pages: Path) -> None:
    assert {page.name for page in pages.iterdir()} == {"nixoci.1", *(f"nixoci-{verb.name}.1" for verb in SHOWN)}


@pytest.mark.parametrize("name", ["nixoci", *(f"nixoci-{verb.name}" for verb in SHOWN)])
def test_nothing_warns_about_a_page(pages: Path, name: str) -> None:
    done = man("--warnings=w", "--local-file", pages / f"{name}.1")
    assert done.stderr == ""
    shown = done.stdout
    assert re.search(rf"^NAME\n +{name} - \S", shown, re.MULTILINE)
    if shutil.which("mandoc"):
        subprocess.run(["mandoc", "-Tlint", "-Werror", pages / f"{name}.1"], check=True)


@pytest.mark.parametrize("verb", SHOWN, ids=lambda verb: str(verb.name))
def test_the_page_of_a_verb_has_its_options_and_examples(pages: Path, verb: Verb) -> None:
    shown = man("--warnings=w", "--local-file", pages / f"nixoci-{verb.name}.1").stdout
    lines = [line.strip() for line in shown.splitlines()]
    options = {name for option in verb.params if isinstance(option, click.Option) for name in option.opts}
    named = {word.strip(",") for line in lines for word in line.split()}
    assert options <= named
    assert {"-h", "--help"} <= named
    start = lines.index("EXAMPLES") + 1
    assert lines[start : start + len(verb.examples)] == list(verb.examples)


def test_the_page_of_the_program_has_every_verb_and_exit_code(pages: Path) -> None:
    shown = man("--warnings=w", "--local-file", pages / "nixoci.1").stdout
    assert re.findall(r"nixoci-([a-z-]+)\(1\)", shown) == [verb.name for verb in SHOWN]
    status = shown[shown.index("EXIT STATUS") :]
    assert re.findall(r"^ +([0-9]+) ", status, re.MULTILINE) == ["0", "1", "2", "129", "130", "143"]


def test_a_second_run_changes_nothing(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    for _ in range(2):
        assert nixoci("man", "pages") == (0, "", "")
    assert (tmp_path / "pages/nixoci.1").stat().st_nlink == 1


HOSTILE = [r".so /etc/passwd \fB \n[x] \(rs", "'quoted' `code` ^caret ~/tilde --dash -x \\", ".", "'", 'a "b" %s $(x)']


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_printed_as_it_is(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.1"
    verb = Verb("odd", help="Do a thing.", examples=[text])
    page.write_text(render_verb_page(verb, PROGRAM, "1"), encoding="utf-8")
    done = man("--warnings=w", "--local-file", page)
    assert done.stderr == ""
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[lines.index("EXAMPLES") + 1] == text
