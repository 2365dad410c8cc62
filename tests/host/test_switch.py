"""Switches between generations of a machine: restarts, garbage collection, and a boot without a registry.

The registry is gone before the first container starts, so everything that runs was built.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.generations import PROFILE, Generations, main_pids
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.small import small_images
from tests.host.test_modules import ENABLE, FOLDER, SECCOMP, evaluator

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = {"podman": "web", "rootfs": "cache", "bundle": "job"}
"""The image that is updated under each backend."""

UPDATED = list(IMAGES)
NEIGHBORS = [f"{backend}-neighbor" for backend in IMAGES]
NAMES = UPDATED + NEIGHBORS
PID_1 = "trap 'exit 0' TERM; while :; do sleep infinity & wait $!; done"


def container(backend: str, image: str) -> str:
    """Return a container that does nothing, has a secret, and stops when it is asked to."""
    return (
        f'{{ image = "{image}"; backend = "{backend}"; networks = [ "none" ]; stopSignal = "SIGTERM";'
        f' entrypoint = [ "/bin/sh" "-c" "{PID_1}" ]; secrets.token.source = "/var/token"; }}'
    )


CONTAINERS = "\n".join(
    f"virtualisation.nixoci.containers.{name} = {container(backend, image)};"
    for backend in IMAGES
    for name, image in ((backend, IMAGES[backend]), (f"{backend}-neighbor", "small"))
)


class Switches:
    """A machine with one generation of old images, then one more for each image that is updated, the last all new."""

    def __init__(self, generations: Generations, built: list[str]) -> None:
        self.generations = generations
        self.machine = generations.machine
        self.built = built

    def pids(self) -> dict[str, str]:
        return main_pids(self.machine, NAMES)

    def inside(self, name: str, *command: str) -> str:
        """Return the output of a command inside a container."""
        program = "crun" if name.startswith("bundle") else "podman"
        return self.machine.run([program, "exec", name, *command]).stdout.strip()

    def versions(self) -> dict[str, str]:
        """Return the version of what runs in the containers whose images are updated."""
        return {name: self.inside(name, "cat", "/version") for name in UPDATED}

    def images(self, generation: str) -> dict[str, str]:
        """Return the image path of each container."""
        texts = {name: self.generations.text(generation, f"{name}.service") for name in NAMES}
        return {name: text.split("\nX-Image=")[1].splitlines()[0] for name, text in texts.items()}


@pytest.fixture(scope="module")
def switches() -> Iterator[Switches]:
    with Machine(binds={images_dir(): INSIDE}) as machine, evaluator(machine) as modules:
        generations = Generations(modules)
        machine.run(["tee", "/var/token"], input="s3cret")
        built = []
        pairs = {name: small_images(name) for name in IMAGES.values()}
        with Registry(machine) as registry:
            for count in range(len(IMAGES) + 1):
                chosen = {"small": small_images().old}
                for number, (name, pair) in enumerate(pairs.items()):
                    chosen[name] = pair.new if number < count else pair.old
                folder = f"{FOLDER}/{count}"
                entries = {name: locked(image, registry.push(image)) for name, image in chosen.items()}
                write_lock(machine, folder, entries)
                given = (ENABLE, SECCOMP, CONTAINERS, f"virtualisation.nixoci.lock = {folder}/nixoci.lock.json;")
                built.append(generations.build(*given))
            wanted = modules.value(*given, select="it.config.systemd.targets.multi-user.wants")
        assert sorted(wanted) == sorted(f"{name}.service" for name in NAMES)
        generations.install(built[0], wanted)
        machine.run(["systemctl", "start", *wanted], timeout=120)
        yield Switches(generations, built)


def test_an_updated_image_restarts_its_own_containers_and_no_neighbor(switches: Switches) -> None:
    first, versions = switches.pids(), [switches.versions()]
    for count, backend in enumerate(UPDATED, 1):
        before = switches.pids()
        assert switches.generations.switch(switches.built[count]) == {backend}
        after = switches.pids()
        assert {name for name in NAMES if before[name] != after[name]} == {backend}
        versions.append(switches.versions())
        changed = {name for name in UPDATED if versions[count][name] != versions[count - 1][name]}
        assert changed == {backend}, versions
    # all at once, and back
    assert switches.generations.switch(switches.built[0]) == set(UPDATED)
    back = switches.pids()
    assert {name for name in NAMES if first[name] != back[name]} == set(UPDATED)
    assert switches.versions() == versions[0]
    for name in NAMES:
        assert switches.inside(name, "cat", "/run/secrets/token") == "s3cret"


def test_a_neighbor_of_any_kind_restarts_nothing_else(switches: Switches) -> None:
    """Units do not depend on another container, or on its variables."""
    modules, generations = switches.generations.modules, switches.generations
    given = (ENABLE, SECCOMP, CONTAINERS, f"virtualisation.nixoci.lock = {FOLDER}/0/nixoci.lock.json;")
    extra = f"virtualisation.nixoci.containers.more = {container('podman', 'small')};"
    variable = 'virtualisation.nixoci.containers.rootfs-neighbor.environment.A = "1";'
    found = []
    for changes in ((), (extra,), (variable,)):
        _, units, _ = modules.build(*given, *changes, select="it.config.virtualisation.nixoci.units")
        found.append({name: generations.parsed_file(f"{units}/lib/systemd/system/{name}.service") for name in NAMES})
    assert found[0] == found[1]
    assert {name for name in NAMES if found[0][name] != found[2][name]} == {"rootfs-neighbor"}


def stored_images(machine: Machine) -> dict[str, bool]:
    """Return the ids of the images that podman knows, each with whether it is in a store of others."""
    listed = json.loads(machine.run(["podman", "images", "--all", "--no-trunc", "--format=json"]).stdout)
    return {image["Id"]: image.get("ReadOnly", False) for image in listed}


def own_storage(machine: Machine) -> tuple[list[str], set[str], set[str]]:
    """Return the images of podman's own storage, its layers, and those of them that containers write to."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in ("images", "layers", "containers"):
        found[kind] = []
        for prefix in ("", "volatile-"):
            file = machine.root / f"var/lib/containers/storage/overlay-{kind}/{prefix}{kind}.json"
            found[kind] += json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return (
        [image["id"] for image in found["images"]],
        {layer["id"] for layer in found["layers"]},
        {container["layer"] for container in found["containers"]},
    )


