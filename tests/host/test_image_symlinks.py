"""Paths that an image or a container chose are followed inside the image, never on the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.containers import Host

SECRET = "host-secret-0815"  # noqa: S105 - what must not be found


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host() as host:
        # an overlay's upper directory cannot be on an overlay, as this machine's root is
        host.machine.run(["mkdir", "--parents", "/var/tmp/state", "/var/lib/nixoci"])  # noqa: S108
        host.machine.run(["mount", "--bind", "/var/tmp/state", "/var/lib/nixoci"])  # noqa: S108
        # of the names of the image's /run/lock and /srv, on the host
        for folder in ("/run/lock", "/srv"):
            host.machine.run(["mkdir", "--parents", folder])
            host.machine.run(["tee", f"{folder}/secret"], input=SECRET)
        yield host


def job(script: str, **options: Any) -> dict[str, Any]:
    """Return a bundle that runs a script and then waits."""
    command = {"entrypoint": ["/bin/sh", "-c", f"{script}; exec sleep infinity"], "restart": "no"}
    return {"image": "python", "backend": "bundle", "networks": ["none"]} | command | options


def listing(host: Host, volume: str) -> list[str]:
    """Return what a named volume holds."""
    found = host.machine.run(["find", f"/var/lib/nixoci/volumes/{volume}", "-mindepth", "1", "-printf", "%P %u %m\\n"])
    return sorted(found.stdout.splitlines())


def test_a_new_volume_behind_a_symlink_of_the_image_is_filled_from_the_image(host: Host) -> None:
    """In Debian's images /var/run is a symlink to /run, and /var/lock one to /run/lock."""
    volumes = ["one:/var/run/lock", "two:/var/lock", "three:/var/run"]
    host.deploy("/var/volumes", {"volumes": job("sleep 1; ls -la /run/lock > /run/lock/seen", volumes=volumes)})
    host.machine.run(["systemctl", "start", "volumes"])
    # the unit is started before its program has written the file
    host.machine.run(["sh", "-c", "until grep -q . /var/lib/nixoci/volumes/*/seen; do sleep 0.1; done"])
    for name in ("one", "two", "three"):
        assert SECRET not in host.machine.run(["grep", "-r", "", f"/var/lib/nixoci/volumes/{name}"], check=False).stdout
    assert "lock root 1777" in listing(host, "three")
    assert listing(host, "one") == ["seen root 644"]
    assert not host.machine.run(["findmnt", "/run/nixoci/volumes/image"], check=False).stdout
    host.machine.run(["systemctl", "stop", "volumes"])


def test_a_new_volume_is_filled_from_the_image_and_not_from_what_a_container_made_of_it(host: Host) -> None:
    """A container with a layer of its own puts a symlink where the next deployment mounts a new volume."""
    changed = "rmdir /opt; ln -s /srv /opt"
    host.deploy("/var/first", {"keeps": job(changed, writableLayer="persistent")})
    host.machine.run(["systemctl", "start", "keeps"])
    host.machine.run(["sh", "-c", "until [ -L /var/lib/nixoci/keeps/upper/opt ]; do sleep 0.1; done"])
    host.machine.run(["systemctl", "stop", "keeps"])
    host.machine.run(["systemctl", "disable", "--quiet", "keeps"])
    host.deploy("/var/second", {"keeps": job("true", writableLayer="persistent", volumes=["opt:/opt"])})
    host.machine.run(["systemctl", "start", "keeps"])
    assert listing(host, "opt") == []
    host.machine.run(["systemctl", "stop", "keeps"])


@pytest.mark.parametrize("backend", ["podman", "bundle", "systemd"])
def test_a_new_volume_has_the_capabilities_of_the_images_programs(host: Host, backend: str) -> None:
    name = f"programs-{backend}"
    host.deploy(f"/var/{name}", {name: job("true", backend=backend, volumes=[f"{name}:/usr/bin"])})
    host.machine.run(["systemctl", "start", name])
    podmans, ours = f"var/lib/containers/storage/volumes/{name}/_data", f"var/lib/nixoci/volumes/{name}"
    volume = host.machine.root / (podmans if backend == "podman" else ours)
    # cap_net_raw+ep, as in the image
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    assert os.getxattr(volume / "ping", "security.capability") == capability
    assert [file.name for file in volume.parent.glob(".*")] == []
    host.machine.run(["systemctl", "stop", name])


def test_a_start_that_was_cut_short_while_it_copied_leaves_nothing(host: Host) -> None:
    host.deploy("/var/cut", {"cut": job("true", volumes=["cut:/var/lib"])})
    host.machine.run(
        [
            "sh",
            "-c",
            "printf '#!/bin/sh\\nkill -9 $PPID\\n' > /usr/local/bin/killing; chmod +x /usr/local/bin/killing",
        ]
    )
    start = "/var/cut/share/nixoci/bundles/cut/start"
    host.machine.run(["sed", "-i", "s,^cp=.*,cp=/usr/local/bin/killing,", start])
    assert host.machine.run(["systemctl", "start", "cut"], check=False).returncode
    assert "/run/nixoci/cut" not in host.machine.run(["findmnt", "--list", "--noheadings"]).stdout
    assert not (host.machine.root / "run/nixoci/cut").exists()
    assert not (host.machine.root / "var/lib/nixoci/volumes/cut").exists()


def test_no_store_path_was_written_to(host: Host) -> None:
    assert host.measure() == host.hashes
