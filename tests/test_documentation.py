"""Names in the documentation exist: verbs, options, names of the library, keys of a container."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import click
import pytest

import nixoci
from nixoci.cli import GROUPS, VERBS, cli
from nixoci.container.model import Backend, Container, Deployment, Notify, WritableLayer
from nixoci.doctor import tools
from nixoci.document import json_key
from tests.support.pages import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

_SPAN = re.compile(r"`([^`\n]+)`")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SUBSTITUTION = re.compile(r"\$\([^)]*\)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks/README.md"]
_OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[str]:
    """Return the command lines of nixoci in a page, in lines of code and in the middle of text."""
    blocks = "\n".join(body for language, body in _BLOCK.findall(text(page)) if language in {"", "console"})
    indented = [line for line in text(page).splitlines() if line.startswith("    ")]
    lines = [line.strip().removeprefix("$ ").partition("#")[0] for line in (*blocks.splitlines(), *indented)]
    spans = _SPAN.findall(_BLOCK.sub("", text(page)))
    return [line for line in (*lines, *spans) if re.match(r"nixoci [a-z-]", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_its_options_are_there(page: Path) -> None:
    for typed in commands(page):
        line = _SUBSTITUTION.sub("OUT", typed)  # has the options of another command
        words = line.split()
        if words[1].startswith("-"):
            continue
        assert words[1] in VERBS, line
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for option in _OPTION.findall(line):
            assert option in known, line


def test_the_commands_are_found() -> None:
    found = {line.split()[1] for page in PAGES for line in commands(page)}
    assert len(found & set(VERBS)) >= 14


def _anchors(page: Path) -> set[str]:
    """Return the fragments of the headings of a page, as GitHub and other forges make them."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    for link in _links(page):
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not fragment or fragment in _anchors(target), link


def test_every_page_is_linked() -> None:
    found = {(page.parent / link.partition("#")[0]).resolve() for page in LINKING for link in _links(page)}
    assert set(PAGES) <= found | {ROOT / "README.md"}


def _links(page: Path) -> list[str]:
    return [link for link in _LINK.findall(_BLOCK.sub("", text(page))) if "://" not in link]


def test_the_table_of_commands_has_every_verb() -> None:
    table = "".join(line for line in text(ROOT / "README.md").splitlines(keepends=True) if line.startswith("| `"))
    words = set(re.findall(r"[a-z-]+", table))
    # the builder's own, and those that the text after the table explains
    assert set(VERBS) - words <= {"fetch-blob", "fetch-image", "help", "completion", "man"}


def test_the_table_of_commands_has_the_groups_of_the_help() -> None:
    page = text(ROOT / "README.md")
    table = page[page.index("## Commands") : page.index("## How it works")]
    parts = re.split(r"^\| \*\*(.+)\*\* \| \|$", table, flags=re.MULTILINE)[1:]
    listed = {
        title: [verb for cell in re.findall(r"^\| (`.*?`) \|", rows, re.MULTILINE) for verb in _verbs(cell)]
        for title, rows in zip(parts[::2], parts[1::2], strict=True)
    }
    hidden = {"fetch-blob", "fetch-image"}
    assert {title: set(verbs) for title, verbs in listed.items()} == {
        title: set(verbs) - hidden for title, verbs in GROUPS.items() if title != "The command itself"
    }


def _verbs(cell: str) -> list[str]:
    """Return the verbs in a cell of the table: the first word of each code, after `nixoci`."""
    return [span.removeprefix("nixoci ").split()[0] for span in _SPAN.findall(cell)]


def test_the_required_and_the_tested_versions_are_those_of_doctor() -> None:
    page = text(ROOT / "README.md")
    section = page[page.index("## Requirements") : page.index("## Commands")]
    rows = dict(re.findall(r"^\| (\w+) \|(.*)\|$", section, re.MULTILINE))
    for name, oldest, tested in (
        ("Nix", tools.NIX, tools.TESTED_NIX),
        ("podman", tools.PODMAN, tools.TESTED_PODMAN),
        ("Linux", tools.KERNEL, tools.TESTED_KERNEL),
        ("systemd", tools.SYSTEMD, tools.TESTED_SYSTEMD),
    ):
        shown = [cell.strip() for cell in rows[name].split("|")][:2]
        assert shown == [".".join(map(str, version)) for version in (oldest, tested)]


def test_the_names_of_the_library_are_there() -> None:
    page = text(ROOT / "docs/python.md")
    listed = {span for span in _SPAN.findall(page[page.index("## Names") :]) if re.fullmatch(r"\w+", span)}
    assert listed == set(nixoci.__all__)
    used = set(re.findall(r"nixoci\.([A-Za-z_]\w*)", page))
    not_of_python = {"nixosModules", "lock", "__version__"}
    assert used - not_of_python <= listed


def test_the_page_on_containers_names_what_the_model_has() -> None:
    page = _BLOCK.sub("", text(ROOT / "docs/containers.md"))
    keys = {json_key(field) for cls in (Container, Deployment) for field in dataclasses.fields(cls)}
    values = {str(value) for choice in (Backend, Notify, WritableLayer) for value in choice}
    named = {span.partition(":")[0].partition(".")[0] for span in _SPAN.findall(page)}
    assert {"backend", "notify", "writableLayer", "secrets", "settings", "dependsOn", "runtime"} <= named & keys
    assert values - {"volatile", "persistent"} <= named
