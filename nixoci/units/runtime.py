"""The OCI runtimes that run bundles, and the differences between their commands.

A container's processes belong to its unit: the unit's limits apply to them, and the unit ends them. crun has an option
to leave them in the cgroup that it is started in. runc always makes a cgroup, and config.json can only name it by a
path relative to runc's own. So runc is started in a subgroup of the unit's (systemd.exec(5), `DelegateSubgroup=`,
systemd 254).
"""

from dataclasses import dataclass

from nixoci.bundle.config import CGROUP
from nixoci.container.model import Runtime
from nixoci.container.resolve import ResolvedContainer
from nixoci.units.tools import Tools

_OPTION = {Runtime.CRUN: "--cgroup-manager=disabled", Runtime.RUNC: ""}
_STATE = {Runtime.CRUN: "/run/crun", Runtime.RUNC: "/run/runc"}
_SUBGROUP = {Runtime.CRUN: None, Runtime.RUNC: f"{CGROUP}-start"}


def runtime_program(runtime: Runtime, tools: Tools) -> str:
    """Return the program of a runtime."""
    return {Runtime.CRUN: tools.crun, Runtime.RUNC: tools.runc}[runtime]


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one runtime for one container."""

    name: str
    program: str
    runtime: Runtime

    @classmethod
    def of(cls, container: ResolvedContainer, tools: Tools) -> "Commands":
        """Return the commands for a container."""
        runtime = container.parsed.runtime
        return cls(container.name, runtime_program(runtime, tools), runtime)

    @property
    def option(self) -> str:
        """The global option of the command `run`, empty without one."""
        return _OPTION[self.runtime]

    @property
    def state(self) -> str:
        """A path that exists as long as the runtime knows the container."""
        return f"{_STATE[self.runtime]}/{self.name}"

    @property
    def subgroup(self) -> str | None:
        """The cgroup below the unit's in which the runtime's commands must run; None for the unit's own cgroup."""
        return _SUBGROUP[self.runtime]

    @property
    def kill(self) -> list[str]:
        """The command that sends the container a signal, whose number follows."""
        return [self.program, "kill", self.name]

    def execute(self, argv: tuple[str, ...]) -> list[str]:
        """Return the command that runs another command inside the container and waits for its end."""
        return [self.program, "exec", self.name, *argv]
