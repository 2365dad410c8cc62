"""A service while it becomes a container."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nixoci.compose.load import Project
from nixoci.compose.node import Node
from nixoci.compose.report import Report
from nixoci.container.model import Section


@dataclass(slots=True, kw_only=True)
class Service:
    """A service, and the options of its container that are known so far.

    `containers` are the names of the containers of the project's services, `home` is the user's home directory.
    """

    name: str
    node: Node
    project: Project
    report: Report
    containers: Mapping[str, str]
    home: str
    options: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    unit: dict[str, Section] = field(default_factory=dict)

    @property
    def entries(self) -> dict[str, Node]:
        """The keys of the service."""
        return self.node.items(self.path())

    def path(self, key: str = "") -> str:
        """Return the path of a key, as errors and omissions have it."""
        return f"services.{self.name}" + (f".{key}" if key else "")

    def leave_out(self, node: Node, key: str, message: str) -> None:
        """Report a part of the service that its container will not have."""
        self.report.leave_out(node, self.path(key), message)

    def set(self, option: str, value: Any) -> None:
        """Set an option of the container."""
        self.options[option] = value

    def append(self, option: str, *values: str) -> None:
        """Append to an option that is a list."""
        self.options.setdefault(option, []).extend(values)


def resource_name(project: Project, section: str, key: str) -> str:
    """Return the name that Compose gives to a volume or a network of the document."""
    entry = project.section(section).get(key)
    given = entry.items(f"{section}.{key}") if entry is not None else {}
    if "external" in given and not given["external"].is_scalar:  # as in version 2 of the format
        given = given["external"].items(f"{section}.{key}.external") | {"external": given["external"]}
    if "name" in given:
        return given["name"].text(f"{section}.{key}.name")
    return key if is_external(given, section, key) else f"{project.name}_{key}"


def is_external(entries: Mapping[str, Node], section: str, key: str) -> bool:
    """Return whether something else makes a volume, network, secret or config."""
    return "external" in entries and (
        not entries["external"].is_scalar or entries["external"].truth(f"{section}.{key}.external")
    )
