"""The interface of a backend's restrictions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from nixoci.container.model import Container
from nixoci.container.parse import ParsedContainer
from nixoci.container.resolve import ResolvedContainer


@dataclass(frozen=True, slots=True)
class Refusal:
    """An option that a backend cannot honor; `given` returns a true value if the container sets it."""

    option: str
    given: Callable[[Container], object]
    reason: str


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
