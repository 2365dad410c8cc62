"""Bundles whose process ends at once, as migrations do, and the output of programs that drop root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.containers import Host

RUNS = 20
BUNDLE: dict[str, Any] = {"image": "redis", "backend": "bundle", "networks": ["none"], "restart": "no"}
DROPPED = (
    "setpriv --reuid nobody --clear-groups sh -c 'echo \"one  two\" > /dev/stderr; echo three > /dev/stdout'; echo end"
)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("redis") as made:
        yield made


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_job_is_judged_by_its_exit_code(host: Host, runtime: str) -> None:
    own = BUNDLE | {"runtime": runtime}
    containers = {
        f"{runtime}-good": own | {"entrypoint": ["/bin/true"]},
        f"{runtime}-bad": own | {"entrypoint": ["sh", "-c", "echo said; exit 3"]},
        f"{runtime}-after": own | {"entrypoint": ["echo", "went on"], "dependsOn": [f"{runtime}-good"]},
    }
    host.deploy(f"/var/{runtime}-jobs", containers)
    good, bad = [], []
    for _ in range(RUNS if runtime == "crun" else 3):
        good.append(_end(host, f"{runtime}-good"))
        bad.append(_end(host, f"{runtime}-bad"))
    assert set(good) == {("success", "0")}
    assert set(bad) == {("exit-code", "3")}
    assert host.machine.journal(f"{runtime}-bad.service").splitlines().count("said") == len(bad)
    assert _end(host, f"{runtime}-after") == ("success", "0")
    host.wait_for_log(f"{runtime}-after.service", "went on")


@pytest.mark.parametrize("more", [{}, {"runtime": "runc"}, {"notify": "container"}], ids=["crun", "runc", "notify"])
def test_a_program_that_drops_root_can_open_its_output(host: Host, more: dict[str, Any]) -> None:
    name = "-".join(["drops", *more.values()])
    host.deploy(f"/var/{name}", {name: BUNDLE | more | {"user": "root", "entrypoint": ["sh", "-c", DROPPED]}})
    host.machine.run(["systemctl", "start", f"{name}.service"], check=False)
    journal = host.wait_for_log(f"{name}.service", "end")
    assert {"one  two", "three"} <= set(journal.splitlines()), journal
    # one that should have reported itself has ended, and the unit with it
    assert host.systemctl("show", "--value", "--property=Result", f"{name}.service") != "timeout"
    assert not host.machine.run(["pgrep", "-x", "cat"], check=False).stdout


@pytest.mark.parametrize("more", [{}, {"runtime": "runc"}, {"notify": "container"}], ids=["crun", "runc", "notify"])
def test_the_reason_of_a_failed_start_is_always_in_the_journal(host: Host, more: dict[str, Any]) -> None:
    name = "-".join(["nothing", *more.values()])
    host.deploy(f"/var/{name}", {name: BUNDLE | more | {"entrypoint": ["/nowhere/to-run"]}})
    for _ in range(5):
        assert host.machine.run(["systemctl", "start", f"{name}.service"], check=False).returncode == 1
        host.machine.run(["systemctl", "reset-failed", f"{name}.service"], check=False)
    lines = host.machine.journal(f"{name}.service").splitlines()
    assert len([line for line in lines if "/nowhere/to-run" in line]) == 5, lines


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_directory_that_the_image_lacks_is_the_users_and_a_long_name_is_cut(host: Host, runtime: str) -> None:
    name = f"{runtime}-with-a-long-name-backend-service-that-composes-names-xxxxxxxxxxxx"
    look = "stat -c '%n %U %a' . /kept; touch x /kept/x && echo wrote; hostname"
    own = {"runtime": runtime, "user": "nobody", "workdir": "/app/not/there", "volumes": [f"{runtime}-kept:/kept"]}
    host.deploy(f"/var/{runtime}-lacks", {name: BUNDLE | own | {"entrypoint": ["sh", "-c", f"{look}; echo end"]}})
    assert _end(host, name) == ("success", "0")
    said = host.wait_for_log(f"{name}.service", "end").splitlines()
    assert {". nobody 755", "/kept nobody 755", "wrote", name[:64]} <= set(said), said


def _end(host: Host, name: str) -> tuple[str, str]:
    """Start a unit, wait for its end, and return its result and its process's exit code."""
    unit = f"{name}.service"
    host.machine.run(["systemctl", "start", unit], check=False)
    wait = "while systemctl is-active --quiet $0 || [ $(systemctl is-active $0) = deactivating ]; do sleep 0.1; done"
    host.machine.run(["timeout", "60", "sh", "-c", wait, unit])
    result, code = (
        host.systemctl("show", "--value", f"--property={each}", unit) for each in ("Result", "ExecMainStatus")
    )
    host.machine.run(["systemctl", "reset-failed", unit], check=False)
    return result, code
