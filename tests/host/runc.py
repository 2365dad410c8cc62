"""runc for engines that set limits: a machine is itself a container, and has no controllers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.host.machine import Machine

PROGRAM = "/usr/local/bin/runc-without-limits"
_TEXT = """#!/usr/bin/python3
import json, os, sys

if "--bundle" in sys.argv:
    file = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    with open(file) as config:
        value = json.load(config)
    value["linux"].pop("resources", None)
    for name in ("oomScoreAdj", "rlimits"):
        value["process"].pop(name, None)
    with open(file, "w") as config:
        json.dump(value, config)
os.execv("/usr/bin/runc", ["runc", *sys.argv[1:]])
"""


def install_runc(machine: Machine) -> str:
    """Install a runc that ignores limits, and return its path."""
    machine.run(["tee", PROGRAM], input=_TEXT)
    machine.run(["chmod", "+x", PROGRAM])
    return PROGRAM
