"""The links and warnings that containers have in common whose services podman's generator does not make."""

from nixoci.container.resolve import ResolvedContainer
from nixoci.units.common import default_target
from nixoci.units.directories import UnitsOutput


def write_wants(output: UnitsOutput, container: ResolvedContainer, service: str) -> None:
    """Let a container's service start with the machine, if the container starts by itself."""
    if container.declared.auto_start:
        link_wants(output, service)


def link_wants(output: UnitsOutput, service: str) -> None:
    """Let a service of the output start with the machine."""
    wants = output.units / f"{default_target(user=False)}.wants"
    wants.mkdir(exist_ok=True)
    (wants / service).symlink_to(f"../{service}")


def systemd_warnings(container: ResolvedContainer) -> list[str]:
    """Return a warning for a container whose program is systemd, which only podman prepares for."""
    if not container.runs_systemd:
        return []
    option, program, backend = container.option("backend"), " ".join(container.args), container.declared.backend
    lost = "no file systems in memory at /run and /tmp, no cgroup to write to, no stop signal of systemd"
    return [f"{option}: {program!r} is systemd, and the {backend} backend has no systemd mode ({lost}); use podman"]
