"""Generations of a machine with the modules, and switches between them, with the same effect as on NixOS.

`/etc` names a generation through a link, a profile of Nix's keeps the generations, and a switch compares units as
NixOS's switch-to-configuration does.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tests.host.containers import IMAGES_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.host.machine import Machine
    from tests.host.test_modules import Modules

PROFILE = "/nix/var/nix/profiles/system"
CURRENT = "/etc/generation"
SYSTEM = "/etc/systemd/system"
WANTS = f"{SYSTEM}/multi-user.target.wants"

BUILD = """
/usr/bin/mkdir -p $out/containers
/usr/bin/ln -s $units/lib/systemd/system $out/units
/usr/bin/cat > $out/containers/storage.conf <<END
[storage]
driver = "overlay"
[storage.options]
additionalimagestores = ["$stores"]
END
exit
"""

IGNORED = {
    "AllowIsolate",
    "CollectMode",
    "Description",
    "Documentation",
    "IgnoreOnIsolate",
    "OnFailure",
    "OnFailureJobMode",
    "OnSuccess",
    "RefuseManualStart",
    "RefuseManualStop",
    "SourcePath",
    "StopWhenUnneeded",
    "X-Reload-Triggers",
}
"""Keys of [Unit] for which NixOS restarts nothing."""


class Generations:
    """The generations of one machine; the names of units identify its containers."""

    def __init__(self, modules: Modules) -> None:
        self.modules = modules
        self.machine = modules.machine

    def build(self, *given: str) -> str:
        """Build a generation from modules, and make it the newest of the profile."""
        config = "it.config"
        stores = f"{config}.virtualisation.containers.storage.settings.storage.options.additionalimagestores"
        select = (
            'derivation { name = "generation"; system = builtins.currentSystem; builder = "/bin/sh";'
            f' args = [ "-c" script ]; units = builtins.head {config}.systemd.packages;'
            f' stores = lib.concatStringsSep "\\", \\"" {stores}; }}'
        )
        script = "''" + BUILD.replace("''", "'''") + "''"
        _, path, _ = self.modules.build(*given, select=f"let script = {script}; in {select}")
        self.machine.run(["nix-env", "--profile", PROFILE, "--set", path])
        return path

    def install(self, generation: str, wanted: Sequence[str]) -> None:
        """Put the links in place by which systemd and podman find a generation, whichever it is."""
        self.machine.run(["mkdir", "--parents", WANTS, "/etc/containers"])
        self.point(generation)
        for name in self.units(generation):
            self.machine.run(["ln", "--symbolic", "--force", f"{CURRENT}/units/{name}", SYSTEM])
        for name in wanted:
            self.machine.run(["ln", "--symbolic", "--force", f"../{name}", WANTS])
        conf = ["ln", "--symbolic", "--force", f"{CURRENT}/containers/storage.conf", "/etc/containers/storage.conf"]
        self.machine.run(conf)
        self.machine.run(["systemctl", "daemon-reload"])

    def switch(self, generation: str) -> set[str]:
        """Switch to a generation; return the containers that were restarted: stopped before, started after."""
        current = self.machine.run(["readlink", CURRENT]).stdout.strip()
        changed = {
            name
            for name in self.units(generation)
            if self.parsed(current, name) != self.parsed(generation, name) and self._is_active(name)
        }
        if changed:
            self.machine.run(["systemctl", "stop", *sorted(changed)], timeout=60)
        self.point(generation)
        self.machine.run(["systemctl", "daemon-reload"])
        if changed:
            # tests switch faster than a start limit allows for; a person does not
            self.machine.run(["systemctl", "reset-failed", *sorted(changed)])
        self.machine.run(["systemctl", "start", "multi-user.target", *sorted(changed)], timeout=120)
        return {name.removesuffix(".service") for name in changed - {IMAGES_UNIT}}

    def units(self, generation: str) -> list[str]:
        """Return the names of a generation's services."""
        listed = self.machine.run(["ls", f"{generation}/units"]).stdout.split()
        return [name for name in listed if PurePosixPath(name).suffix == ".service"]

    def parsed(self, generation: str, name: str) -> dict[str, dict[str, list[str]]]:
        """Return the sections of a unit as far as they count."""
        return self.parsed_file(f"{generation}/units/{name}")

    def parsed_file(self, file: str) -> dict[str, dict[str, list[str]]]:
        """Return the sections of a unit file as far as they count."""
        sections: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        section = ""
        for line in self.machine.run(["cat", file]).stdout.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                if section != "Unit" or key not in IGNORED:
                    sections[section][key].append(value)
        return {section: dict(keys) for section, keys in sections.items()}

    def text(self, generation: str, name: str) -> str:
        """Return a unit's file."""
        return self.machine.run(["cat", f"{generation}/units/{name}"]).stdout

    def collect(self) -> None:
        """Collect garbage."""
        self.machine.run(["nix-store", "--gc"], timeout=300)

    def point(self, generation: str) -> None:
        """Name a generation as the present one; nothing is restarted."""
        self.machine.run(["ln", "--symbolic", "--force", "--no-dereference", generation, CURRENT])

    def _is_active(self, name: str) -> bool:
        return self.machine.run(["systemctl", "is-active", name], check=False).stdout.strip() == "active"


def main_pids(machine: Machine, names: Sequence[str]) -> dict[str, str]:
    """Return the main process of each unit, which has to have one."""
    show = ["systemctl", "show", "--value", "--property=MainPID"]
    found = {name: machine.run([*show, f"{name}.service"]).stdout.strip() for name in names}
    assert "0" not in found.values(), found
    return found
