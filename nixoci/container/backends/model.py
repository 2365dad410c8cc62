"""The interface of a backend's restrictions."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from nixoci.container.model import Container
from nixoci.container.parse import ParsedContainer
from nixoci.container.resolve import ResolvedContainer
from nixoci.document import json_key, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Values of an option that a backend cannot honor.

    These are data, because the Nix modules also refuse them, before anything is built (`deployment_schema`).

    Attributes:
        option: The path of the option, or of a key in its value, which then may be missing.
        reason: The text of the error after the option.
        allowed: The values that the backend can honor, as in JSON.
        user: Only units of a user's own systemd refuse them.
    """

    option: str
    reason: str
    allowed: tuple[Any, ...] = ()
    user: bool = False

    def applies(self, container: Container, *, user: bool) -> bool:
        """Return whether the container sets the option to a value that is refused."""
        if self.user and not user:
            return False
        value: Any = container
        for key in self.option.split("."):
            members = _members(value)
            if key not in members:
                return False
            value = members[key]
        return plain(value) not in self.allowed


def _members(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        return {json_key(field): getattr(value, field.name) for field in dataclasses.fields(value)}
    return value if isinstance(value, dict) else {}


class Restrictions:
    """The restrictions of a backend; this base class has none.

    Both methods raise `ContainerError`, whose message starts with the option. `user` means units of a user's own
    systemd.
    """

    refusals: ClassVar[tuple[Refusal, ...]] = ()

    def check(self, container: ParsedContainer, *, user: bool) -> None:
        """Refuse values of a container that need no image to be recognized."""

    def check_resolved(self, container: ResolvedContainer) -> None:
        """Refuse values that do not work with the container's image."""
