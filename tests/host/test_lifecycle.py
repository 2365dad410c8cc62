"""Services from one lock, built by Nix, through their whole life: each of three images on each backend."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, link_units
from tests.host.test_generated import ARGUMENTS
from tests.host.test_modules import named_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair
    from tests.host.machine import Machine
    from tests.host.registry import Registry

FOLDER = "/root/lifecycle"
SERVICES: dict[str, dict[str, Any]] = {
    "web": {
        "image": "nginx",
        "dependsOn": ["cache"],
        "healthcheck": {"test": ["CMD-SHELL", "test -s /run/nginx.pid"], "interval": "1s"},
    },
    "cache": {
        "image": "redis",
        "dependsOn": ["db"],
        "healthcheck": {"test": ["CMD", "redis-cli", "ping"], "interval": "1s"},
    },
    "db": {
        "image": "postgres",
        "volumes": ["data:/var/lib/postgresql/data"],
        "healthcheck": {"test": ["CMD", "pg_isready", "-q"], "interval": "1s"},
        # the bare tree has no directory of another owner than root
        "tmpfs": ["/run/postgresql:mode=1777"],
    },
}
PORTS = {"web": 80, "cache": 6379, "db": 5432}
ANSWERS = {"web": "Served by nginx", "cache": "\n", "db": "42\n"}
LAST_WORDS = {"cache": "ready to exit, bye bye", "db": "database system is shut down"}
"""Log lines of services that were given the time to end."""


class Service:
    """One container of a deployment."""

    def __init__(self, machine: Machine, kind: str, backend: str, deployment: str) -> None:
        self.machine = machine
        self.kind = kind
        self.backend = backend
        self.name = f"{kind}-{deployment}"
        self.unit = f"{self.name}.service"
        # a bundle has the host's network
        self.port = PORTS[kind] + (0 if backend == "bundle" else 10_000)

    def declared(self, deployment: str) -> dict[str, Any]:
        options = dict(SERVICES[self.kind])
        if "dependsOn" in options:
            options["dependsOn"] = [f"{name}-{deployment}" for name in options["dependsOn"]]
        if "volumes" in options:
            options["volumes"] = [f"{deployment}-{volume}" for volume in options["volumes"]]
        if self.backend == "bundle":
            options["networks"] = ["host"]
        else:
            options["ports"] = [f"127.0.0.1:{self.port}:{PORTS[self.kind]}"]
        # the tests end and start it more often than a service does
        settings = {"unit": {"Unit": {"StartLimitIntervalSec": 0}}}
        return options | {"backend": self.backend, "notify": "healthy", "settings": settings}

    def ask(self) -> str:
        """Return the answer of the service to this machine's client, or to the container's own."""
        if self.kind == "web":
            url = f"http://127.0.0.1:{self.port}"
            return self.machine.run(["curl", "--silent", f"{url}/asked-by-curl", f"{url}/"], check=False).stdout
        if self.kind == "cache":
            return self.execute("redis-cli", "incr", "counted")
        return self.query("select 6*7")

    def query(self, text: str) -> str:
        """Return the answer of the database over its port."""
        return self.execute("psql", "--host=127.0.0.1", "--username=postgres", "-tAc", text)

    def execute(self, *words: str) -> str:
        """Run a command in the container and return its output."""
        runtime = "crun" if self.backend == "bundle" else "podman"
        return self.machine.run([runtime, "exec", self.name, *words]).stdout

    def connects(self) -> bool:
        """Tell whether its port takes a connection."""
        connect = f"import socket; socket.create_connection(('127.0.0.1', {self.port}), timeout=60)"
        return self.machine.run(["python3", "-c", connect], check=False).returncode == 0

    def pid(self) -> int:
        """Return its first process."""
        if self.backend == "bundle":
            return int(self.show("MainPID"))
        return int(self.machine.run(["podman", "inspect", "--format={{.State.Pid}}", self.name]).stdout)

    def show(self, name: str) -> str:
        return self.machine.run(["systemctl", "show", "--value", f"--property={name}", self.unit]).stdout.strip()

    def answers(self) -> None:
        assert self.connects()
        answer = self.ask()
        assert ANSWERS[self.kind] in answer


class Deployment:
    """The three services, each on another backend; `turn` says which on which."""

    def __init__(self, machine: Machine, turn: int) -> None:
        name = f"turn{turn}"
        self.machine = machine
        self.services = {
            kind: Service(machine, kind, BACKENDS[(turn + number) % len(BACKENDS)], name)
            for number, kind in enumerate(SERVICES)
        }
        containers = {service.name: service.declared(name) for service in self.services.values()}
        machine.run(["tee", f"{FOLDER}/{name}.json"], input=json.dumps({"containers": containers}))
        generate = ["nixoci", "generate", "--containers", f"{name}.json", "--output", f"{name}.nix"]
        machine.run(generate, cwd=FOLDER)
        build = ["nix-build", f"{FOLDER}/{name}.nix", "--no-out-link", "--attr"]
        self.store = machine.run([*build, "imageStore", *ARGUMENTS], timeout=600).stdout.strip()
        self.units = machine.run([*build, "units", *ARGUMENTS], timeout=600).stdout.strip()

    @property
    def in_order(self) -> list[Service]:
        """The services, each before those that depend on it."""
        return [self.services[kind] for kind in ("db", "cache", "web")]

    def start(self) -> None:
        link_units(self.machine, self.units)
        self.machine.run(["systemctl", "start", self.services["web"].unit])

    def wait(self) -> None:
        for service in self.in_order:
            self.machine.wait_for_unit(service.unit)


@pytest.fixture(scope="module")
def pinned(machine: Machine, registry: Registry, images: dict[str, Pair]) -> None:
    machine.run(["mkdir", "--parents", FOLDER])
    for name in ("nginx", "redis", "postgres"):
        machine.run(["nixoci", "add", registry.push(images[name].new), "--name", name], cwd=FOLDER)


@pytest.fixture(scope="module", params=range(3), ids=["turn0", "turn1", "turn2"])
def deployment(request: pytest.FixtureRequest, machine: Machine, pinned: None) -> Iterator[Deployment]:  # noqa: ARG001
    made = Deployment(machine, request.param)
    with named_store(machine, made.store):
        made.start()
        yield made
        machine.run(["systemctl", "stop", *(service.unit for service in made.in_order)])


def test_they_are_reachable_as_soon_as_they_are_ready(deployment: Deployment) -> None:
    for service in deployment.in_order:
        service.answers()


def test_each_was_started_when_what_it_depends_on_was_ready(deployment: Deployment) -> None:
    ready = 0
    for service in deployment.in_order:
        assert int(service.show("InactiveExitTimestampMonotonic")) >= ready
        ready = int(service.show("ActiveEnterTimestampMonotonic"))
        assert ready > 0


def test_they_log_to_the_journal(deployment: Deployment) -> None:
    expected = {"web": "asked-by-curl", "cache": "Ready to accept connections", "db": "ready to accept connections"}
    for kind, service in deployment.services.items():
        service.ask()
        deadline = time.monotonic() + 60
        while expected[kind] not in deployment.machine.journal(service.unit) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert expected[kind] in deployment.machine.journal(service.unit)


@pytest.mark.parametrize("kind", SERVICES)
def test_a_restart_is_ready_when_it_returns(deployment: Deployment, kind: str) -> None:
    service = deployment.services[kind]
    before = service.pid()
    deployment.machine.run(["systemctl", "restart", service.unit], timeout=60)
    service.answers()
    assert service.pid() != before
    assert service.show("Result") == "success"
    deployment.wait()  # what depends on it was restarted with it


@pytest.mark.parametrize("kind", SERVICES)
def test_a_first_process_that_is_killed_comes_back(deployment: Deployment, kind: str) -> None:
    deployment.wait()
    service = deployment.services[kind]
    restarts, before = int(service.show("NRestarts")), service.pid()
    deployment.machine.run(["kill", "-KILL", str(before)])
    deadline = time.monotonic() + 90
    while int(service.show("NRestarts")) == restarts and time.monotonic() < deadline:
        time.sleep(0.1)
    assert int(service.show("NRestarts")) == restarts + 1
    deployment.wait()
    service.answers()
    assert service.pid() != before


def test_they_stop_cleanly_in_time_and_in_order(deployment: Deployment) -> None:
    deployment.wait()
    machine = deployment.machine
    machine.run(["systemctl", "stop", *(service.unit for service in deployment.in_order)])
    ended = None
    for service in reversed(deployment.in_order):
        assert service.show("ActiveState") == "inactive"
        assert service.show("Result") == "success"
        left = int(service.show("InactiveEnterTimestampMonotonic"))
        assert ended is None or left >= ended
        ended = left
        assert LAST_WORDS.get(service.kind, "") in machine.journal(service.unit)
        assert not service.connects()
    names = {service.name for service in deployment.in_order}
    assert machine.run(["podman", "ps", "--all", "--quiet"]).stdout == ""
    assert not names & set(machine.run(["ls", "/run/crun"], check=False).stdout.split())
    mounted = machine.run(["findmnt", "--list", "--noheadings", "--output=TARGET"]).stdout.split()
    assert not [point for point in mounted if point.startswith("/run/nixoci/") and point.endswith("/root")]


def test_what_a_volume_holds_is_there_after_the_next_start(deployment: Deployment) -> None:
    database = deployment.services["db"]
    deployment.machine.run(["systemctl", "start", database.unit])
    assert database.query("create table kept as select 7 * 6 as found") == "SELECT 1\n"
    deployment.machine.run(["systemctl", "stop", database.unit])
    deployment.machine.run(["systemctl", "start", database.unit])
    assert database.query("select found from kept") == "42\n"


def test_the_store_is_as_it_was(deployment: Deployment) -> None:
    verify = ["nix-store", "--verify-path"]
    paths = deployment.machine.run(["nix-store", "--query", "--requisites", deployment.units]).stdout.split()
    deployment.machine.run([*verify, *paths])
