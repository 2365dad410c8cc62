"""The networks and ports of a service."""

from nixoci.compose.node import Node
from nixoci.compose.report import Origin
from nixoci.compose.service import Service, resource_name
from nixoci.compose.values import port_fields
from nixoci.container import notation
from nixoci.errors import ContainerError

_PORT = ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol")
"""The keys of a port; mode, name and app_protocol are for Swarm and for other programs."""

DEFAULT = "default"
"""The network that a service without `networks` joins."""

_OPTIONS = {"ipv4_address": "ip", "ipv6_address": "ip6", "mac_address": "mac", "interface_name": "interface_name"}
_KNOWN = ("aliases", "priority", *_OPTIONS)
_LOST = dict.fromkeys(("driver_opts", "gw_priority", "link_local_ips"), "podman has no such option; remove it")


def add_network(service: Service) -> None:
    """Add the networks of a service, in which it has its own name as an alias."""
    entries = service.entries
    mode = entries.get("network_mode")
    if mode is not None:
        if "networks" in entries:
            raise mode.error(f"{service.path('network_mode')}: there are networks too; remove one of the two")
        _add_mode(service, mode)
        return
    known = service.project.section("networks")
    for name, node in joined_networks(service).items():
        if name != DEFAULT and name not in known:
            raise node.error(f"{service.path('networks')}: no network {name!r}; declare it under networks")
        service.at = Origin(place=node.place, path=service.path("networks"))
        network = resource_name(service.project, "networks", name)
        service.append("networks", ":".join((network, ",".join(_options(service, name, node)))))


def joined_networks(service: Service) -> dict[str, Node]:
    """Return the networks that a service joins, by their keys; without any, it joins the default one."""
    if "network_mode" in service.entries:
        return {}
    node = service.entries.get("networks")
    if node is not None and isinstance(node.value, list):
        joined = {item.text(service.path("networks")): Node(value=None, place=item.place) for item in node.value}
    else:
        joined = node.items(service.path("networks")) if node is not None else {}
    return joined or {DEFAULT: Node(value=None, place=service.node.place)}


def _options(service: Service, name: str, node: Node) -> list[str]:
    fields = service.fields(node, f"networks.{name}", _KNOWN, _LOST)
    aliases = [service.name]
    if "aliases" in fields:
        path = service.path(f"networks.{name}.aliases")
        aliases += [item.text(path) for item in fields["aliases"].sequence(path)]
    options = [f"alias={alias}" for alias in dict.fromkeys(aliases)]
    options += [
        f"{option}={fields[key].text(service.path(f'networks.{name}.{key}'))}"
        for key, option in _OPTIONS.items()
        if key in fields
    ]
    if "mac_address" in service.entries and "mac_address" not in fields:
        options.append(f"mac={service.entries['mac_address'].text(service.path('mac_address'))}")
    return options


def _add_mode(service: Service, node: Node) -> None:
    mode = node.text(service.path("network_mode"))
    kind, _, name = mode.partition(":")
    match kind:
        case "service" if name in service.containers:
            service.set("networks", [f"container:{service.containers[name]}"])
        case "service":
            raise node.error(f"{service.path('network_mode')}: no service {name!r}; name another")
        case "container" if name:
            service.set("networks", [mode])
        case "host" | "none" if not name:
            service.set("networks", [mode])
        case "bridge" | "default" if not name:
            return  # podman's own network, which a container without networks has
        case _:
            service.add_argument(f"--network={mode}")


def add_ports(service: Service, node: Node) -> None:
    """Add published ports; the host's network and no network have none."""
    path = service.path("ports")
    mode = service.entries.get("network_mode")
    for item in service.each(node.sequence(path), "ports"):
        if not item.is_scalar:
            service.fields(item, "ports", _PORT)
        if mode is not None and mode.text(path) not in {"bridge", "default"}:
            service.leave_out(item, "ports", f"the network mode {mode.text(path)} publishes no port; remove it")
            continue
        fields = port_fields(item, path)
        text = str(fields)
        try:
            notation.port(path, text)
        except ContainerError:
            if "-" not in fields.published or "-" in fields.target:
                raise item.error(
                    f"{path}: {text!r} is not a port; expected [[IP:]HOST:]CONTAINER[/tcp|udp|sctp]"
                ) from None
            service.leave_out(item, "ports", f"podman picks no port of a range; publish one port instead of {text}")
            continue
        service.append("ports", text)
