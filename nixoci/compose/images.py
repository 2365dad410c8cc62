"""The images of a project, by the names that they have or get in the lock."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nixoci.compose.load import Project
from nixoci.compose.node import Node
from nixoci.compose.report import Report
from nixoci.errors import NixociError
from nixoci.lock.model import Lock
from nixoci.oci.model import Platform
from nixoci.oci.platform import machine_platform
from nixoci.oci.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededImage:
    """An image of a project: its name in the lock, its reference, and the platforms that services ask for."""

    name: str
    reference: str
    platforms: list[str] = field(default_factory=list)
    locked: bool = False
    """True if the lock has it."""

    @property
    def command(self) -> list[str]:
        """The command that pins it."""
        platforms = [word for platform in self.platforms for word in ("--platform", platform)]
        return ["nixoci", "add", self.reference, "--name", self.name, *platforms]


class Images:
    """The images of services, by the names that they have or get in the lock."""

    def __init__(self, project: Project, lock: Lock) -> None:
        self._project = project
        self._lock = lock
        self._needed: dict[str, NeededImage] = {}
        self.names: dict[str, str] = {}
        """The names of images by service."""

    def find(self, service: str, node: Node, report: Report) -> bool:
        """Find a service's image; return whether there is one, and report a service without one."""
        entries = node.items(f"services.{service}")
        path = f"services.{service}"
        if "image" in entries:
            if "build" in entries:
                report.leave_out(entries["build"], f"{path}.build", "nixoci builds no images; the image is pinned")
            self.names[service] = self._pinned(service, entries)
            return True
        own = f"{self._project.name}-{service}"
        if own in self._lock.images:
            self.names[service] = own
            return True
        if "build" not in entries:
            report.leave_out(node, path, "no image; name one")
        else:
            report.leave_out(
                entries["build"],
                f"{path}.build",
                "nixoci builds no images, so the service is left out; build it, save it with `podman save --format"
                f" oci-archive`, and run `nixoci add oci-archive:FILE --name {own}`",
            )
        return False

    def needed(self) -> list[NeededImage]:
        """Return the images by name."""
        return [self._needed[name] for name in sorted(self._needed)]

    def _pinned(self, service: str, entries: Mapping[str, Node]) -> str:
        node = entries["image"]
        text = node.text(f"services.{service}.image")
        try:
            reference = Reference.parse(text)
        except NixociError as error:
            raise node.error(f"services.{service}.image: {error}") from error
        name = self._name(service, reference)
        platforms = [_platform(entries["platform"], f"services.{service}.platform")] if "platform" in entries else []
        before = self._needed.get(name)
        platforms = sorted({*platforms, *(before.platforms if before is not None else [])})
        locked = self._lock.images.get(name)
        there = locked is not None and set(platforms or [str(machine_platform())]) <= locked.platforms.keys()
        self._needed[name] = NeededImage(name=name, reference=str(reference), platforms=platforms, locked=there)
        return name

    def _name(self, service: str, reference: Reference) -> str:
        taken = {name: image.reference for name, image in self._lock.images.items()}
        taken |= {name: image.reference for name, image in self._needed.items()}
        for name, other in taken.items():
            if other == str(reference):
                return name
        choices = (reference.short_name, service, f"{self._project.name}-{service}")
        return next((name for name in choices if name not in taken), f"{choices[-1]}-image")


def _platform(node: Node, path: str) -> str:
    text = node.text(path)
    try:
        return str(Platform.parse(text).normalized)
    except NixociError as error:
        raise node.error(f"{path}: {error}") from error
