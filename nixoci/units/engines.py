"""The services that register the images of the image store with engines besides podman."""

from dataclasses import dataclass
from pathlib import Path

from nixoci.container.model import Engine
from nixoci.container.places import register_unit
from nixoci.errors import ContainerError
from nixoci.units.common import default_target
from nixoci.units.directories import UnitsOutput, write_unit
from nixoci.units.escape import UnitFile, command, literal
from nixoci.units.images import add_images_service
from nixoci.units.install import link_wants
from nixoci.units.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The way to an engine: arguments of `nixoci register`, and the units that it runs after and before."""

    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


_K3S = "/run/k3s/containerd/containerd.sock"
_WAYS = {
    # dockerd reads its files when it starts
    Engine.DOCKER: _Way(arguments=("docker",), before=("docker.service",)),
    Engine.DOCKER_CONTAINERD: _Way(
        arguments=("containerd", "--namespace", "moby"), after=("containerd.service",), before=("docker.service",)
    ),
    Engine.CONTAINERD: _Way(arguments=("containerd",), after=("containerd.service",)),
    Engine.KUBERNETES: _Way(
        arguments=("containerd", "--namespace", "k8s.io"), after=("containerd.service",), before=("kubelet.service",)
    ),
    Engine.K3S: _Way(arguments=("containerd", "--namespace", "k8s.io", "--address", _K3S), after=("k3s.service",)),
}


def engine_service(engine: Engine, store: Path, tools: Tools) -> UnitFile:
    """Return the service that registers the images of an image store with an engine."""
    way = _WAYS[engine]
    unit = UnitFile(f"{register_unit(engine)}.service")
    unit.add("Unit", "Description", literal(f"Images of the image store for {engine}"))
    add_images_service(unit)
    for other in way.after:
        unit.add("Unit", "Requires", literal(other))
        unit.add("Unit", "After", literal(other))
    for other in way.before:
        unit.add("Unit", "Before", literal(other))
    program = ["--ctr", tools.ctr] if way.arguments[0] == "containerd" else []
    arguments = [way.arguments[0], str(store), *way.arguments[1:], *program]
    unit.add("Service", "Type", literal("oneshot"))
    # so that a store that has changed restarts it
    unit.add("Service", "RemainAfterExit", literal("yes"))
    unit.add("Service", "ExecStart", command([tools.nixoci, "register", *arguments]))
    unit.add("Install", "WantedBy", literal(default_target(user=False)))
    return unit


def write_engine_services(output: UnitsOutput, engines: list[Engine]) -> None:
    """Write the services of the engines of a deployment, and the links by which they start.

    Raises:
        ContainerError: There is no image store for them.
    """
    if not engines:
        return
    if output.image_store is None:
        raise ContainerError("engines: they find the images of an image store; set imageStore")
    for engine in engines:
        unit = engine_service(engine, output.image_store.path, output.tools)
        write_unit(output.units, unit)
        link_wants(output, unit.name)