def test_garbage_is_what_no_generation_has(switches: Switches) -> None:
    machine, generations, (old, *_, new) = switches.machine, switches.generations, switches.built
    old_versions = switches.versions()
    generations.switch(new)
    new_versions = switches.versions()
    before, after = switches.images(old), switches.images(new)
    assert {name for name in NAMES if before[name] != after[name]} == set(UPDATED)
    # a generation that is kept keeps its images, and runs them
    generations.collect()
    generations.switch(old)
    assert switches.versions() == old_versions
    generations.switch(new)
    running = switches.pids()
    stores = [f"{path}/containers/storage.conf" for path in (old, new)]
    place, kept = (machine.run(["cat", conf]).stdout.split('additionalimagestores = ["')[1][:-3] for conf in stores)
    machine.run(["nix-env", "--profile", PROFILE, "--delete-generations", "old"])
    generations.collect()
    exists = {path: (machine.root / path[1:]).exists() for path in (*before.values(), *after.values(), place, kept)}
    gone = {before[name] for name in UPDATED} | {place}
    assert {path for path, there in exists.items() if not there} == gone
    machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)
    records = json.loads((machine.root / kept[1:] / "overlay-images/images.json").read_text(encoding="utf-8"))
    assert stored_images(machine) == {record["id"]: True for record in records}
    assert len(records) == len(set(after.values()))
    # containers of the first generation's image store run on, and start again from that of the new one
    assert switches.pids() == running
    assert switches.versions() == new_versions
    machine.run(["systemctl", "restart", *(f"{name}.service" for name in NAMES)], timeout=120)
    assert not set(switches.pids().items()) & set(running.items())
    assert switches.versions() == new_versions
    machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)


def test_a_boot_without_a_network_pulls_and_loads_nothing(switches: Switches) -> None:
    machine, new = switches.machine, switches.built[-1]
    versions, before = switches.versions(), own_storage(machine)
    machine.reboot()
    for name in NAMES:
        machine.wait_for_unit(f"{name}.service")
    assert machine.run(["ls", "/sys/class/net"]).stdout.split() == ["lo"]
    assert len(machine.run(["cat", "/proc/net/route"]).stdout.splitlines()) == 1
    assert machine.run(["curl", "--silent", "http://127.0.0.1:5000/v2/"], check=False).returncode == 7
    assert switches.versions() == versions
    for images, layers, written in (before, own_storage(machine)):
        assert images == []
        assert layers == written
        assert len(written) == 4  # one for each of podman's containers; bundles are none
    for name in ("podman", "podman-neighbor"):
        assert " --pull never " in switches.generations.text(new, f"{name}.service")
    for name in ("rootfs", "rootfs-neighbor"):
        assert f" --rootfs {switches.images(new)[name]}/rootfs:O" in switches.generations.text(new, f"{name}.service")
    for name in NAMES:
        assert "pull" not in machine.journal(f"{name}.service").casefold()
    machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)
