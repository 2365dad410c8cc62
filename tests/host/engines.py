"""Container engines on a machine: their runtime there, and image stores with the services that mount them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from nixoci.units.images import images_service
from nixoci.units.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.host.machine import Machine

RUNC = """\
#!/usr/bin/python3
import json, os, sys
arguments = sys.argv[1:]
for option, value in zip(arguments, arguments[1:]):
    if option == "--bundle":
        file = value + "/config.json"
        with open(file) as config:
            spec = json.load(config)
        spec["linux"].pop("resources", None)
        process = spec["process"]
        process.pop("oomScoreAdj", None)
        process["rlimits"] = [
            limit for limit in process.get("rlimits", []) if limit["type"] not in ("RLIMIT_NOFILE", "RLIMIT_NPROC")
        ]
        with open(file, "w") as config:
            json.dump(spec, config)
os.execv("/usr/bin/runc", ["runc", *arguments])
"""
"""Leaves out the limits that machines refuse: they have no controllers for them. It is found before runc itself."""


def install_runtime(machine: Machine) -> str:
    """Let the engines of a machine start containers without limits; return the runtime that they find."""
    program = "/usr/local/sbin/runc"
    machine.run(["tee", program], input=RUNC)
    machine.run(["chmod", "755", program])
    return program


def ctr_output(machine: Machine, verb: Sequence[str], *arguments: str) -> str:
    """Return what a process wrote that ctr runs, without space at the ends; a verb is ctr's, with all its options.

    containerd's shim writes it into a file: ctr itself may end before it has opened the pipe of a short command.
    """
    path = f"/run/{uuid.uuid4().hex}.log"
    ended = machine.run([*verb, f"--log-uri=file://{path}", *arguments], check=False, timeout=180)
    shown = machine.run(["cat", path], check=False).stdout.strip()
    assert ended.returncode == 0, ended.stderr + shown
    machine.run(["rm", path])
    return shown


def make_entries(machine: Machine, sources: Mapping[str, str]) -> list[str]:
    """Return an image store of each image in the Nix store; images are given as sources by their references."""
    entries = []
    for reference, source in sources.items():
        folder = f"/var/tmp/{uuid.uuid4().hex}"  # noqa: S108
        name = reference.rpartition("/")[2].replace(":", "-")
        machine.run(["mkdir", "--parents", folder])
        extract = ["nixoci", "extract", source, f"{folder}/{name}", "--name", name, "--reference", reference]
        machine.run(extract, timeout=300)
        path = machine.run(["nix-store", "--add", f"{folder}/{name}"]).stdout.strip()
        entries.append(make_store(machine, [path], name=f"{name}-store"))
        machine.run(["rm", "--recursive", "--force", folder])
    return entries


def make_store(machine: Machine, paths: Sequence[str], *, name: str = "images") -> str:
    """Return an image store in the Nix store, over image paths or other image stores, which it refers to."""
    given = " ".join(f"(builtins.storePath {path})" for path in paths)
    expression = f"""derivation {{
        name = "{name}"; system = builtins.currentSystem;
        builder = "/opt/nixoci/bin/nixoci"; args = [ "image-store" (placeholder "out") {given} ]; PATH = "/usr/bin";
    }}"""
    return machine.run(["nix-build", "--no-out-link", "--expr", expression], timeout=300).stdout.strip()


def shipped_stores(machine: Machine, images: Sequence[str]) -> list[str]:
    """Return an image store in the Nix store of each image path, as the shipped expression makes it: with a drop-in."""
    given = " ".join(f"(builtins.storePath {image})" for image in images)
    expression = f"""
        let
          make = import /src/nixoci/nix_language/expressions/image-store.nix {{
            system = builtins.currentSystem;
            nixoci = "/opt/nixoci";
            composefs = "/usr";
          }};
        in
        map (image: make [ image ]) [ {given} ]
    """
    return machine.run(["nix-build", "--no-out-link", "--expr", expression], timeout=300).stdout.split()


def mount_images(machine: Machine, *stores: str) -> None:
    """Install the service that mounts the images of stores, for this boot and the next ones."""
    programs = {name: f"/usr/bin/{name}" for name in ("crun", "mount", "umount", "rm", "sh")}
    unit = images_service([Path(store) for store in stores], Tools.find(**programs))
    machine.run(["tee", f"/etc/systemd/system/{unit.name}"], input=unit.render())
    machine.run(["systemctl", "add-wants", "--quiet", "--no-reload", "multi-user.target", unit.name])
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", unit.name], check=False)
    machine.wait_for_unit(unit.name)
