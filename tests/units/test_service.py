from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.units.service import bundle_service, health_units
from nixoci.units.start import start_lines, start_script, stop_script
from tests.units.samples import MOUNTED, ODD, OUTPUT, TOOLS, bundled, noted, noting, quadlet
from tests.units.test_escape import split

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.units.tools import Tools


def test_a_bundle_is_started_by_its_script(tmp_path: Path) -> None:
    service = bundle_service(*bundled(tmp_path), OUTPUT).render()
    assert "ExecStart=/s/sh /out/share/nixoci/bundles/c/start\n" in service
    assert "ExecStopPost=/s/sh /out/share/nixoci/bundles/c/stop\n" in service
    assert "SuccessExitStatus=SIGINT 130\n" in service


def test_a_bundle_ends_when_its_output_is_written(tmp_path: Path) -> None:
    # systemd.service(5): `main` kills the other processes when the main one has ended
    assert "ExitType=cgroup\n" in bundle_service(*bundled(tmp_path), OUTPUT).render()


def test_what_a_bundle_keeps_is_in_the_state_directory(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, writableLayer="persistent", volumes=["v:/data"])
    service = bundle_service(container, made, OUTPUT).render()
    # what `systemctl clean --what=state` removes: the layer and nobody's volumes
    assert [line for line in service.splitlines() if line.startswith("StateDirectory")] == [
        "StateDirectory=nixoci/c",
        "StateDirectoryMode=0700",
    ]
    assert "RequiresMountsFor=/var/lib/nixoci/volumes/v\n" in service


def test_health_of_a_bundle_is_a_unit(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, healthcheck={"test": ["CMD-SHELL", "x $y"]}, notify="healthy")
    service, timer = (unit.render() for unit in health_units(container, TOOLS))
    assert ' c 3 /b/sleep 30 /b/timeout --kill-after=5s 30 /c/crun exec c /bin/sh -c "x $$y"\n' in service
    assert "OnUnitInactiveSec=30000000us\n" in timer
    assert "Wants=c-health.timer\n" in bundle_service(container, made, OUTPUT).render()


def odd_tools(path: Path, timeout: str) -> Tools:
    """Return programs at odd paths; `timeout` notes the health checks and does that."""
    folder = path / ODD
    folder.mkdir()
    noting(folder / "timeout", path / "log", timeout)
    noting(folder / "sleep", path / "log")
    return replace(TOOLS, sh="sh", **{name: f"{folder}/{name}" for name in ("timeout", "sleep", "crun")})


def run_command(value: str, **places: str) -> int:
    """Run a command line as systemd does, with some of its words replaced."""
    words = [word.replace("%%", "%").replace("$$", "$") for word in split(value)]
    return subprocess.run([places.get(word, word) for word in words], timeout=60, check=False).returncode


@pytest.mark.parametrize("retries", [1, 3])
def test_a_health_check_is_tried_as_often_as_the_container_says(tmp_path: Path, retries: int) -> None:
    options = {"test": ["CMD", ODD, ""], "retries": retries, "interval": "7s", "timeout": "2s"}
    tools = odd_tools(tmp_path, "exit 1")
    container, _ = bundled(tmp_path / "image", healthcheck=options)
    (start,) = [line for line in health_units(container, tools)[0].render().splitlines() if line.startswith("ExecS")]
    assert run_command(start.partition("=")[2]) == 1
    check = ["timeout", "--kill-after=5s", "2", tools.crun, "exec", "c", ODD, ""]
    assert noted(tmp_path / "log") == [*[check, ["sleep", "7"]] * (retries - 1), check]


