"""One lock, and all engines at once: each runs the same image path in place, and shows the tree of an ordinary pull."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from nixoci.container.model import Backend, Container, Deployment, Engine
from nixoci.document import dump
from tests.host.cri import Cri
from tests.host.engines import ctr_output, install_runtime
from tests.host.images import INSIDE, images_dir
from tests.host.images import images as sample_images
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.test_generated import ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NAMES = ("nginx", "redis", "postgres")
SLEEP = ("sleep", "100000")
DATA = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers/storage")
BACKENDS = {"by-systemd": Backend.SYSTEMD, "by-crun": Backend.BUNDLE, "by-podman": Backend.PODMAN}

PLACES = "/dev /proc /run /sys /tmp /var/tmp"
OF_ENGINES = {"/", "/etc", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/.dockerenv", "/root"}
"""What engines themselves make in a container, and the directories that it changes."""

LISTING = f"""
skip() {{ for place in {PLACES}; do printf -- '-path %s -o ' $place; done; echo '-false'; }}
find / -xdev '(' $(skip) ')' -prune -o -type d -printf '%p %M %U %G\\n' -o -printf '%p %M %U %G %n %T@ %s %l\\n' | sort
find / -xdev '(' $(skip) ')' -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | awk '{{ print $2, $1 }}'
find / -xdev '(' $(skip) ')' -prune -o -type f -links +1 -printf '%i %p\\n' | sort --key=2 |
  awk '{{ names[$1] = names[$1] " " $2 }} END {{ for (inode in names) print names[inode] }}' | sort
getcap -r / 2> /dev/null | sort
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine with all engines, the images of one lock in each, and a container of nginx that sleeps in each.

    `ways` run a command in such a container; `before` and `after` are sizes in KiB of the engines' data.
    """

    machine: Machine
    references: dict[str, str]
    paths: dict[str, str]
    ways: dict[str, list[str]]
    cri: Callable[..., str]
    before: dict[str, int]
    after: dict[str, int]

    def show(self, way: str, *command: str) -> str:
        """Run a command in the container of an engine."""
        if way == "kubernetes":
            return self.cri(*command)
        if way == "ctr":
            return ctr_output(self.machine, self.ways[way], "three", *command)
        return self.machine.run([*self.ways[way], *command], timeout=180).stdout


WAYS = ("docker", "compose", "ctr", "kubernetes", "nspawn", "podman", *BACKENDS)


def sizes(machine: Machine) -> dict[str, int]:
    """Return the size of each engine's data, without what is mounted there."""
    return {folder: machine.used_space(folder) >> 10 for folder in DATA}


def prepare(machine: Machine, registry: Registry) -> dict[str, str]:
    """Write a lock and the deployment of the host; return the references of the images."""
    images = {name: sample_images()[name].new for name in NAMES}
    references = {name: registry.push(image) for name, image in images.items()}
    write_lock(machine, "/var/all", {name: locked(images[name], references[name]) for name in NAMES})
    containers = {
        name: Container(image="nginx", backend=backend, networks=["none"], entrypoint=[*SLEEP], stop_signal="SIGKILL")
        for name, backend in BACKENDS.items()
    }
    engines = [Engine.DOCKER, Engine.CONTAINERD, Engine.KUBERNETES]
    machine.run(["tee", "/var/all/containers.json"], input=dump(Deployment(containers=containers, engines=engines)))
    generate = ["nixoci", "generate", "--containers", "containers.json", "--output", "default.nix"]
    machine.run(generate, cwd="/var/all")
    return references


def build(machine: Machine, attribute: str) -> str:
    command = ["nix-build", "/var/all", "--no-out-link", "--attr", attribute, *ARGUMENTS]
    return machine.run(command, timeout=600).stdout.strip()


