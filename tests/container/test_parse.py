from __future__ import annotations

from typing import Any

import pytest

from nixoci.container.model import Container, Deployment, Network, Runtime, Secret, Volume
from nixoci.container.notation import Device, NetworkReference, Source, Tmpfs
from nixoci.container.parse import ParsedContainer, ParsedSecret, parse_container


def parsed(**options: Any) -> ParsedContainer:
    document = Deployment(volumes={"declared": Volume()}, networks={"n": Network()})
    return parse_container("c", Container(image="i", **options), document)


@pytest.mark.parametrize(
    ("text", "kind", "source", "target", "options"),
    [
        ("/a//b/:/x/./y/:ro", Source.HOST_PATH, "/a/b", "/x/y", ("ro",)),
        ("named:/x", Source.NAMED_VOLUME, "named", "/x", ()),
        ("declared:/x:ro,nosuid", Source.DECLARED_VOLUME, "declared", "/x", ("ro", "nosuid")),
        ("/x/", Source.ANONYMOUS_VOLUME, "", "/x", ()),
    ],
)
def test_the_source_of_a_mount_has_its_kind(
    *, text: str, kind: Source, source: str, target: str, options: tuple[str, ...]
) -> None:
    (mount,) = parsed(volumes=[text]).volumes
    assert (mount.kind, mount.source, mount.target, mount.options) == (kind, source, target, options)


def test_named_volumes_are_those_with_a_name() -> None:
    made = parsed(volumes=["/a:/1", "named:/2", "declared:/3", "/4"], tmpfs=["/5:ro"])
    assert [mount.target for mount in made.named_volumes] == ["/2", "/3"]
    assert made.mount_targets == ["/1", "/2", "/3", "/4", "/5"]
    assert made.tmpfs == (Tmpfs("/5", ("ro",)),)


def test_a_secret_has_its_place_and_mode() -> None:
    secrets = {"s": Secret(source="/s"), "t": Secret(source="/t", target="/etc//t/", mode="640")}
    assert parsed(secrets=secrets).secrets == (
        ParsedSecret(name="s", source="/s", target="/run/secrets/s", mode=0o400),
        ParsedSecret(name="t", source="/t", target="/etc/t", mode=0o640),
    )


def test_a_port_is_read_and_keeps_its_notation() -> None:
    (port,) = parsed(ports=["[::1]:0090-0092:1-3/udp"]).ports
    assert (port.address, port.host, port.container, port.protocol) == ("::1", range(90, 93), range(1, 4), "udp")
    assert port.text == "[::1]:0090-0092:1-3/udp"


def test_devices_and_signals_are_complete() -> None:
    made = parsed(devices=["/dev/a", "/dev/a:/dev/b:r"], stop_signal="9")
    assert made.devices == (Device("/dev/a", "/dev/a", "rwm"), Device("/dev/a", "/dev/b", "r"))
    assert made.stop_signal == "SIGKILL"
    (device,) = parsed(devices=["nvidia.com/gpu=all"]).devices
    assert device.is_cdi
    assert not made.devices[0].is_cdi
    assert parsed().stop_signal is None


def test_networks_of_the_document_are_told_from_those_of_podman() -> None:
    made = parsed(networks=["n", "other"])
    assert made.networks == (NetworkReference("n", declared=True), NetworkReference("other", declared=False))
    assert [parsed(networks=[name]).host_network for name in ("host", "none", "n")] == [True, False, False]
    assert [parsed(networks=[name]).no_network for name in ("host", "none", "n")] == [False, True, False]


def test_a_bundle_has_a_runtime() -> None:
    assert parsed().runtime is Runtime.CRUN
    assert parsed(runtime=Runtime.RUNC).runtime is Runtime.RUNC