@pytest.mark.parametrize(
    ("action", "seconds", "result", "expected"),
    [
        ("kill", 5, "exit-code", [["kill", "c", "9"]]),
        ("stop", 2, "exit-code", [["kill", "c", "2"], ["1"], ["1"], ["kill", "c", "9"]]),
        ("stop", 0, "exit-code", [["kill", "c", "9"]]),
        ("stop", 2, "success", []),
        # the container was stopped meanwhile
        ("kill", 5, "signal", []),
    ],
)
def test_an_unhealthy_bundle_is_ended_by_its_runtime(
    *, tmp_path: Path, action: str, seconds: int, result: str, expected: list[list[str]]
) -> None:
    tools = odd_tools(tmp_path, "exit 1")
    noting(tmp_path / ODD / "crun", tmp_path / "log", f'[ "$3" != 9 ] || rm "{tmp_path}/state"')
    (tmp_path / "state").touch()
    healthcheck = {"test": ["CMD", "x"], "onFailure": action}
    container, _ = bundled(tmp_path / "image", healthcheck=healthcheck, stopTimeout=seconds)
    service = health_units(container, tools)[0].render()
    (end,) = [line for line in service.splitlines() if line.startswith("ExecStopPost=")]
    os.environ["SERVICE_RESULT"] = result
    try:
        assert run_command(end.partition("=")[2], **{"/run/crun/c": f"{tmp_path}/state"}) == 0
    finally:
        del os.environ["SERVICE_RESULT"]
    calls = noted(tmp_path / "log") if (tmp_path / "log").exists() else []
    assert [call[1:] for call in calls] == expected
    # systemd gives the container its time
    assert f"TimeoutStopSec={seconds + 30}s\n" in service


def test_nothing_ends_an_unhealthy_bundle_by_default(tmp_path: Path) -> None:
    container, _ = bundled(tmp_path, healthcheck={"test": ["CMD", "x"]})
    assert "ExecStopPost" not in health_units(container, TOOLS)[0].render()


def test_a_bundle_has_the_units_of_its_own_name(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, serviceName="web", healthcheck={"test": ["CMD", "x"]}, timezone="UTC")
    units = {
        unit.name: unit.render() for unit in (bundle_service(container, made, OUTPUT), *health_units(container, TOOLS))
    }
    assert set(units) == {"web.service", "web-health.service", "web-health.timer"}
    assert "Wants=web-health.timer\n" in units["web.service"]
    assert "BindsTo=web.service\n" in units["web-health.timer"]
    assert "Requisite=web.service\n" in units["web-health.service"]
    assert {"PIDFile=/run/nixoci/c/pid", "PassEnvironment=TZDIR"} <= set(units["web.service"].splitlines())


@pytest.mark.parametrize("alive", [True, False])
def test_a_start_waits_for_health_while_the_container_lives(tmp_path: Path, *, alive: bool) -> None:
    # healthy at the second check
    tools = odd_tools(tmp_path, f"[ $(wc -l < {shlex.quote(str(tmp_path))}/log) -gt 2 ]")
    container, made = bundled(tmp_path / "image", notify="healthy", healthcheck={"test": ["CMD", ODD]})
    lines = bundle_service(container, made, replace(OUTPUT, tools=tools)).render().splitlines()
    (wait,) = [line for line in lines if line.startswith("ExecStartPost=")]
    pid = tmp_path / ODD / "pid"
    pid.write_text(f"{os.getpid() if alive else 99999999}\n")
    status = run_command(wait.partition("=")[2], **{"/run/nixoci/c/pid": str(pid)})
    check = ["timeout", "--kill-after=5s", "30", tools.crun, "exec", "c", ODD]
    assert (status, noted(tmp_path / "log")) == ((0, [check, ["sleep", "1"], check]) if alive else (1, [check]))


def test_a_bundle_of_runc_has_a_cgroup_below_its_units(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, runtime="runc", healthcheck={"test": ["CMD", "ok"]})
    assert made.config["linux"]["cgroupsPath"] == "container"
    # the unit says which devices may be opened
    assert made.config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    lines = bundle_service(container, made, OUTPUT).render().splitlines()
    assert {"Delegate=true", "DelegateSubgroup=container-start"} <= set(lines)
    start = start_script(container, made, OUTPUT, image=MOUNTED).splitlines()
    assert {"runtime=/r/runc", "runtime_option=''", "state=/run/runc/c", "bound=''"} <= set(start)
    assert "runtime=/r/runc" in stop_script(container, made, OUTPUT, image=MOUNTED).splitlines()
    assert " /r/runc exec c ok\n" in health_units(container, TOOLS)[0].render()


def test_a_bundle_has_the_limits_of_podmans_containers(tmp_path: Path) -> None:
    lines = bundle_service(*bundled(tmp_path), OUTPUT).render().splitlines()
    assert {"LimitNOFILE=1048576", "LimitNPROC=1048576"} <= set(lines)


