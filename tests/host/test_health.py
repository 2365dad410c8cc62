"""Health checks on each backend: the image's own, changed and disabled ones, and their effect on readiness."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, HOSTILE, Host, edited, edited_layout
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND = 10**9
CHECKS = {
    "line": ["CMD-SHELL", "test -e /healthy"],
    "words": ["CMD", "test", "-e", "/healthy"],
    "program": ["CMD", "/check"],
}
"""Health checks of images, by a name for each."""

COUNTED = "echo tried >> /tried; test $(wc -l < /tried) -gt 2"
VALUES = json.dumps(list(HOSTILE.values())).encode()
COMPARE = "import json, sys; sys.exit(json.loads(bytes.fromhex(sys.argv[1])) != sys.argv[2:])"
CASES: dict[str, dict[str, Any]] = {
    **{
        check: {
            "image": f"checked-{check}",
            "notify": "healthy",
            # all of them have to run before the first becomes healthy, however long that takes
            "settings": {"unit": {"Service": {"TimeoutStartSec": "10min"}}},
        }
        for check in CHECKS
    },
    "changed": {"image": "checked-line", "healthcheck": {"test": ["CMD", "test", "-e", "/other"]}},
    "none": {"image": "checked-line", "healthcheck": {"test": ["NONE"]}},
    "never": {
        "image": "checked-line",
        "notify": "healthy",
        "restart": "no",
        # what it has by itself is at least a minute, and then the time that a stop may take
        "settings": {"unit": {"Service": {"TimeoutStartSec": "5s", "TimeoutStopSec": "5s"}}},
    },
    "third": {"image": "checked-line", "healthcheck": {"test": ["CMD-SHELL", COUNTED], "retries": 4}},
    "second": {"image": "checked-line", "healthcheck": {"test": ["CMD-SHELL", COUNTED], "retries": 2}},
    "hostile": {
        "image": "checked-python",
        "notify": "healthy",
        "healthcheck": {"test": ["CMD", "python3", "-c", COMPARE, VALUES.hex(), *HOSTILE.values()]},
        "restart": "no",
        "settings": {"unit": {"Service": {"TimeoutStartSec": "60s"}}},
    },
    "hangs": {
        "image": "checked-line",
        "healthcheck": {"test": ["CMD", "sleep", "1001"], "timeout": "1s", "retries": 1},
    },
}
"""Containers, each on each backend, by a name for them."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        check = {"Interval": SECOND, "Timeout": 5 * SECOND, "Retries": 2}
        common = {"Entrypoint": None, "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}
        checks = {f"checked-{name}": common | {"Healthcheck": check | {"Test": test}} for name, test in CHECKS.items()}
        layout = small_images().new.inside.split(":")[1]
        sources = {name: edited_layout(machine, layout, name, config) for name, config in checks.items()}
        # for the one check that is a program in Python
        sources["checked-python"] = edited(machine, "python", "checked-python", checks["checked-line"])
        host = Host.build(machine, sources)
        machine.run(["tee", "/var/check"], input="#!/bin/sh\nexec test -e /healthy\n")
        machine.run(["chmod", "+x", "/var/check"])
        base = {"networks": ["none"], "volumes": ["/var/check:/check:ro"]}
        containers = {
            f"{name}-{backend}": base | {"backend": backend} | case
            for name, case in CASES.items()
            for backend in BACKENDS
        }
        host.deploy("/var/health", containers)
        yield host


def inside(host: Host, name: str, *argv: str, check: bool = True) -> str:
    runtime = ["crun", "exec"] if name.endswith("-bundle") else ["podman", "exec"]
    return host.machine.run([*runtime, name, *argv], check=check).stdout


def state(host: Host, unit: str, prop: str = "ActiveState") -> str:
    return host.systemctl("show", "--value", f"--property={prop}", unit)


def health(host: Host, name: str) -> str:
    """Return the health that podman reports, or for a bundle the state of its check's unit."""
    if not name.endswith("-bundle"):
        return host.machine.run(["podman", "inspect", "--format={{.State.Health.Status}}", name]).stdout.strip()
    # at once, since the next check may start between two questions
    shown = host.systemctl(
        "show", "--property=ActiveState,ExecMainExitTimestampMonotonic,ExecMainStatus", f"{name}-health.service"
    )
    properties = dict(line.split("=", 1) for line in shown.splitlines())
    if properties["ActiveState"] == "failed":
        return "unhealthy"
    checked = properties["ExecMainExitTimestampMonotonic"] not in {"", "0"}
    return "healthy" if checked and properties["ExecMainStatus"] == "0" else "starting"


def has_health(host: Host, name: str, expected: str) -> bool:
    return health(host, name) == expected


def was_unhealthy(host: Host, name: str) -> bool:
    """Say whether it has been unhealthy: it may be healthy again before anybody looks."""
    if name.endswith("-bundle"):
        return "Failed with result" in host.machine.journal(f"{name}-health.service")
    events = ["podman", "events", "--stream=false", f"--filter=container={name}", "--filter=event=health_status"]
    return "unhealthy" in host.machine.run([*events, "--format={{.HealthStatus}}"]).stdout.split()


def wait_for_health(host: Host, names: list[str], expected: str) -> None:
    """Wait until each has had this health once: while a bundle's check runs, its unit does not tell."""
    for name in names:
        until(partial(has_health, host, name, expected))


def runs(host: Host, name: str) -> bool:
    return "sleep" in inside(host, name, "cat", "/proc/1/cmdline", check=False)


def until(what: Callable[[], bool], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.4)


@pytest.fixture(scope="module")
def checked(host: Host) -> dict[str, list[str]]:
    """Start a container for each check, all at once; say its state before its check succeeds, once it does, once it
    fails, and once it succeeds again.
    """
    names = [f"{check}-{backend}" for check in CHECKS for backend in BACKENDS]
    host.systemctl("start", "--no-block", *(f"{name}.service" for name in names))
    for name in names:
        until(partial(runs, host, name))
    time.sleep(2.5)
    seen = {name: [state(host, f"{name}.service")] for name in names}
    for command, expected in (("touch", "healthy"), ("rm", "unhealthy"), ("touch", "healthy")):
        for name in names:
            inside(host, name, command, "/healthy")
        for name in names:
            if seen[name] == ["activating"]:
                host.machine.wait_for_unit(f"{name}.service")
        wait_for_health(host, names, expected)
        for name in names:
            seen[name].append(state(host, f"{name}.service"))
    # they would be checked every second, while other tests run
    host.systemctl("stop", *(f"{name}.service" for name in names))
    return seen


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_images_check_makes_its_unit_ready_and_is_done_again_and_again(
    checked: dict[str, list[str]], backend: str, check: str
) -> None:
    assert checked[f"{check}-{backend}"] == ["activating", "active", "active", "active"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_document_changes_the_images_check(host: Host, backend: str) -> None:
    name = f"changed-{backend}"
    host.systemctl("start", f"{name}.service")
    inside(host, name, "touch", "/healthy")
    until(lambda: health(host, name) == "unhealthy")
    inside(host, name, "touch", "/other")
    until(lambda: health(host, name) == "healthy")
    host.systemctl("stop", f"{name}.service")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_document_takes_the_images_check_away(host: Host, backend: str) -> None:
    name = f"none-{backend}"
    host.systemctl("start", f"{name}.service")
    if backend == "bundle":
        assert state(host, f"{name}-health.timer", "LoadState") == "not-found"
    else:
        show = host.machine.run(["podman", "inspect", "--format={{json .Config.Healthcheck}}", name]).stdout
        assert (json.loads(show) or {"Test": ["NONE"]})["Test"] == ["NONE"]
        assert host.machine.run(["podman", "healthcheck", "run", name], check=False).returncode == 125
    host.systemctl("stop", f"{name}.service")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_start_fails_that_does_not_become_healthy_in_time(host: Host, backend: str) -> None:
    name = f"never-{backend}"
    before = time.monotonic()
    assert host.machine.run(["systemctl", "start", f"{name}.service"], check=False).returncode == 1
    assert time.monotonic() - before > 4
    assert state(host, f"{name}.service", "Result") == "timeout"
    assert state(host, f"{name}.service") == "failed"
    assert host.machine.run(["podman", "ps", "--all", "--quiet", f"--filter=name=^{name}$"]).stdout == ""
    assert name not in host.machine.run(["crun", "list"]).stdout
    assert f"/run/nixoci/{name}" not in host.machine.run(["cat", "/proc/self/mounts"]).stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_as_many_failures_count_as_the_document_says(host: Host, backend: str) -> None:
    host.systemctl("start", f"third-{backend}.service", f"second-{backend}.service")
    until(lambda: was_unhealthy(host, f"second-{backend}"))

    def third_is_healthy() -> bool:
        found = health(host, f"third-{backend}")
        assert found != "unhealthy"
        return found == "healthy"

    until(third_is_healthy)
    host.systemctl("stop", f"third-{backend}.service", f"second-{backend}.service")


@pytest.mark.parametrize("backend", BACKENDS)
def test_hostile_values_of_a_check_arrive_as_they_are(host: Host, backend: str) -> None:
    host.systemctl("start", f"hostile-{backend}.service")
    host.systemctl("stop", f"hostile-{backend}.service")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_check_that_hangs_has_failed(host: Host, backend: str) -> None:
    name = f"hangs-{backend}"
    host.systemctl("start", f"{name}.service")
    until(lambda: health(host, name) == "unhealthy")
    assert state(host, f"{name}.service") == "active"
    host.systemctl("stop", f"{name}.service")
    until(lambda: host.machine.run(["pgrep", "--full", "^sleep 1001"], check=False).stdout == "")


def test_a_check_that_hangs_leaves_nothing_in_a_bundle(host: Host) -> None:
    host.systemctl("start", "hangs-bundle.service")
    until(lambda: health(host, "hangs-bundle") == "unhealthy")
    until(lambda: host.machine.run(["pgrep", "--full", "^sleep 1001"], check=False).stdout == "")
    host.systemctl("stop", "hangs-bundle.service")


def test_the_store_is_as_it_was(host: Host) -> None:
    assert host.measure() == host.hashes
