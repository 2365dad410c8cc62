"""A project as a deployment, and the images that it needs in the lock."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from nixoci.compose.containers import container_of
from nixoci.compose.images import Images, NeededImage
from nixoci.compose.load import Project
from nixoci.compose.networks import joined_networks
from nixoci.compose.node import Node
from nixoci.compose.report import Omission, Origin, Report
from nixoci.compose.resources import networks_of, volumes_of
from nixoci.compose.service import Service, checked_name
from nixoci.container.declared import as_declared
from nixoci.container.model import Container, Deployment, Notify, Restart
from nixoci.lock.model import Lock

_KNOWN = {"configs", "include", "name", "networks", "secrets", "services", "version", "volumes"}
"""The sections of a project."""

_SECTIONS = {"models": "nixoci runs containers alone; start the model in a service of its own"}
"""The sections that nothing expresses, and the way out."""

_CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A project as the container model has it, without images; `omissions` is what it cannot have.

    `origins` are the places of its options in the Compose files.
    """

    project: str
    deployment: Deployment
    images: list[NeededImage]
    omissions: list[Omission]
    origins: dict[str, Origin]


def import_project(project: Project, lock: Lock, *, home: str) -> Imported:
    """Map a project to a deployment.

    Args:
        project: The project.
        lock: The lock, whose names of images are kept.
        home: The home directory that `~` means; empty if there is none.

    Raises:
        ComposeError: A value is not one of its key; the message starts with the file and the line.
    """
    report = Report()
    for name, node in sorted(project.missing.items(), key=lambda item: item[0]):
        report.leave_out(node, f"${name}", "the variable is not set; it is replaced by nothing")
    images = Images(project, lock)
    chosen = {name: node for name, node in project.services.items() if images.find(name, node, report)}
    names = {name: _container_name(project, name, node) for name, node in chosen.items()}
    containers: dict[str, Container] = {}
    conditions: dict[str, set[str]] = {}
    used: set[str] = set()
    for name, node in chosen.items():
        service = Service(
            name=name,
            container=names[name],
            node=node,
            project=project,
            report=report,
            containers=names,
            home=home,
        )
        report.origins[f"containers.{names[name]}"] = service.begin("container_name")
        needed = _dependencies(service)
        for other, condition in needed.items():
            conditions.setdefault(names[other], set()).add(condition)
        if names[name] in containers:
            raise node.error(f"services.{name}.container_name: {names[name]} is another container; choose another")
        containers[names[name]] = container_of(service, images.names[name], [names[other] for other in needed])
        used.update(joined_networks(service))
    for name, wanted in conditions.items():
        containers[name] = _awaited(containers[name], wanted)
    for key, node in project.document.items("document").items():
        if key not in _KNOWN and not key.startswith("x-"):
            report.leave_out(node, key, _SECTIONS.get(key, "no section that nixoci knows; remove it"))
    return Imported(
        project=project.name,
        deployment=as_declared(
            Deployment(
                containers=containers,
                volumes=volumes_of(project, report),
                networks=networks_of(project, used, report),
            )
        ),
        images=images.needed(),
        omissions=report.omissions,
        origins=report.origins,
    )


def _container_name(project: Project, name: str, node: Node) -> str:
    entries = node.items(f"services.{name}")
    if "container_name" in entries:
        return checked_name(entries["container_name"], f"services.{name}.container_name")
    return f"{project.name}-{name}"


def _dependencies(service: Service) -> dict[str, str]:
    """Return the services that a service depends on, and the condition of each."""
    found: dict[str, str] = {}
    node = service.entries.get("depends_on")
    for name, item in _named(service, node):
        # systemd restarts a container with one that it requires, whether restart is set or not
        fields = service.fields(item, f"depends_on.{name}", ("condition", "required", "restart"))
        condition = (
            fields["condition"].text(service.path(f"depends_on.{name}.condition"))
            if "condition" in fields
            else "service_started"
        )
        required = "required" not in fields or fields["required"].truth(service.path(f"depends_on.{name}.required"))
        if condition not in _CONDITIONS:
            raise item.error(
                f"{service.path('depends_on')}.{name}: {condition!r} is no condition; expected one of"
                f" {', '.join(sorted(_CONDITIONS))}"
            )
        if _is_there(service, name, item, "depends_on", required=required):
            found[name] = condition
    for item in service.entries["links"].sequence(service.path("links")) if "links" in service.entries else []:
        name, _, alias = item.text(service.path("links")).partition(":")
        if alias and alias != name:
            service.leave_out(item, "links", f"podman has no links; give {name} the alias {alias} in a network")
        if _is_there(service, name, item, "links", required=True):
            found.setdefault(name, "service_started")
    mode = service.entries.get("network_mode")
    if mode is not None and mode.text(service.path("network_mode")).startswith("service:"):
        name = mode.text(service.path("network_mode")).removeprefix("service:")
        if name in service.containers:
            found.setdefault(name, "service_started")
    return found


def _named(service: Service, node: Node | None) -> list[tuple[str, Node]]:
    if node is None:
        return []
    if isinstance(node.value, list):
        return [(item.text(service.path("depends_on")), Node(value=None, place=item.place)) for item in node.value]
    return list(node.items(service.path("depends_on")).items())


def _is_there(service: Service, name: str, node: Node, key: str, *, required: bool) -> bool:
    if name in service.containers:
        return True
    if name in service.project.services:
        service.leave_out(node, key, f"the service {name} is left out; the container starts without it")
    elif name in service.project.inactive:
        if required:
            raise node.error(f"{service.path(key)}: {name} is of a profile that is not chosen; give its --profile")
    elif required:
        raise node.error(f"{service.path(key)}: no service {name!r}; name another")
    return False


def _awaited(container: Container, conditions: Collection[str]) -> Container:
    """Return a container as those that depend on it wait for it."""
    if "service_completed_successfully" in conditions:
        unit = container.settings.unit
        own = {"Type": "oneshot", "RemainAfterExit": True, **unit.get("Service", {})}
        restart = Restart.ON_FAILURE if container.restart is Restart.ALWAYS else container.restart
        return replace(container, restart=restart, settings=replace(container.settings, unit={**unit, "Service": own}))
    return replace(container, notify=Notify.HEALTHY) if "service_healthy" in conditions else container
