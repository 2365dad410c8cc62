"""Nix on one machine updates from a binary cache on another, through `nixoci substituter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.host.binary_cache import BinaryCache
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.network import allow_ssh, join
from tests.host.test_delta import build_pair, infos

if TYPE_CHECKING:
    from collections.abc import Iterator


ADDRESS = "http://127.0.0.1:8642"


@pytest.fixture(scope="module")
def near() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield machine


@pytest.fixture(scope="module")
def cache(near: Machine) -> Iterator[BinaryCache]:
    with BinaryCache(near) as running:
        yield running


@pytest.fixture(scope="module")
def far(near: Machine, cache: BinaryCache) -> Iterator[Machine]:
    """A machine whose Nix trusts the cache's key, and asks the substituter first."""
    with Machine() as machine:
        address, there = join(near, machine)
        allow_ssh(machine, by=near)
        upstream = f"http://{address}:{cache.port}"
        conf = f"substituters = {ADDRESS} {upstream}\ntrusted-public-keys = {cache.public_key}\n"
        machine.run(["tee", "--append", "/etc/nix/nix.conf"], input=conf)
        machine.run(["systemctl", "restart", "nix-daemon.service"])
        machine.run(["tee", "/root/there"], input=there)
        unit = ["systemd-run", "--quiet", "--unit=substituter", "--collect", "--setenv=PATH=/usr/bin:/opt/nixoci/bin"]
        machine.run([*unit, "/opt/nixoci/bin/nixoci", "substituter", "--upstream", upstream])
        yield machine


def give(near: Machine, far: Machine, path: str) -> None:
    """Copy a closure to the far machine without the cache."""
    there = far.run(["cat", "/root/there"]).stdout
    near.run(["nix", "copy", "--to", f"ssh://{there}", "--no-check-sigs", path], timeout=300)


def test_an_update_travels_as_a_delta(near: Machine, far: Machine, cache: BinaryCache) -> None:
    old, new = build_pair(near)
    give(near, far, old)
    cache.add(new)
    published = cache.publish(old, new)
    cache.answers()
    done = far.run(["nix-store", "--realise", new], user="alice", check=False)
    print(done.stderr)
    print(far.journal("substituter"))
    answers = cache.answers()
    print(published, answers)
    assert infos(far, new) == infos(near, new)
    assert 0
