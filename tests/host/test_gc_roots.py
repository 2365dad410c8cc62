"""Images that containers still use stay in the store, through a switch, garbage collection, a stop and a reboot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import IMAGES_UNIT
from tests.host.generations import PROFILE, Generations
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.small import small_images
from tests.host.test_modules import ENABLE, FOLDER, SECCOMP, evaluator

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = "nix/var/nixoci/kept-images"
DROP_IN = "etc/containers/storage.rootful.conf.d/50-nixoci-kept-images.conf"
ROOTS = "nix/var/nix/gcroots/nixoci"
UNITS = {"unit": "podman", "tree-unit": "rootfs", "bundle-unit": "bundle"}
SLEEP = ("--network=none", "--entrypoint=sleep", "--stop-signal=KILL")


class Host:
    """A machine with three generations, each with one image, of which no two are the same."""

    def __init__(self, generations: Generations, built: list[str], names: list[str]) -> None:
        self.generations = generations
        self.machine = generations.machine
        self.built = built
        self.old_name, self.new_name, _ = names

    def image_path(self, generation: int) -> str:
        """Return the image path of a generation."""
        conf = self.machine.run(["cat", f"{self.built[generation]}/containers/storage.conf"]).stdout
        store = conf.split('additionalimagestores = ["')[1].split('"')[0]
        layer = self.machine.run(["sh", "-c", f"readlink {store}/overlay/*/diff"]).stdout.split()[0]
        return layer.removesuffix("/rootfs")

    def keep(self, generation: int) -> None:
        """Make a generation the profile's newest; nothing is restarted."""
        self.machine.run(["nix-env", "--profile", PROFILE, "--set", self.built[generation]])

    def roots(self, *options: str) -> list[dict[str, Any]]:
        """Run the command; return what it says of the roots, but for those of units and their containers."""
        printed: list[dict[str, Any]] = json.loads(self.machine.run(["nixoci", "gc-roots", "--json", *options]).stdout)
        return [root for root in printed if root["container"] not in UNITS]

    def unit_roots(self) -> dict[str, set[str]]:
        """Return the names of the roots of each unit that has any."""
        found = {
            folder.name: {file.name for file in folder.iterdir()} for folder in (self.machine.root / ROOTS).iterdir()
        }
        return {name: names for name, names in found.items() if names}

    def collect(self) -> None:
        """Forget all generations but the present one, and collect garbage."""
        self.machine.run(["nix-env", "--profile", PROFILE, "--delete-generations", "old"])
        self.generations.collect()

    def exists(self, path: str) -> bool:
        return (self.machine.root / path.lstrip("/")).exists()

    def podman(self, *command: str, check: bool = True) -> str:
        return self.machine.run(["podman", *command], check=check).stdout.strip()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Machine(binds={images_dir(): INSIDE}) as machine, evaluator(machine) as modules:
        generations = Generations(modules)
        pair, other = small_images(), small_images("other").old
        built, names = [], []
        with Registry(machine) as registry:
            for count, image in enumerate((pair.old, pair.new, other)):
                folder = f"{FOLDER}/{count}"
                entry = locked(image, registry.push(image))
                write_lock(machine, folder, {"web": entry})
                names.append(entry.reference)
                containers = "".join(
                    f'virtualisation.nixoci.containers.{name} = {{ image = "web"; networks = [ "none" ];'
                    f' backend = "{backend}"; entrypoint = [ "/usr/bin/sleep" "infinity" ]; stopSignal = "SIGKILL"; }};'
                    for name, backend in UNITS.items()
                )
                lock = f"virtualisation.nixoci.lock = {folder}/nixoci.lock.json;"
                built.append(generations.build(ENABLE, SECCOMP, containers, lock))
        # the last one is needed after the others have gone
        machine.run(["nix-store", "--realise", built[2], "--add-root", "/root/last"])
        generations.install(built[0], [f"{name}.service" for name in UNITS])
        machine.run(["systemctl", "start", *UNITS], timeout=60)
        yield Host(generations, built, names)