def test_limits_are_those_of_the_unit(tmp_path: Path) -> None:
    lines = bundle_service(*bundled(tmp_path / "1", memory="512m", pidsLimit=9), OUTPUT).render().splitlines()
    assert {"MemoryMax=536870912", "MemorySwapMax=536870912", "TasksMax=9"} <= set(lines)
    assert "TasksMax=infinity\n" in bundle_service(*bundled(tmp_path / "2", pidsLimit=-1), OUTPUT).render()


def test_no_time_to_stop_is_not_for_ever_and_leaves_time_to_clean_up(tmp_path: Path) -> None:
    def stop(path: str, seconds: int) -> list[str]:
        lines = bundle_service(*bundled(tmp_path / path, stopTimeout=seconds), OUTPUT).render().splitlines()
        return [line for line in lines if line.startswith(("KillSignal=", "TimeoutStopSec=", "SuccessExitStatus="))]

    assert stop("1", 0) == ["KillSignal=SIGKILL", "TimeoutStopSec=30s", "SuccessExitStatus=SIGKILL 137"]
    assert stop("2", 7) == ["KillSignal=SIGINT", "TimeoutStopSec=7s", "SuccessExitStatus=SIGINT 130"]


def test_a_kill_by_the_kernel_is_no_clean_exit(tmp_path: Path) -> None:
    """A container without time to stop ends by the signal of the kernel's own kills (systemd.service(5))."""

    def forced(path: str, **options: Any) -> list[str]:
        lines = bundle_service(*bundled(tmp_path / path, **options), OUTPUT).render().splitlines()
        return [line for line in lines if line.startswith("RestartForceExitStatus=")]

    assert forced("1", stopTimeout=0, restart="on-failure") == ["RestartForceExitStatus=SIGKILL 137"]
    assert forced("2", stopTimeout=0, restart="no") == []
    assert forced("3", restart="on-failure") == []


@pytest.mark.parametrize("backend", ["podman", "rootfs"])
def test_a_stop_by_podman_is_clean(tmp_path: Path, backend: str) -> None:
    """podman's process ends with the container's exit code, which for a signal is 128 and its number."""

    def clean(path: str, **options: Any) -> list[str]:
        lines = quadlet(tmp_path / path, backend=backend, **options)
        return [line for line in lines if "ExitStatus=" in line]

    assert clean("1", stopTimeout=0) == ["SuccessExitStatus=137"]
    assert clean("2") == ["SuccessExitStatus=130"]  # the image's SIGINT
    assert clean("3", stopSignal="SIGTERM") == ["SuccessExitStatus=143"]
    forced = clean("4", stopTimeout=0, restart="on-failure")
    assert forced == ["SuccessExitStatus=137", "RestartForceExitStatus=137"]


def test_a_bundle_has_a_device_with_the_access_that_is_given(tmp_path: Path) -> None:
    devices = ["/dev/mine:r", "/dev/other", "/dev/fuse:/dev/x:rw"]
    lines = bundle_service(*bundled(tmp_path, devices=devices), OUTPUT).render().splitlines()
    allowed = {"/dev/mine r", "/dev/other rwm", "/dev/fuse rw"}
    assert {f"DeviceAllow={one}" for one in allowed} <= set(lines)
    assert "DeviceAllow=/dev/fuse rwm" not in lines


def test_secrets_are_files_of_the_containers_user(tmp_path: Path) -> None:
    secrets = {"s": {"source": "/run/keys/100%", "target": "/etc/s"}}
    container, made = bundled(tmp_path / "1", secrets=secrets)
    assert "f^ %t/nixoci/c/secrets/s 0400 33 34 - s" in start_lines(container, made.root)
    assert "LoadCredential=s:/run/keys/100%%\n" in bundle_service(container, made, OUTPUT).render()
    assert "Volume=%t/nixoci/c/secrets/s:/etc/s:ro" in quadlet(tmp_path / "2", secrets=secrets)


def test_a_user_s_podman_gives_secrets_to_the_user_of_the_container(tmp_path: Path) -> None:
    """The user of the host has no right to; podman has, in its user namespace (podman-run(1), `--volume`, `U`)."""
    secrets = {"s": {"source": "/key"}}
    place = "Volume=%t/nixoci/c/secrets/s:/run/secrets/s"
    assert f"{place}:ro,U" in quadlet(tmp_path / "1", secrets=secrets, user=True)
    # systemd-tmpfiles of root gives them itself
    assert f"{place}:ro" in quadlet(tmp_path / "2", secrets=secrets)