def enter(machine: Machine, unit: str) -> list[str]:
    """Return the start of a command in the namespaces of a unit's process."""
    pid = machine.run(["systemctl", "show", "--value", "--property=MainPID", unit]).stdout.strip()
    return ["nsenter", f"--target={pid}", "--mount", "--root", "--wd", "--"]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        program = install_runtime(machine)
        references = prepare(machine, registry)
        nginx, redis, _ = references.values()
        # a pod is a container of this image
        pod_image = f"version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{redis}'\n"
        machine.run(["mkdir", "--parents", "/etc/containerd"])
        machine.run(["tee", "/etc/containerd/config.toml"], input=pod_image)
        machine.run(["touch", "/etc/resolv.conf"])
        machine.run(["systemctl", "start", "docker"])
        machine.run(["docker", "network", "ls"])
        machine.run(["podman", "info"])
        machine.run(["systemctl", "stop", "docker.socket", "docker"])
        before = sizes(machine)
        machine.run(["nixoci", "switch", build(machine, "units")], timeout=300)
        machine.run(["systemctl", "start", "docker"])
        after = sizes(machine)

        machine.run(["docker", "run", "--detach", "--name=one", "--network=none", nginx, *SLEEP])
        service = {"image": nginx, "pull_policy": "never", "command": list(SLEEP), "network_mode": "none"}
        project = {"services": {"two": service | {"container_name": "two"}}}
        machine.run(["tee", "/var/all/compose.json"], input=json.dumps(project))
        machine.run(["docker", "compose", "--file", "/var/all/compose.json", "up", "--detach"])
        machine.run(["ctr", "run", "--detach", "--runc-binary", program, nginx, "three", *SLEEP])
        cri = Cri(machine)
        pod = cri.run_pod("all")
        four = cri.start(pod, "four", nginx, *SLEEP)
        store = build(machine, "imageStore")
        machine.run(["nixoci", "mstack", "/var/all/web.mstack", store, "--image", nginx])
        flags = ["--quiet", "--register=no", "--keep-unit", "--as-pid2", "--mstack=/var/all/web.mstack", *SLEEP]
        variables = ["--setenv=SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "--setenv=SYSTEMD_SECCOMP=0"]
        machine.run(["systemd-run", "--unit=by-nspawn", *variables, "systemd-nspawn", *flags])
        machine.run(["podman", "run", "--detach", "--name=six", "--network=none", nginx, *SLEEP])
        ways = {
            "docker": ["docker", "exec", "one"],
            "compose": ["docker", "exec", "two"],
            "ctr": ["ctr", "tasks", "exec", "--exec-id=list"],
            "nspawn": nspawn(machine),
            "podman": ["podman", "exec", "six"],
            "by-systemd": enter(machine, "by-systemd"),
            "by-crun": ["crun", "exec", "by-crun"],
            "by-podman": ["podman", "exec", "by-podman"],
        }
        paths = {name: build(machine, f"images.{name}") for name in NAMES}
        yield Host(
            machine=machine,
            references=references,
            paths=paths,
            ways=ways,
            cri=lambda *command: cri.execute(four, *command),
            before=before,
            after=after,
        )
        cri.remove_pod(pod)


def nspawn(machine: Machine) -> list[str]:
    """Return the start of a command in the container that systemd-nspawn runs."""
    machine.wait_for_unit("by-nspawn.service")
    script = (
        "for cgroup in /sys/fs/cgroup/system.slice/by-nspawn.service; do"
        " for tries in $(seq 600); do for pid in $(find $cgroup -name cgroup.procs -exec cat {} +); do"
        " [ \"$(tr '\\0' ' ' < /proc/$pid/cmdline)\" != 'sleep 100000 ' ] || { echo $pid; exit; }; done;"
        " sleep 0.1; done; done; exit 1"
    )
    pid = machine.run(["sh", "-c", script]).stdout.strip()
    return ["nsenter", f"--target={pid}", "--mount", "--root", "--wd", "--"]


def entries(listing: str) -> Sequence[str]:
    """Return the lines of a listing, without what engines make themselves."""
    return [line for line in listing.splitlines() if line.split(" ")[0] not in OF_ENGINES]


@pytest.fixture(scope="module")
def pulled(host: Host) -> Sequence[str]:
    """Return the listing of the image as Docker pulls it, in a container of its own."""
    ordinary = "127.0.0.1:5000/ordinary:1"
    source = f"docker://{host.references['nginx']}"
    copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", source]
    host.machine.run([*copy, f"docker://{ordinary}"], timeout=120)
    host.machine.run(["docker", "pull", "--quiet", ordinary], timeout=120)
    command = ["docker", "run", "--rm", "--network=none", ordinary, "sh", "-c", LISTING]
    return entries(host.machine.run(command, timeout=180).stdout)


@pytest.mark.parametrize("way", WAYS)
def test_every_engine_shows_the_tree_of_an_ordinary_pull(host: Host, pulled: Sequence[str], way: str) -> None:
    shown = entries(host.show(way, "sh", "-c", LISTING))
    assert sorted(set(pulled) ^ set(shown)) == []
    assert len(shown) > 1000
    assert any("-rwsr-xr-x" in line for line in shown)


def test_every_engine_finds_every_image(host: Host) -> None:
    run = host.machine.run
    for name, reference in host.references.items():
        asked = ["cat", "/etc/os-release"]
        for engine in (
            ["docker", "run", "--rm", "--network=none", "--entrypoint=", reference],
            ["podman", "run", "--rm", "--network=none", "--entrypoint=", reference],
        ):
            assert "Debian" in run([*engine, *asked]).stdout
        assert "Debian" in ctr_output(host.machine, ["ctr", "run", "--rm"], reference, f"find-{name}", *asked)
        assert reference in run(["ctr", "--namespace", "k8s.io", "images", "ls", "--quiet"]).stdout.split()


def test_no_engine_stored_an_image(host: Host) -> None:
    grown = {folder: host.after[folder] - host.before[folder] for folder in DATA}
    assert all(size < 1024 * len(NAMES) for size in grown.values()), grown


def test_the_store_is_as_it_was(host: Host) -> None:
    host.machine.run(["nix-store", "--verify-path", *host.paths.values()], timeout=120)
