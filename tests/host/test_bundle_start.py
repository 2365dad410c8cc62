"""The start of a bundle without systemd-tmpfiles: owner and mode of /, and a start after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.host.prepared import sample_host
from tests.host.test_containers import PLAIN_IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.containers import Host

# the first line of a dump is that of /
OWNED = """
dump = path / "metadata.dump"
first, *rest = dump.read_text().splitlines(keepends=True)
fields = first.split(" ")
fields[2], fields[4], fields[5] = "41751", "33", "34"
dump.write_text(" ".join(fields) + "".join(rest))
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host() as made:
        machine = made.machine
        machine.run(["/opt/nixoci/bin/python3", "-c", PLAIN_IMAGE + OWNED], cwd="/src", env={"PYTHONPATH": "/src"})
        # what a layer is kept on must not be an overlay, as this machine's /var is
        machine.run(["mkdir", "/var/lib/nixoci"])
        machine.run(["mount", "-t", "tmpfs", "state", "/var/lib/nixoci"])
        made.paths = {"owned": machine.run(["nix-store", "--add", "/tmp/plain"]).stdout.strip()}  # noqa: S108
        made.hashes = made.measure()
        yield made


@pytest.mark.parametrize("layer", ["volatile", "persistent"])
def test_the_root_has_the_owner_and_mode_of_the_images(host: Host, layer: str) -> None:
    # below /nix: from the overlay that /var is on, an EROFS file is mounted by a loop device, and the machine has none
    container = {"image": "owned", "backend": "bundle", "networks": ["none"], "writableLayer": layer}
    host.deploy(f"/nix/{layer}", {layer: container}, imageStore=None)
    for _ in range(2):
        host.systemctl("restart", f"{layer}.service")
        pid = host.systemctl("show", "--value", "--property=MainPID", f"{layer}.service")
        shown = host.machine.run(["stat", "--format=%a %u %g", f"/proc/{pid}/root/"]).stdout
        assert shown == "1751 33 34\n"
        assert host.machine.run(["stat", "--format=%a %U", f"/run/nixoci/{layer}"]).stdout == "700 root\n"
        # to open it fails otherwise while it runs
        write = host.machine.run(["touch", "--no-create", "/run/nixoci/.runtime/usr-bin/crun"], check=False)
        assert "Read-only file system" in write.stderr
    host.systemctl("stop", f"{layer}.service")
    assert host.measure() == host.hashes


def test_a_start_after_a_crash_clears_what_was_left(host: Host) -> None:
    run = "/run/nixoci/crashed"
    container = {"image": "owned", "backend": "bundle", "networks": ["none"]}
    host.deploy("/nix/crashed", {"crashed": container}, imageStore=None)
    # as if the stop script, and systemd itself, had been killed
    host.machine.run(["mkdir", "--parents", f"{run}/root/stale", f"{run}/work/meta", f"{run}/work/work"])
    host.machine.run(["mount", "-t", "tmpfs", "left", f"{run}/root"])
    host.systemctl("start", "crashed.service")
    pid = host.systemctl("show", "--value", "--property=MainPID", "crashed.service")
    assert "stale" not in host.machine.run(["ls", f"/proc/{pid}/root/"]).stdout
    host.systemctl("stop", "crashed.service")
    assert run not in host.machine.run(["cat", "/proc/self/mounts"]).stdout
    left = host.machine.run(["find", "/run/nixoci", "-mindepth", "1", "-maxdepth", "1"]).stdout.split()
    assert sorted(left) == ["/run/nixoci/.runtime", "/run/nixoci/images"]
    assert host.machine.run(["ls", "/usr/bin/crun"]).stdout


def test_a_kept_layer_stays_until_it_is_cleaned(host: Host) -> None:
    container = {"image": "owned", "backend": "bundle", "networks": ["none"], "writableLayer": "persistent"}
    host.deploy("/nix/kept", {"kept": container | {"volumes": ["stays:/data"]}}, imageStore=None)
    for _ in range(2):
        host.systemctl("restart", "kept.service")
        pid = host.systemctl("show", "--value", "--property=MainPID", "kept.service")
        host.machine.run(["sh", "-c", f"echo more >> /proc/{pid}/root/srv/kept; echo > /proc/{pid}/root/data/held"])
    assert host.machine.run(["cat", f"/proc/{pid}/root/srv/kept"]).stdout == "more\nmore\n"
    host.systemctl("stop", "kept.service")
    host.systemctl("clean", "--what=state", "kept.service")
    host.systemctl("start", "kept.service")
    pid = host.systemctl("show", "--value", "--property=MainPID", "kept.service")
    assert host.machine.run(["ls", f"/proc/{pid}/root/srv", f"/proc/{pid}/root/data"]).stdout.split() == [
        f"/proc/{pid}/root/data:",
        "held",
        f"/proc/{pid}/root/srv:",
    ]
    host.systemctl("stop", "kept.service")
    assert host.machine.run(["stat", "--format=%a", "/var/lib/nixoci/volumes"]).stdout == "700\n"
    assert host.measure() == host.hashes


def test_a_layer_that_cannot_be_kept_is_refused_by_the_options_name(host: Host) -> None:
    container = {"image": "owned", "backend": "bundle", "networks": ["none"], "writableLayer": "persistent"}
    host.deploy("/nix/refused", {"refused": container | {"restart": "no"}}, imageStore=None)
    host.machine.run(["mkdir", "/nix/over", "/nix/over/upper", "/nix/over/work"])
    layers = "lowerdir=/usr/share,upperdir=/nix/over/upper,workdir=/nix/over/work"
    host.machine.run(["mount", "-t", "overlay", "overlay", "-o", layers, "/var/lib/nixoci"])
    try:
        assert host.machine.run(["systemctl", "start", "refused.service"], check=False).returncode == 1
    finally:
        host.machine.run(["umount", "/var/lib/nixoci"])
    assert "error: containers.refused.writableLayer: " in host.machine.journal("refused.service")
    assert "/run/nixoci/refused" not in host.machine.run(["cat", "/proc/self/mounts"]).stdout
    # systemd cleans no failed unit (systemctl(1), `clean`)
    clean = ["systemctl", "clean", "--what=state", "refused.service"]
    assert "not inactive" in host.machine.run(clean, check=False).stderr
    host.systemctl("reset-failed", "refused.service")
    host.machine.run(clean)
    assert "refused" not in host.machine.run(["ls", "/var/lib/nixoci"]).stdout.split()


def test_a_container_without_time_to_end_is_killed_and_taken_down(host: Host) -> None:
    container = {"image": "owned", "backend": "bundle", "networks": ["none"], "stopTimeout": 0}
    host.deploy("/nix/killed", {"killed": container}, imageStore=None)
    host.systemctl("start", "killed.service")
    host.systemctl("stop", "killed.service")
    assert host.machine.run(["systemctl", "is-failed", "killed.service"], check=False).stdout == "inactive\n"
    assert "/run/nixoci/killed" not in host.machine.run(["cat", "/proc/self/mounts"]).stdout
    assert not host.machine.run(["sh", "-c", "ls -d /run/nixoci/killed || :"]).stdout
