"""The networks and ports of a service."""

from nixoci.compose.node import Node
from nixoci.compose.service import Service, resource_name
from nixoci.compose.values import port_fields
from nixoci.container import notation
from nixoci.errors import ContainerError

DEFAULT = "default"
"""The network that a service without `networks` joins."""

_OPTIONS = {"ipv4_address": "ip", "ipv6_address": "ip6", "mac_address": "mac", "interface_name": "interface_name"}
_WITHOUT_EFFECT = {"aliases", "priority", *_OPTIONS}


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
    fields = node.items(service.path(f"networks.{name}"))
    aliases = [service.name]
    if "aliases" in fields:
        aliases += [
            item.text("aliases") for item in fields["aliases"].sequence(service.path(f"networks.{name}.aliases"))
        ]
    options = [f"alias={alias}" for alias in dict.fromkeys(aliases)]
    options += [
        f"{option}={fields[key].text(service.path(f'networks.{name}.{key}'))}"
        for key, option in _OPTIONS.items()
        if key in fields
    ]
    for key in fields.keys() - _WITHOUT_EFFECT:
        service.leave_out(fields[key], f"networks.{name}.{key}", "podman has no such option of a network; remove it")
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
            service.arguments.append(f"--network={mode}")


def add_ports(service: Service, node: Node) -> None:
    """Add published ports; the host's network and no network have none."""
    path = service.path("ports")
    mode = service.entries.get("network_mode")
    for item in node.sequence(path):
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
