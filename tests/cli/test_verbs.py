from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from nixoci.cli import FIRST_STEPS, GROUPS, VERBS, cli
from nixoci.cli.meant import OTHER_WORDS
from tests.support.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixoci.cli.verb import Verb
    from tests.cli.conftest import Result


def command_of(name: str) -> Verb:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


SHOWN = [name for name in VERBS if not command_of(name).hidden]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_called_what_its_command_says(name: str) -> None:
    command = command_of(name)
    assert command.name == name
    assert command.help


def test_no_verb_loads_numpy_before_it_needs_it() -> None:
    """It takes longer to load than all of the rest."""
    code = """
import sys, click
from nixoci.cli import VERBS, cli
for name in VERBS:
    cli.get_command(click.Context(cli), name)
print("numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_receive_loads_only_what_every_delta_needs() -> None:
    """The rest takes as long to load as a small delta takes to apply."""
    code = """
import sys
import nixoci.cli.receive
print({"cattrs", "hdiffpatch", "nixoci.delta.cds.codec", "nixoci.delta.jimage.codec"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_numpy_starts_no_threads() -> None:
    """On two cores, starting them takes half as long as loading it, and no verb uses them."""
    code = """
import contextlib, os
from nixoci.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
import numpy
print("threads:", len(os.listdir("/proc/self/task")))
"""
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.endswith("threads: 1\n")


def test_an_unknown_verb_is_none() -> None:
    assert cli.get_command(click.Context(cli), "conjure") is None


@pytest.mark.parametrize("before", [[], ["help"]])
@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("conjure", "No such command 'conjure'; see"),
        ("rm", "No such command 'rm'. Did you mean `nixoci remove`? See"),
        ("prefech", "No such command 'prefech'. Did you mean `nixoci prefetch`? See"),
        ("run", "No such command 'run'. Did you mean `podman run`? See"),
    ],
)
def test_an_unknown_verb_names_the_one_that_is_meant(
    nixoci: Callable[..., Result], before: list[str], word: str, says: str
) -> None:
    assert nixoci(*before, word) == (2, "", f"error: {says} `nixoci --help`\n")


@pytest.mark.parametrize(("word", "command"), OTHER_WORDS.items())
def test_a_word_of_another_tool_is_no_verb_and_means_one(word: str, command: str) -> None:
    assert word not in VERBS
    program, *arguments = command.split()
    if program == "nixoci" and arguments != ["--version"]:
        known = {option for parameter in command_of(arguments[0]).params for option in parameter.opts}
        assert {each for each in arguments if each.startswith("-")} <= known


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lock", "x", "list"], "--lock is an option of verbs; write it after the verb; see `nixoci --help`"),
        (["--json", "list"], "--json is an option of verbs; write it after the verb; see `nixoci --help`"),
        (["list", "-v"], "-v comes before the verb: `nixoci -v list`; see `nixoci list --help`"),
        (["--conjure", "list"], "No such option '--conjure'; see `nixoci --help`"),
        (["list", "--jsn"], "No such option '--jsn'. Did you mean '--json'? See `nixoci list --help`"),
    ],
)
def test_an_option_in_the_wrong_place_says_where_it_belongs(
    nixoci: Callable[..., Result], arguments: list[str], says: str
) -> None:
    assert nixoci(*arguments) == (2, "", f"error: {says}\n")


def sections(text: str) -> dict[str, list[str]]:
    """Return the indented lines of a help by the headings above them."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z][a-z ]+:", line):
            found[line[:-1]] = []
        elif line.startswith("  ") and found:
            found[list(found)[-1]].append(line[2:])
    return found


def test_the_help_shows_every_verb_in_one_group(nixoci: Callable[..., Result]) -> None:
    shown = sections(nixoci("--help").out)
    verbs = {title: [line.split()[0] for line in shown[title] if line[0] != " "] for title in GROUPS}
    assert verbs == {title: [name for name in group if name in SHOWN] for title, group in GROUPS.items()}
    assert len(VERBS) == sum(map(len, GROUPS.values()))


def test_the_help_ends_with_the_first_steps_of_the_readme(nixoci: Callable[..., Result]) -> None:
    shown = sections(nixoci("--help").out)
    assert (list(shown)[-1], shown["First steps"]) == ("First steps", list(FIRST_STEPS))
    commands = {command for each in blocks() if each.page == "README.md" for command in each.commands}
    assert set(FIRST_STEPS) <= commands


def test_help_is_a_verb_too(nixoci: Callable[..., Result]) -> None:
    assert nixoci("help") == nixoci("--help")
    for name in SHOWN:
        assert nixoci("help", name) == nixoci(name, "--help")


def test_the_help_cuts_no_sentence(nixoci: Callable[..., Result]) -> None:
    shown = sections(nixoci("--help").out)
    assert not [line for title in GROUPS for line in shown[title] if line.endswith("...")]


@pytest.mark.parametrize("name", SHOWN)
def test_the_help_of_a_verb_ends_with_its_examples(nixoci: Callable[..., Result], name: str) -> None:
    shown = sections(nixoci(name, "--help").out)
    assert list(shown)[-1] == "Examples"
    assert shown["Examples"] == list(command_of(name).examples)


def command_lines(example: str) -> list[list[str]]:
    """Return the arguments of each nixoci that the shell would run for an example."""
    unquoted = re.sub(r"'[^']*'", "''", example)
    assert not set("`;&\\") & set(unquoted), "only pipes, redirections and substitutions are understood here"
    parts = re.split(r"[|]|>\s*\S+|<\(|\)$", re.sub(r"\$\([^)]*\)", "SUBSTITUTED", unquoted))
    words = [shlex.split(part) for part in parts if part.strip()]
    return [line[line.index("nixoci") + 1 :] for line in words if "nixoci" in line[:3]]


@pytest.mark.parametrize(("name", "example"), [(name, line) for name in SHOWN for line in command_of(name).examples])
def test_an_example_is_a_command_that_the_parser_takes(name: str, example: str) -> None:
    lines = command_lines(example)
    assert name in {line[0] for line in lines}
    for verb, *arguments in lines:
        with command_of(verb).make_context(verb, arguments):
            pass


@pytest.mark.parametrize("name", SHOWN)
def test_a_verb_has_two_examples_or_more(name: str) -> None:
    assert len(command_of(name).examples) >= 2


LOADED = """
import gc
from nixoci import cli
from nixoci.__main__ import run
cli.main = lambda: print(gc.isenabled(), cli.cli.get_command(None, "list").name, gc.isenabled())
run()
"""


def test_a_verb_has_its_garbage_collected() -> None:
    """Only what is loaded before it has not."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False list True\n"
