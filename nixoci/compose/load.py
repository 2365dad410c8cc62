"""A project: its files with variables replaced, `include` and `extends` followed, merged, and its services chosen."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nixoci.compose.dotenv import read_dotenv
from nixoci.compose.interpolate import interpolated
from nixoci.compose.merge import merged, without_reset
from nixoci.compose.node import Node, Place
from nixoci.compose.yaml_file import read_yaml
from nixoci.errors import ComposeError, read_failure

DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""The names of a project's file, by precedence."""

OVERRIDE_FILES = tuple(f"{Path(name).stem}.override{Path(name).suffix}" for name in DEFAULT_FILES)
"""The names of the file that merges with it."""

_SERVICE = re.compile(r"[a-zA-Z0-9._-]+")
_NOT_IN_NAME = re.compile(r"[^a-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeFile:
    """The text of a file, its name in errors, and the base of its relative paths."""

    name: str
    text: bytes
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project's merged document; only the services of the chosen profiles are in it."""

    name: str
    variables: Mapping[str, str]
    document: Node
    services: dict[str, Node]
    inactive: frozenset[str]
    """Services whose profiles are not chosen."""
    profiles: tuple[str, ...]
    """The profiles of its services."""
    unknown_profiles: tuple[str, ...]
    """Profiles that are chosen and of which there is no service, which Compose ignores."""
    missing: Mapping[str, Node]
    """Variables that are used and not set, each with the first text that has it."""

    def section(self, name: str) -> dict[str, Node]:
        """Return the entries of a top-level mapping such as `volumes`."""
        found = self.document.items("document").get(name)
        return {} if found is None else found.items(name)


@dataclass(slots=True, kw_only=True)
class _Loader:
    variables: Mapping[str, str]
    missing: dict[str, Node] = field(default_factory=dict)

    def document(self, file: ComposeFile, trail: tuple[str, ...] = ()) -> Node:
        """Return a file's content, with what it includes and extends."""
        node = self._content(file)
        entries = node.items("file")
        services = entries["services"].items("services") if "services" in entries else {}
        if services:
            resolved = {name: self._extended(name, services, file, trail) for name in services}
            node = replace(node, value={**entries, "services": replace(entries["services"], value=resolved)})
        if "include" in entries:
            included = [self._included(item, trail) for item in entries["include"].sequence("include")]
            for each in reversed(included):
                node = merged(each, node)
        return node

    def _content(self, file: ComposeFile) -> Node:
        node = read_yaml(file.text, file=file.name, directory=file.directory)
        node.items("file")
        return interpolated(node, self.variables, self.missing)

    def _included(self, item: Node, trail: tuple[str, ...]) -> Node:
        fields = {"path": item} if item.is_scalar else item.items("include")
        _refuse_others(fields, "include", ("path", "project_directory", "env_file"), item)
        if "path" not in fields:
            raise item.error("include: path is missing; name a file")
        paths = [item.place.directory / each.text("include") for each in fields["path"].one_or_more("include")]
        base = paths[0].parent if paths else item.place.directory
        if "project_directory" in fields:
            base = item.place.directory / fields["project_directory"].text("include.project_directory")
        loader = self
        if "env_file" in fields:
            variables = dict(self.variables)
            for each in fields["env_file"].one_or_more("include.env_file"):
                variables = {
                    **read_dotenv(item.place.directory / each.text("include.env_file"), variables),
                    **variables,
                }
            loader = replace(self, variables=variables)
        node = Node(value={}, place=item.place)
        for path in paths:
            name = str(path)
            if name in trail:
                raise item.error(f"include: {path} includes itself; remove one of the two")
            node = merged(node, loader.document(_opened(path, item, base), (*trail, name)))
        return node

    def _extended(self, name: str, services: Mapping[str, Node], file: ComposeFile, trail: tuple[str, ...]) -> Node:
        """Return a service with what it extends."""
        service = services[name]
        fields = service.items(f"services.{name}")
        if "extends" not in fields:
            return service
        extends = fields["extends"]
        own = replace(service, value={key: value for key, value in fields.items() if key != "extends"})
        told = {"service": extends} if extends.is_scalar else extends.items(f"services.{name}.extends")
        _refuse_others(told, f"services.{name}.extends", ("file", "service"), extends)
        if "service" not in told:
            raise extends.error(f"services.{name}.extends: service is missing; name one")
        wanted = told["service"].text(f"services.{name}.extends.service")
        step = f"{file.name}#{name}"
        if step in trail:
            raise extends.error(f"services.{name}.extends: a circle of services; remove one of them")
        if "file" in told:
            path = extends.place.directory / told["file"].text(f"services.{name}.extends.file")
            file = _opened(path, extends, path.parent)
            content = self._content(file).items("file")
            services = content["services"].items("services") if "services" in content else {}
        if wanted not in services:
            raise extends.error(f"services.{name}.extends: {file.name} has no service {wanted!r}; name another")
        return merged(self._extended(wanted, services, file, (*trail, step)), own, ("services", name))


def project_variables(
    directory: Path, *, environment: Mapping[str, str], env_files: Sequence[Path] = ()
) -> dict[str, str]:
    """Return the variables of a project in a directory: those of `env_files`, or of `.env`, and the environment.

    Raises:
        ComposeError: A line is not a variable.
        OSError: A file cannot be read.
    """
    dotenv = directory / ".env"
    found: dict[str, str] = {}
    for file in env_files or ([dotenv] if dotenv.is_file() else []):
        found |= read_dotenv(file, {**found, **environment})
    return {**found, **environment}


def load_project(
    files: Sequence[ComposeFile],
    *,
    environment: Mapping[str, str],
    name: str | None = None,
    profiles: Collection[str] = (),
    env_files: Sequence[Path] = (),
) -> Project:
    """Read a project.

    Args:
        files: Its files; later ones have precedence, and relative paths begin at the directory of the first.
        environment: Variables, which have precedence over those of `.env` and `env_files`.
        name: The project's name; by default that of the first file's directory.
        profiles: Profiles whose services are chosen besides those without a profile; `*` chooses all.
        env_files: Files of variables in place of `.env`.

    Raises:
        ComposeError: A file is not a Compose file; the message starts with the file and the line.
        OSError: A file cannot be read.
    """
    directory = files[0].directory
    variables = project_variables(directory, environment=environment, env_files=env_files)
    given = name or variables.get("COMPOSE_PROJECT_NAME") or _declared_name(files, variables)
    project = _NOT_IN_NAME.sub("", (given or directory.resolve().name).lower()).lstrip("_-")
    if not project or (given and project != given):
        raise ComposeError(
            f"project name {given or directory.name!r}: expected lower-case letters, digits, - and _; give"
            " --project-name"
        )
    loader = _Loader(variables={**variables, "COMPOSE_PROJECT_NAME": project})
    document = Node(value={}, place=Place(file=files[0].name, line=1, directory=directory))
    for each in files:
        document = merged(document, loader.document(replace(each, directory=directory), (each.name,)))
    document = without_reset(document)
    chosen = {*profiles, *filter(None, variables.get("COMPOSE_PROFILES", "").split(","))}
    entries = document.items("file")
    services = entries["services"].items("services") if "services" in entries else {}
    if not services:
        raise document.error("services: there are none; name a Compose file with services")
    known = sorted({text for key, service in services.items() for text in _profiles(key, service)})
    active = {key: service for key, service in services.items() if _is_active(key, service, chosen)}
    if not active:
        raise document.error(f"services: all are of profiles that are not chosen; give --profile {known[0]}")
    return Project(
        name=project,
        variables=loader.variables,
        document=document,
        services=active,
        inactive=frozenset(services.keys() - active.keys()),
        profiles=tuple(known),
        unknown_profiles=tuple(sorted(chosen - {*known, "*"})),
        missing=loader.missing,
    )


def _is_active(name: str, service: Node, chosen: Collection[str]) -> bool:
    if not _SERVICE.fullmatch(name):
        raise service.error(f"services: {name!r} cannot be a name; use letters, digits, _ . -")
    own = _profiles(name, service)
    return not own or "*" in chosen or not own.isdisjoint(chosen)


def _profiles(name: str, service: Node) -> set[str]:
    fields = service.items(f"services.{name}")
    if "profiles" not in fields:
        return set()
    return {item.text(f"services.{name}.profiles") for item in fields["profiles"].sequence(f"services.{name}.profiles")}


def _declared_name(files: Sequence[ComposeFile], variables: Mapping[str, str]) -> str | None:
    """Return the name that the last file with one gives to the project."""
    for file in reversed(files):
        entries = read_yaml(file.text, file=file.name, directory=file.directory).items("file")
        if "name" in entries:
            return interpolated(entries["name"], variables, {}).text("name")
    return None


def _refuse_others(fields: Mapping[str, Node], what: str, known: Collection[str], node: Node) -> None:
    for key in fields:
        if key not in known and not key.startswith("x-"):
            raise node.error(f"{what}: no key {key!r}; expected {', '.join(known)}")


def _opened(path: Path, origin: Node, base: Path) -> ComposeFile:
    try:
        return ComposeFile(name=str(path), text=path.read_bytes(), directory=base)
    except OSError as error:
        otherwise = f"{path}: {error.strerror}; correct the path"
        raise origin.error(read_failure(path, error, otherwise=otherwise)) from error
