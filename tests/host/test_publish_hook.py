"""`nixoci publish` as the post-build-hook of Nix, by the script of the documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.host.machine import Machine
from tests.support.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPRESSION = """
{ release, name ? "nixos-system-edge-26.05" }:
derivation {
  inherit name release; system = builtins.currentSystem; builder = "/usr/bin/python3"; args = [ "-c" ''
    import os, random
    with open(os.environ["out"], "wb") as file:
        file.write(os.environ["release"].encode() + random.Random(1).randbytes(200000))
  '' ];
}
"""
HOOK = "/etc/nix/post-build-hook"


@pytest.fixture(scope="module")
def builder() -> Iterator[Machine]:
    with Machine() as machine:
        set_up_hook(machine)
        machine.run(["tee", "/root/release.nix"], input=EXPRESSION)
        yield machine


def set_up_hook(machine: Machine) -> None:
    """Give a machine the hook of the documentation, and the cache that it fills."""
    pages = [block.text for block in blocks() if block.page == "docs/substituter.md"]
    (hook,) = (text for text in pages if text.startswith("#!/bin/sh\n# /etc/nix/post-build-hook"))
    (conf,) = (text for text in pages if text.startswith("# /etc/nix/nix.conf\npost-build-hook"))
    machine.run(["tee", HOOK], input=hook)
    machine.run(["chmod", "+x", HOOK])
    machine.run(["tee", "--append", "/etc/nix/nix.conf"], input=conf)
    machine.run(["ln", "--symbolic", "--force", "/opt/nixoci/bin/nixoci", "/usr/local/bin/nixoci"])
    key = "nix-store --generate-binary-cache-key test-1 /etc/nix/cache.key /etc/nix/cache.pub"
    machine.run(["sh", "-c", f"mkdir /srv/cache && {key}"])
    machine.run(["systemctl", "restart", "nix-daemon.service"])


def build(machine: Machine, release: str, *options: str) -> str:
    """Build a release as an ordinary user; the hook is the daemon's."""
    machine.run(["cp", "/root/release.nix", "/home/alice/release.nix"])
    command = ["nix-build", "--no-out-link", "/home/alice/release.nix", "--argstr", "release", release, *options]
    return machine.run(command, user="alice").stdout.strip()


def index(machine: Machine) -> list[tuple[str, list[str]]]:
    """Return the root of each release of the index, and the bases of its deltas."""
    text = machine.run(["zstd", "--decompress", "--stdout", "/srv/cache/deltas/index.json.zst"]).stdout
    return [
        (f"/nix/store/{release['to'][0]}", [f"/nix/store/{delta['from'][0]}" for delta in release["deltas"]])
        for release in json.loads(text)["releases"]
    ]


def test_each_build_is_published(builder: Machine) -> None:
    made = [build(builder, str(release)) for release in range(6)]
    other = build(builder, "0", "--argstr", "name", "other")
    cached = builder.run(["sh", "-c", "cat /srv/cache/*.narinfo"]).stdout
    for path in (*made, other):
        assert f"StorePath: {path}\n" in cached
    assert cached.count("Sig: test-1:") == 7
    assert index(builder) == [(made[new], [made[old] for old in range(new - 3, new)]) for new in (5, 4, 3)]
    builder.run(["nix-collect-garbage"])
    kept = [path for path in made if builder.run(["nix-store", "--check-validity", path], check=False).returncode == 0]
    assert kept == made[3:], "the bases of the next release"


def test_a_cache_that_fails_fails_no_build(builder: Machine) -> None:
    builder.run(["mv", "/srv/cache", "/srv/gone"])
    builder.run(["touch", "/srv/cache"])
    try:
        path = build(builder, "without a cache")
        assert builder.run(["nix-store", "--check-validity", path]).returncode == 0
    finally:
        builder.run(["sh", "-c", "rm /srv/cache && mv /srv/gone /srv/cache"])
