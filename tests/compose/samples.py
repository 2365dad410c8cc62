"""Projects of one Compose file, mapped without registry and machine."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixoci.compose.load import ComposeFile, Project, load_project
from nixoci.compose.project import Imported, import_project
from nixoci.compose.report import located
from nixoci.document import unstructure
from nixoci.errors import ContainerError
from nixoci.lock.model import EMPTY_LOCK, Lock
from nixoci.nix_language.declared import check_declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DIRECTORY = Path("/srv/app")


def compose_file(text: str, *, name: str = "compose.yaml", directory: Path = DIRECTORY) -> ComposeFile:
    return ComposeFile(name=name, text=textwrap.dedent(text).encode(), directory=directory)


def project(
    *texts: str,
    environment: Mapping[str, str] | None = None,
    profiles: Sequence[str] = (),
    directory: Path = DIRECTORY,
) -> Project:
    """Load a project named `app` from the texts of its files."""
    files = [
        compose_file(text, name=f"{number or ''}compose.yaml", directory=directory) for number, text in enumerate(texts)
    ]
    return load_project(files, environment=environment or {}, name="app", profiles=profiles)


def imported(*texts: str, lock: Lock = EMPTY_LOCK, **options: Any) -> Imported:
    """Import such a project; the deployment follows the rules of the container model."""
    made = import_project(project(*texts, **options), lock, home="/home/me")
    try:
        check_declared(made.deployment, lock, later=[image.name for image in made.images])
    except ContainerError as error:
        raise located(error, made.origins) from error
    return made


def document(*texts: str, **options: Any) -> Any:
    """Return the JSON document of such a project."""
    return unstructure(imported(*texts, **options).deployment)


def container(keys: str, extra: str = "", **options: Any) -> Any:
    """Return the container of a service `web` with the given lines of keys; `extra` are other top-level sections."""
    body = textwrap.indent(textwrap.dedent(keys), "    ")
    text = f"services:\n  web:\n    image: nginx\n{body}\n{textwrap.dedent(extra)}"
    return document(text, **options)["containers"]["app-web"]


def omissions(keys: str, extra: str = "", **options: Any) -> list[str]:
    """Return what is left out of such a service."""
    body = textwrap.indent(textwrap.dedent(keys), "    ")
    text = f"services:\n  web:\n    image: nginx\n{body}\n{textwrap.dedent(extra)}"
    return list(map(str, imported(text, **options).omissions))
