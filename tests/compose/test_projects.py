"""Projects in the style of those that people have: what is left out is named on its line, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.compose.load import ComposeFile, Project, load_project
from nixoci.compose.node import Node
from nixoci.compose.project import Imported, import_project
from nixoci.compose.report import located
from nixoci.errors import ComposeError, ContainerError
from nixoci.lock.model import EMPTY_LOCK
from nixoci.nix_language.declared import check_declared

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "projects"
PROJECTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


FREE = {"annotations", "aux_addresses", "driver_opts", "environment", "extra_hosts", "labels", "options", "sysctls"}
"""Mappings whose keys anyone may choose, and those whose keys are names or no part of a container."""
FREE |= {"configs", "depends_on", "develop", "networks", "secrets", "services", "ulimits", "volumes"}


def loaded(name: str) -> Project:
    """Load a project with all of its profiles."""
    file = FOLDER / f"{name}.yaml"
    # the projects that include or extend another one name it from the folder above
    given = ComposeFile(name=f"{name}.yaml", text=file.read_bytes(), directory=FOLDER.parent)
    return load_project([given], environment={"HOME": "/home/me"}, name="app", profiles=["*"])


def imported(project: Project) -> Imported:
    """Import a project, and check it by the rules of containers."""
    made = import_project(project, EMPTY_LOCK, home="/home/me")
    try:
        check_declared(made.deployment, EMPTY_LOCK, later=[image.name for image in made.images])
    except ContainerError as error:
        raise located(error, made.origins) from error
    return made


@pytest.mark.parametrize("name", PROJECTS)
def test_each_line_that_is_left_out_is_named(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# left out")}
    made = imported(loaded(name))
    assert {omission.line for omission in made.omissions if omission.file == f"{name}.yaml"} == marked
    assert made.deployment.containers


def mappings(node: Node, lines: set[tuple[str, int]], key: str = "") -> Iterator[tuple[str, dict[str, Node]]]:
    """Yield the mappings of a value that are read, with their keys; those of the given lines are not."""
    if (node.place.file, node.place.line) in lines or key == "include" or key.startswith("x-"):
        return
    if isinstance(node.value, dict):
        if key not in FREE:
            yield key, node.value
        if key != "develop":
            for name, item in node.value.items():
                yield from mappings(item, lines, "" if key in FREE else name)
    elif isinstance(node.value, list):
        for item in node.value:
            yield from mappings(item, lines, "")


@pytest.mark.parametrize("name", PROJECTS)
def test_no_mapping_has_a_key_that_is_lost_in_silence(name: str) -> None:
    project = loaded(name)
    before = imported(project)
    lines = {(omission.file, omission.line) for omission in before.omissions}
    without_image = [node.value for node in project.services.values() if "image" not in node.items("service")]
    for key, entries in list(mappings(project.document, lines)):
        if entries in without_image:
            continue  # the service is left out as a whole
        for added in ("zzz", "x-zzz"):
            entries[added] = Node(value="1", place=project.document.place)
            try:
                made = imported(project)
            except ComposeError as error:
                said, same = str(error), False
            else:
                said = " ".join(map(str, made.omissions))
                same = (made.deployment, made.omissions) == (before.deployment, before.omissions)
            assert same if added == "x-zzz" else "zzz" in said, key
            del entries[added]
