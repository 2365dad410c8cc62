"""Things of a Compose file that the container model cannot express, and the places of those that it can."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nixoci.compose.node import Node, Place
from nixoci.errors import ComposeError, ContainerError

UNKNOWN = "no key of Compose that nixoci knows; remove it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """A part of a project that is left out or changed: its file and line, its path, and the way out."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The place and the path of a part of a project that became an option of the deployment."""

    place: Place
    path: str


@dataclass(slots=True, kw_only=True)
class Report:
    """The omissions of a project, and the origins of the deployment's options, by their paths there."""

    omissions: list[Omission] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)

    def leave_out(self, node: Node, path: str, message: str) -> None:
        """Add an omission; once, although two services may use the thing."""
        found = Omission(file=node.place.file, line=node.place.line, path=path, message=message)
        if found not in self.omissions:
            self.omissions.append(found)

    def fields(
        self, node: Node, path: str, known: Collection[str], lost: Mapping[str, str] | None = None
    ) -> dict[str, Node]:
        """Return the known entries of a mapping; all others are left out, except for extensions (`x-`).

        Args:
            node: The mapping.
            path: Its path.
            known: The keys that the caller reads, or that have no effect.
            lost: The reasons why other keys of Compose are left out.
        """
        entries = node.items(path)
        for key, item in entries.items():
            if key not in known and item.value is not None and not key.startswith("x-"):
                self.leave_out(item, f"{path}.{key}", (lost or {}).get(key, UNKNOWN))
        return {key: item for key, item in entries.items() if key in known}


def located(error: ContainerError, origins: Mapping[str, Origin]) -> ContainerError | ComposeError:
    """Return the error of a broken rule with the line of the Compose file instead of the option, if it is known."""
    message = str(error)
    found = [key for key in origins if message.startswith((f"{key}:", f"{key}.", f"{key}["))]
    if not found:
        return error
    key = max(found, key=len)
    return ComposeError(f"{origins[key].place}: {origins[key].path}{message.removeprefix(key)}")
