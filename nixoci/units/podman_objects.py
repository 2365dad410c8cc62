"""Quadlet files of podman's objects besides containers: volumes, networks, pods, and the kinds of `quadlets`."""

from nixoci.container.model import Network, Pod, Quadlet, Volume, option_path
from nixoci.container.parse import ParsedPod
from nixoci.units.common import add_namespaces, add_path, default_target
from nixoci.units.escape import UnitFile, literal, quadlet_argument, raw_argument
from nixoci.units.networks import add_networks, add_ports
from nixoci.units.settings import add_quadlet_settings
from nixoci.units.tools import Tools


def volume_file(name: str, volume: Volume, *, user: bool) -> UnitFile:
    """Return the `.volume` file of a volume; podman knows it by the same name."""
    unit = _object_file("Volume", name)
    _finish(unit, "volumes", name, volume, user=user)
    return unit


def network_file(name: str, network: Network, *, user: bool) -> UnitFile:
    """Return the `.network` file of a network; podman knows it by the same name."""
    unit = _object_file("Network", name)
    if network.internal:
        unit.add("Network", "Internal", literal("true"))
    for index, subnet in enumerate(network.subnets):
        unit.add("Network", "Subnet", raw_argument(option_path("networks", name, f"subnets[{index}]"), subnet))
    _finish(unit, "networks", name, network, user=user)
    return unit


def pod_file(pod: ParsedPod, *, user: bool) -> UnitFile:
    """Return the `.pod` file of a pod; podman knows it by the same name."""
    unit = _object_file("Pod", pod.name)
    add_ports(unit, "Pod", pod)
    add_networks(unit, "Pod", pod)
    _finish(unit, "pods", pod.name, pod.declared, user=user)
    unit.add("Install", "WantedBy", literal(default_target(user=user)))
    return unit


def other_file(name: str, quadlet: Quadlet, tools: Tools, *, user: bool) -> UnitFile:
    """Return a file of `quadlets`; its name ends with its kind, as in `app.kube`."""
    option, kind = f"quadlets.{name}", name.rpartition(".")[2].capitalize()
    unit = UnitFile(name)
    if kind in {"Container", "Kube"}:
        add_namespaces(unit, tools, user=user)
    add_path(unit, user=user)
    add_quadlet_settings(unit, f"{option}.settings.quadlet", kind, quadlet.settings.quadlet)
    unit.add_settings(f"{option}.settings.unit", quadlet.settings.unit)
    if quadlet.auto_start:
        unit.add("Install", "WantedBy", literal(default_target(user=user)))
    return unit


def _object_file(kind: str, name: str) -> UnitFile:
    """Return the beginning of the file of a volume, network or pod."""
    unit = UnitFile(f"{name}.{kind.lower()}")
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add(kind, f"{kind}Name", literal(name))
    return unit


def _finish(unit: UnitFile, group: str, name: str, item: Volume | Network | Pod, *, user: bool) -> None:
    """Add what volumes, networks and pods have in common: labels and settings."""
    kind = type(item).__name__
    for label, value in item.labels.items():
        unit.add(kind, "Label", quadlet_argument(option_path(group, name, f"labels.{label}"), f"{label}={value}"))
    add_path(unit, user=user)
    add_quadlet_settings(unit, option_path(group, name, "settings.quadlet"), kind, item.settings.quadlet)
    unit.add_settings(option_path(group, name, "settings.unit"), item.settings.unit)
