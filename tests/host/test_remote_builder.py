"""Another machine builds image stores and deltas for a Nix that builds nothing itself, and the hook publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.network import allow_ssh, join
from tests.host.registry import Registry
from tests.host.small import small_images
from tests.host.test_delta import fresh, valid
from tests.host.test_nix import build
from tests.host.test_publish_hook import index, set_up_hook

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def builder() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield machine


@pytest.fixture(scope="module")
def asking(builder: Machine) -> Iterator[Machine]:
    """A machine whose Nix has another machine build everything."""
    with Machine() as machine:
        _, address = join(machine, builder)
        allow_ssh(builder, by=machine)
        set_up_hook(machine)
        conf = f"builders = ssh-ng://root@{address} x86_64-linux /root/.ssh/id_ed25519 2\nmax-jobs = 0\n"
        machine.run(["tee", "--append", "/etc/nix/nix.conf"], input=conf)
        machine.run(["systemctl", "restart", "nix-daemon.service"])
        yield machine


@pytest.fixture(scope="module")
def stores(builder: Machine, asking: Machine) -> tuple[str, str]:
    """The image store of an image before and after its update; the builder reads the registry."""
    pair = small_images()
    built = []
    with Registry(builder) as registry:
        for version in (pair.old, pair.new):
            folder = f"/root/{version.tag}"
            write_lock(asking, folder, {version.name: locked(version, registry.push(version))})
            built += build(asking, folder, "imageStore")
    old, new = built
    return old, new


def test_image_stores_are_built_elsewhere_and_published_here(
    builder: Machine, asking: Machine, stores: tuple[str, str]
) -> None:
    old, new = stores
    assert {old, new} <= valid(builder, "daemon")
    assert {old, new} <= valid(asking, "daemon")
    assert (new, [old]) in index(asking)


def test_a_delta_is_built_elsewhere(builder: Machine, asking: Machine, stores: tuple[str, str]) -> None:
    old, new = stores
    arguments = {"from": old, "to": new, "nixoci": "/opt/nixoci"}
    options = [part for name, value in arguments.items() for part in ("--argstr", name, value)]
    delta = asking.run(["nix-build", "--no-out-link", "/src/nix/delta-of-paths.nix", *options]).stdout.strip()
    assert delta in valid(builder, "daemon")
    store = fresh(asking, "/root/received", old)
    asking.run(["nixoci", "receive", delta, "--store", store])
    assert new in valid(asking, store)
