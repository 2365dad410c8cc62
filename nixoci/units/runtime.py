"""The OCI runtimes that run bundles: which command starts a container, executes in it and deletes it.

A container's processes belong to its unit, whose limits hold for them and which ends them. crun can be told to leave
them in the cgroup that it is started in. runc always makes one, which is beside its own where config.json names it by
a relative path; so it is started in a subgroup of the unit's (systemd.exec(5), `DelegateSubgroup=`, systemd 254).
"""

from dataclasses import dataclass
from pathlib import Path

from nixoci.bundle.config import CGROUP
from nixoci.container.model import Runtime
from nixoci.units.tools import Tools

_OPTIONS = {Runtime.CRUN: ["--cgroup-manager=disabled"], Runtime.RUNC: []}
_STATE = {Runtime.CRUN: "/run/crun", Runtime.RUNC: "/run/runc"}
_SUBGROUP = {Runtime.CRUN: None, Runtime.RUNC: f"{CGROUP}-start"}


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one runtime for one container."""

    name: str
    program: str
    runtime: Runtime

    @classmethod
    def of(cls, name: str, runtime: Runtime, tools: Tools) -> "Commands":
        """Return the commands for the container `name`."""
        return cls(name, tools.runc if runtime is Runtime.RUNC else tools.crun, runtime)

    @property
    def state(self) -> str:
        """What exists as long as the runtime knows the container."""
        return f"{_STATE[self.runtime]}/{self.name}"

    @property
    def subgroup(self) -> str | None:
        """The cgroup below the unit's that its own commands need to be in; None for the unit's."""
        return _SUBGROUP[self.runtime]

    def run_arguments(self, bundle: Path, *, pid_file: str | None) -> list[str]:
        """Return the arguments that run the container: in the foreground, or detached, its process in `pid_file`."""
        detached = ["--detach", f"--pid-file={pid_file}"] if pid_file else []
        return [*_OPTIONS[self.runtime], "run", f"--bundle={bundle}", *detached, self.name]

    def execute(self, argv: tuple[str, ...]) -> list[str]:
        """Return what runs one more command inside, to its end."""
        return [self.program, "exec", self.name, *argv]

    def delete(self) -> list[str]:
        """Return what ends the container and removes what the runtime knows of it."""
        return [self.program, "delete", "--force", self.name]
