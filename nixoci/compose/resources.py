"""The volumes and networks of a project, which units create under the names that Compose gives them."""

from collections.abc import Collection, Mapping

from nixoci.compose.load import Project
from nixoci.compose.networks import DEFAULT
from nixoci.compose.node import Node
from nixoci.compose.report import Origin, Report
from nixoci.compose.service import is_external, resource_name
from nixoci.compose.values import text_pairs
from nixoci.container.model import Network, Section, Settings, Volume

_VOLUME = ("driver", "driver_opts", "external", "labels", "name")
_NETWORK = ("attachable", "enable_ipv4", "enable_ipv6", "internal", "ipam", *_VOLUME)
_DRIVER_OPTIONS = {"type": "Type", "device": "Device", "o": "Options"}
_DOCKER_OPTIONS = {"com.docker.network.driver.mtu": "mtu", "com.docker.network.bridge.name": "InterfaceName"}
_BRIDGE_OPTIONS = {"isolate", "metric", "mode", "mtu", "no_default_route", "vlan", "vrf"}
"""The options of podman's driver `bridge` (podman-network-create(1), `--opt`)."""


def volumes_of(project: Project, report: Report) -> dict[str, Volume]:
    """Return the volumes that a project declares and makes."""
    found = {}
    for key, node in project.section("volumes").items():
        entries = node.items(f"volumes.{key}")
        if is_external(entries, "volumes", key):
            _check_external(node, f"volumes.{key}", report)
            continue
        report.fields(node, f"volumes.{key}", _VOLUME)
        name = resource_name(project, "volumes", key)
        settings: Section = {"VolumeName": name}
        driver = entries["driver"].text(f"volumes.{key}.driver") if "driver" in entries else "local"
        if driver != "local":
            settings["Driver"] = driver
        options = entries["driver_opts"].items(f"volumes.{key}.driver_opts") if "driver_opts" in entries else {}
        for option, value in options.items():
            if option in _DRIVER_OPTIONS:
                settings[_DRIVER_OPTIONS[option]] = value.text(f"volumes.{key}.driver_opts.{option}")
            else:
                report.leave_out(value, f"volumes.{key}.driver_opts.{option}", "podman has no such option; remove it")
        labels = text_pairs(entries["labels"], f"volumes.{key}.labels") if "labels" in entries else {}
        report.origins[f"volumes.{name}"] = Origin(place=node.place, path=f"volumes.{key}")
        found[name] = Volume(labels=labels, settings=Settings(quadlet=settings))
    return found


def networks_of(project: Project, used: Collection[str], report: Report) -> dict[str, Network]:
    """Return the networks that a project makes, of those that its services use."""
    found = {}
    section = project.section("networks")
    if DEFAULT in used and DEFAULT not in section:
        section = {**section, DEFAULT: Node(value=None, place=project.document.place)}
    for key, node in section.items():
        if is_external(node.items(f"networks.{key}"), "networks", key):
            _check_external(node, f"networks.{key}", report)
            continue
        entries = report.fields(node, f"networks.{key}", _NETWORK)
        if key not in used:
            continue
        name = resource_name(project, "networks", key)
        report.origins[f"networks.{name}"] = Origin(place=node.place, path=f"networks.{key}")
        found[name] = _network(name, key, entries, report)
    return found


def _check_external(node: Node, path: str, report: Report) -> None:
    external = report.fields(node, path, ("external", "name"))["external"]
    if not external.is_scalar:
        report.fields(external, f"{path}.external", ("name",))


def _network(name: str, key: str, entries: Mapping[str, Node], report: Report) -> Network:
    path = f"networks.{key}"
    settings: Section = {"NetworkName": name}
    subnets: list[str] = []
    internal = False
    labels: dict[str, str] = {}
    for option, node in entries.items():
        match option:
            case "driver" if (driver := node.text(f"{path}.driver")) != "bridge":
                settings["Driver"] = driver
            case "driver_opts":
                _add_driver_options(node, path, settings, report, bridge=_driver(entries, path) == "bridge")
            case "enable_ipv6":
                settings["IPv6"] = node.truth(f"{path}.enable_ipv6")
            case "internal":
                internal = node.truth(f"{path}.internal")
            case "labels":
                labels = text_pairs(node, f"{path}.labels")
            case "ipam":
                subnets = _add_ipam(node, path, settings, report)
            case "enable_ipv4" if not node.truth(f"{path}.enable_ipv4"):
                report.leave_out(node, f"{path}.enable_ipv4", "podman has IPv4 in each network; remove it")
    return Network(internal=internal, subnets=subnets, labels=labels, settings=Settings(quadlet=settings))


def _driver(entries: Mapping[str, Node], path: str) -> str:
    return entries["driver"].text(f"{path}.driver") if "driver" in entries else "bridge"


def _add_driver_options(node: Node, path: str, settings: Section, report: Report, *, bridge: bool) -> None:
    """Add options of a network's driver; podman makes no network with an option that it does not know."""
    for option, value in node.items(f"{path}.driver_opts").items():
        text = value.text(f"{path}.driver_opts.{option}")
        name = _DOCKER_OPTIONS.get(option, option)
        if name == "InterfaceName":
            settings[name] = text
        elif bridge and name not in _BRIDGE_OPTIONS:
            report.leave_out(value, f"{path}.driver_opts.{option}", "podman has no such option; remove it")
        else:
            settings.setdefault("Options", []).append(f"{name}={text}")


def _add_ipam(node: Node, path: str, settings: Section, report: Report) -> list[str]:
    subnets = []
    entries = report.fields(node, f"{path}.ipam", ("config", "driver"), {"options": "podman has none; remove them"})
    if "driver" in entries and (driver := entries["driver"].text(f"{path}.ipam.driver")) != "default":
        settings["IPAMDriver"] = driver
    for each in entries["config"].sequence(f"{path}.ipam.config") if "config" in entries else []:
        for option, value in each.items(f"{path}.ipam.config").items():
            text = value.text(f"{path}.ipam.config.{option}") if value.is_scalar else ""
            match option:
                case "subnet":
                    subnets.append(text)
                case "gateway":
                    settings.setdefault("Gateway", []).append(text)
                case "ip_range":
                    settings.setdefault("IPRange", []).append(text)
                case _ if not option.startswith("x-"):
                    report.leave_out(value, f"{path}.ipam.config.{option}", "podman has no such option; remove it")
    return subnets
