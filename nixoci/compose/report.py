"""Things of a Compose file that the container model cannot express."""

from dataclasses import dataclass, field

from nixoci.compose.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """A part of a project that is left out or changed: its file and line, its path, and the way out."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.message}"


@dataclass(slots=True, kw_only=True)
class Report:
    """The omissions of a project."""

    omissions: list[Omission] = field(default_factory=list)

    def leave_out(self, node: Node, path: str, message: str) -> None:
        """Add an omission."""
        self.omissions.append(Omission(file=node.place.file, line=node.place.line, path=path, message=message))