def test_what_still_runs_keeps_its_image_and_what_is_gone_loses_it(host: Host) -> None:
    old, new = host.image_path(0), host.image_path(1)
    assert old != new
    for name in ("running", "stopped", "removed"):
        host.podman("run", "--detach", f"--name={name}", *SLEEP, host.old_name, "infinity")
    host.podman("create", "--name=created", *SLEEP, host.old_name, "infinity")
    host.podman("run", "--detach", "--name=tree", "--network=none", "--rootfs", f"{old}/rootfs:O", "sleep", "infinity")
    host.podman("stop", "--time=0", "stopped")
    host.keep(1)
    host.generations.switch(host.built[1])

    planned = host.roots("--dry-run")
    assert {root["container"] for root in planned} == {"running", "stopped", "removed", "created", "tree"}
    assert not host.exists(KEPT)
    made = host.roots()
    assert {(root["container"], root["path"], root["change"]) for root in made} == {
        (root["container"], old, "added") for root in planned
    }
    assert {root["container"] for root in made if root["imageKept"]} == {"running", "stopped", "removed", "created"}
    assert {root["change"] for root in host.roots()} == {"kept"}

    host.collect()
    assert host.exists(old)
    assert host.podman("exec", "running", "cat", "/version") == "small 1"
    assert host.podman("exec", "tree", "cat", "/version") == "small 1"
    host.podman("start", "stopped")
    host.podman("start", "created")
    host.podman("stop", "--time=0", "running")
    host.podman("start", "running")
    for name in ("running", "stopped", "created"):
        assert host.podman("exec", name, "stat", "--format=%u %g %a", "/var/mail") == "0 8 2775"
        assert host.podman("container", "inspect", "--format={{.State.Status}}", name) == "running"
    listed = host.podman("images", "--no-trunc", "--format={{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    assert {line.split()[0] for line in listed} == {"<none>:<none>", host.new_name}
    assert len(listed) == 2
    host.machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)

    host.machine.reboot()
    host.roots()
    host.generations.collect()
    assert host.exists(old)
    host.podman("start", "running")
    assert host.podman("exec", "running", "cat", "/version") == "small 1"

    host.podman("rm", "--force", "--time=0", "removed")
    assert {root["container"] for root in host.roots() if root["change"] == "removed"} == {""}
    host.podman("rm", "--force", "--time=0", "running", "stopped", "created", "tree")
    assert {root["change"] for root in host.roots()} == {"removed"}
    assert host.roots() == []
    assert not host.exists(KEPT)
    assert not host.exists(DROP_IN)
    host.generations.collect()
    assert not host.exists(old)
    assert host.exists(new)


def test_units_keep_their_image_from_their_start_to_their_stop(host: Host) -> None:
    old, new = host.image_path(1), host.image_path(2)
    running = host.unit_roots()
    assert running.keys() == UNITS.keys()
    assert all(old.rpartition("/")[2] in names for names in running.values())
    # a generation goes while its units run on, as if they were not restarted
    host.generations.point(host.built[2])
    host.keep(2)
    host.collect()
    assert host.exists(old)
    for name, backend in UNITS.items():
        program = "crun" if backend == "bundle" else "podman"
        assert host.machine.run([program, "exec", name, "cat", "/version"]).stdout == "small 2\n"
    host.machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)
    host.machine.run(["systemctl", "stop", *UNITS], timeout=60)
    assert host.unit_roots() == {}
    host.roots()  # podman does not know the units' containers any more
    host.generations.collect()
    assert not host.exists(old)
    assert host.exists(new)
    host.machine.run(["systemctl", "daemon-reload"])
    host.machine.run(["systemctl", "restart", IMAGES_UNIT])
    host.machine.run(["systemctl", "start", *UNITS], timeout=60)
    assert all(new.rpartition("/")[2] in names for names in host.unit_roots().values())


def test_what_a_power_cut_leaves_of_a_unit_stays_for_one_run(host: Host) -> None:
    stale = host.machine.root / ROOTS / "gone"
    host.machine.run(["mkdir", f"/{ROOTS}/gone"])
    host.machine.run(["touch", f"/{ROOTS}/gone/{host.image_path(2).rpartition('/')[2]}"])
    assert stale.exists()
    before = host.unit_roots()
    assert [root["container"] for root in host.roots("--dry-run")] == ["gone"]
    assert host.unit_roots() == before
    assert [(root["container"], root["change"]) for root in host.roots()] == [("gone", "removed")]
    assert host.unit_roots().keys() == UNITS.keys()
