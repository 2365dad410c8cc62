"""A service while it becomes a container."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from nixoci.compose.load import Project
from nixoci.compose.node import Node
from nixoci.compose.report import Origin, Report
from nixoci.container.characters import NAME
from nixoci.container.model import Container, Section, option_path
from nixoci.document import json_key

_OPTION_NAMES = {option.name: json_key(option) for option in fields(Container)}


@dataclass(slots=True, kw_only=True)
class Service:
    """A service, and the options of its container that are known so far.

    `containers` are the names of the containers of the project's services, `container` is its own; `home` is the user's
    home directory. `at` is the part of the service that is read now, from which options come.
    """

    name: str
    container: str
    node: Node
    project: Project
    report: Report
    containers: Mapping[str, str]
    home: str
    at: Origin | None = None
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

    def fields(
        self, node: Node, key: str, known: Collection[str], lost: Mapping[str, str] | None = None
    ) -> dict[str, Node]:
        """Return the known entries of a mapping below a key; see `Report.fields`."""
        return self.report.fields(node, self.path(key), known, lost)

    def begin(self, key: str) -> Origin:
        """Begin with a key, and return its place: the options that the caller makes come from there."""
        self.at = Origin(place=self.entries.get(key, self.node).place, path=self.path(key))
        return self.at

    def each(self, nodes: Iterable[Node], key: str) -> Iterator[Node]:
        """Yield the items of a list; the options that the caller makes of an item come from its line."""
        for node in nodes:
            self.at = Origin(place=node.place, path=self.path(key))
            yield node

    def set(self, option: str, value: Any) -> None:
        """Set an option of the container."""
        self.options[option] = value
        self._comes_from_here(_OPTION_NAMES[option])

    def append(self, option: str, *values: str) -> None:
        """Append to an option that is a list."""
        found = self.options.setdefault(option, [])
        for value in values:
            self._comes_from_here(f"{_OPTION_NAMES[option]}[{len(found)}]")
            found.append(value)
        self._comes_from_here(_OPTION_NAMES[option])

    def add_argument(self, text: str) -> None:
        """Append an argument of podman."""
        self._comes_from_here(f"{_OPTION_NAMES['extra_options']}[{len(self.arguments)}]")
        self.arguments.append(text)

    def _comes_from_here(self, option: str) -> None:
        if self.at is not None:
            self.report.origins[option_path("containers", self.container, option)] = self.at


def resource_name(project: Project, section: str, key: str) -> str:
    """Return the name that Compose gives to a volume or a network of the document."""
    entry = project.section(section).get(key)
    given = entry.items(f"{section}.{key}") if entry is not None else {}
    if "external" in given and not given["external"].is_scalar:  # as in version 2 of the format
        given = given["external"].items(f"{section}.{key}.external") | {"external": given["external"]}
    if "name" in given:
        return checked_name(given["name"], f"{section}.{key}.name")
    return key if is_external(given, section, key) else f"{project.name}_{key}"


def checked_name(node: Node, what: str) -> str:
    """Return a name, which becomes one of podman's and of a unit.

    Raises:
        ComposeError: It cannot be one.
    """
    name = node.text(what)
    if not NAME.fullmatch(name):
        raise node.error(
            f"{what}: {name!r} cannot be a name; use letters, digits, _ . - and begin with a letter or digit"
        )
    return name


def is_external(entries: Mapping[str, Node], section: str, key: str) -> bool:
    """Return whether something else makes a volume, network, secret or config."""
    return "external" in entries and (
        not entries["external"].is_scalar or entries["external"].truth(f"{section}.{key}.external")
    )
