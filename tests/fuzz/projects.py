"""Compose projects and records of switches that are attacked."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from nixoci.cli.common import failures_in_one_line
from nixoci.switch.perform import switch
from tests.fuzz.step import Step, command
from tests.fuzz.values import changed_bytes, changed_json, json_text
from tests.switch.test_contents import places
from tests.switch.test_runs import NEW, OLD, Systemd, output

if TYPE_CHECKING:
    from random import Random

PROJECTS = Path(__file__).parents[1] / "compose/projects"


def projects(random: Random, folder: Path) -> list[Step]:
    """Changed Compose files, with the files that they include, extend and read."""
    shutil.copytree(PROJECTS, folder / "projects")
    for file in (folder / "projects").glob("*.env"):
        if random.random() < 0.3:
            file.write_bytes(changed_bytes(random, file.read_bytes()))
    text = random.choice(sorted(PROJECTS.glob("*.yaml"))).read_bytes()
    if random.random() < 0.3:
        text = changed_bytes(random, text)
    else:  # JSON is YAML too
        text = json_text(random, changed_json(random, yaml.safe_load(re.sub(rb"!(override|reset)", b"", text))))
    (folder / "compose.yaml").write_bytes(text)
    options = ("--project-name=app", "--profile=*")
    return [
        command("import", *options, "--json"),
        command("import", *options, "--output=out.json", makes=["out.json"]),
        command("module", "out.json", "--output=out.nix", makes=["out.nix"]),
    ]


def switches(random: Random, folder: Path) -> list[Step]:
    """A changed record of a switch, from which two more start."""
    old, new = output(folder / "old", OLD), output(folder / "new", NEW)
    _switch(folder, old)
    record = places(folder).record
    record.write_bytes(json_text(random, changed_json(random, json.loads(record.read_bytes()))))
    makes = ("units", "state", "running.json")
    return [Step(run=lambda out=out: _switch(folder, out), makes=makes) for out in (new, old, new)]  # type: ignore[misc]


def _switch(folder: Path, out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, failures_in_one_line():
        Systemd(folder).use(patch)
        switch(out, places(folder))
