"""The owner and mode of a container's top directory, which podman takes from no layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, Host
from tests.host.machine import Machine
from tests.support.layers import directory, file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = directory(b"./", mode=0o751, uid=33, gid=34)
OTHER = directory(b"./", mode=0o1755, uid=5)
LAYERS: dict[str, list[list[bytes]]] = {
    "nowhere": [[], []],
    "below": [[SAID], []],
    "above": [[], [SAID]],
    "twice": [[OTHER], [SAID]],
}
"""Entries of the top directory in the lower and the upper layer, by a name for each case."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Machine() as machine:
        # what a layer is kept on must not be an overlay, as this machine's /var is
        machine.run(["mkdir", "/var/lib/nixoci"])
        machine.run(["mount", "-t", "tmpfs", "state", "/var/lib/nixoci"])
        program = (machine.root / "usr/libexec/podman/catatonit").read_bytes()
        base = [directory(name) for name in (b"etc", b"proc", b"sys", b"dev", b"run", b"tmp", b"var/", b"var/tmp")]
        base.append(file(b"pause", program, mode=0o755))
        config = {"config": {"Cmd": ["/pause", "-P"], "StopSignal": "SIGKILL"}}
        for name, (below, above) in LAYERS.items():
            layers = [layer(*below, *base), layer(*above, file(b"etc/name", name.encode()))]
            write_layout(machine.root / f"var/tmp/{name}", layers, config=config)
            source = f"oci:/var/tmp/{name}:latest"
            machine.run(["skopeo", "copy", "--quiet", source, f"containers-storage:localhost/original-{name}"])
        yield Host.build(machine, {name: f"oci:/var/tmp/{name}:latest" for name in LAYERS})


SHOWN = {"nowhere": "755 0 0", "below": "751 33 34", "above": "751 33 34", "twice": "751 33 34"}
"""Owner and mode in the layers (image-spec layer.md), which a bundle has too."""


def shown(host: Host, pid: str) -> str:
    return host.machine.run(["stat", "--format=%a %u %g", f"/proc/{pid.strip()}/root/"]).stdout.strip()


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_what_podman_gives_the_original_or_in_a_bundle_what_the_layers_say(host: Host, name: str) -> None:
    run = ["podman", "run", "--detach", "--name=original", "--network=none", f"localhost/original-{name}"]
    host.machine.run(run)
    original = shown(host, host.machine.run(["podman", "inspect", "--format={{.State.Pid}}", "original"]).stdout)
    host.machine.run(["podman", "rm", "--force", "original"])
    base = {"image": name, "networks": ["none"]}
    ways: dict[str, dict[str, Any]] = {"": {}, "-read-only": {"readOnly": True}}
    containers = {
        f"{name}-{backend}{way}": base | {"backend": backend} | options
        for backend in BACKENDS
        for way, options in ways.items()
    }
    containers[f"{name}-bundle-kept"] = base | {"backend": "bundle", "writableLayer": "persistent"}
    host.deploy(f"/nix/{name}", containers)
    for unit in containers:
        host.systemctl("start", f"{unit}.service")
        if "-bundle" in unit:
            pid = host.systemctl("show", "--value", "--property=MainPID", f"{unit}.service")
        else:
            pid = host.machine.run(["podman", "inspect", "--format={{.State.Pid}}", unit]).stdout
        expected = SHOWN[name] if "-bundle" in unit else original
        if unit == "nowhere-bundle-read-only":
            expected = "555 0 0"  # the store's tree itself, which nobody writes
        assert shown(host, pid) == expected, unit
        host.systemctl("stop", f"{unit}.service")
