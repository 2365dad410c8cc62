"""The networks and published ports of a container or pod in its Quadlet file."""

from nixoci.container.parse import ParsedContainer, ParsedPod
from nixoci.units.escape import UnitFile, raw_argument


def joined(*parts: str) -> str:
    """Return a notation of its parts, without those that are empty."""
    return ":".join(part for part in parts if part)


def add_ports(unit: UnitFile, section: str, item: ParsedContainer | ParsedPod) -> None:
    """Add the published ports to a section."""
    for index, port in enumerate(item.ports):
        unit.add(section, "PublishPort", raw_argument(item.option(f"ports[{index}]"), port.text))


def add_networks(unit: UnitFile, section: str, item: ParsedContainer | ParsedPod) -> None:
    """Add the networks to a section."""
    for index, network in enumerate(item.networks):
        if network.container is not None:
            value = f"container:{network.container}"
        else:
            value = joined(f"{network.name}.network" if network.declared else network.name, network.options)
        unit.add(section, "Network", raw_argument(item.option(f"networks[{index}]"), value))
