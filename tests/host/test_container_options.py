"""Options of containers at work, on each backend that has them."""

from __future__ import annotations

import re
import struct
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, Host
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

PODMANS = ("podman", "rootfs")
WAYS: dict[str, dict[str, Any]] = {backend: {"backend": backend} for backend in BACKENDS} | {
    "runc": {"backend": "bundle", "runtime": "runc"}
}

OPEN = """
import json, os
def opens(flags):
    try:
        os.close(os.open("/dev/mine", flags))
        return True
    except PermissionError:
        return False
print("SEEN", json.dumps([opens(os.O_RDONLY), opens(os.O_WRONLY)]), flush=True)
"""
END = """
import signal, sys, time
def end(number, _):
    print("SEEN", number, flush=True)
    sys.exit()
for number in range(1, signal.NSIG):
    # systemd sends SIGCONT after the one that asks to stop
    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT):
        try:
            signal.signal(number, end)
        except OSError:  # the C library's own
            pass
print("ready", flush=True)
while True:
    signal.pause()
"""
STUBBORN = END.replace("sys.exit()", "print('still here', flush=True)")
LOOK = """
import json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("SEEN", json.dumps([
    dict(os.environ), resource.getrlimit(resource.RLIMIT_CORE), status["CapEff"].strip(), status["Seccomp"].strip(),
    os.path.exists("/dev/kmsg"), open("/etc/hosts").read(),
]), flush=True)
"""
SURVEY = """
import json, os, resource, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
def text(path):
    with open(path) as file:
        return file.read()
print("SEEN", json.dumps({
    "environment": dict(os.environ),
    "hosts": text("/etc/hosts"), "resolv.conf": text("/etc/resolv.conf"),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "zone": time.strftime("%Z %z"), "first": text("/proc/1/cmdline").split("\\0")[0],
}), flush=True)
time.sleep(1000)
"""
ZONE = b"TZif" + bytes(16) + struct.pack(">6LlBB", 0, 0, 0, 0, 1, 4, 5 * 3600, 0, 0) + b"MUP\0"
"""A zone that no image has (RFC 9636): MUP, five hours east."""
UNHEALTHY = {"test": ["CMD", "test", "-e", "/healthy"], "interval": "1s", "startPeriod": "4s", "retries": 1}
SURVEYED: dict[str, Any] = {
    "environment": {"OVER": "the document's"},
    "environmentFiles": ["/var/variables"],
    "dns": ["10.1.1.1"],
    "dnsSearch": ["one.example", "two.example"],
    "dnsOptions": ["ndots:2"],
    "extraHosts": ["db;db.example:fd00::1", "gate:host-gateway"],
    "ulimits": {"nofile": "4096:8192", "core": 0},
    "logDriver": "journald",
    # systemd-nspawn's /sys can be mounted in no other one
    "userNamespace": "host",
}
ENVIRONMENT_FILE = """\
# a comment
PLAIN=one two
QUOTED="stays quoted" $HOME ${x} %n
EMPTY=
OVER=the file's
GREETING=grüße 'x'
"""
RESTARTS = {
    # policy, exit code: whether it is started again
    ("always", 0): True,
    ("always", 3): True,
    ("on-failure", 0): False,
    ("on-failure", 3): True,
    ("on-success", 0): True,
    ("on-success", 3): False,
    ("on-abnormal", 3): False,
    ("no", 0): False,
    ("no", 3): False,
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("python") as host:
        host.machine.run(["tee", "/var/variables"], input=ENVIRONMENT_FILE)
        yield host


def python(script: str, **options: Any) -> dict[str, Any]:
    return {
        "image": "python",
        "networks": ["none"],
        "restart": "no",
        "stopTimeout": 5,
        "entrypoint": ["python3", "-c", script],
    } | options


@pytest.fixture(scope="module")
def devices(host: Host) -> dict[str, list[bool]]:
    access = {"r": "/dev/fuse:/dev/mine:r", "rw": "/dev/fuse:/dev/mine:rw", "all": "/dev/fuse:/dev/mine"}
    containers = {
        f"{way}-{name}": python(OPEN, devices=[device]) | chosen
        for way, chosen in WAYS.items()
        for name, device in access.items()
    }
    for backend in PODMANS:
        containers[f"{backend}-privileged"] = python(OPEN, devices=[access["all"]], privileged=True, backend=backend)
    return host.seen_by_all("/var/devices", containers)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_has_the_access_that_is_given(devices: dict[str, list[bool]], way: str) -> None:
    assert devices[f"{way}-all"] == [True, True]
    assert devices[f"{way}-rw"] == [True, True]
    assert devices[f"{way}-r"] == [True, False]


@pytest.mark.parametrize("backend", PODMANS)
def test_a_privileged_one_has_a_device_by_the_name_that_is_given(devices: dict[str, list[bool]], backend: str) -> None:
    assert devices[f"{backend}-privileged"] == [True, True]


@pytest.fixture(scope="module")
def ending(host: Host) -> Host:
    containers = {}
    for way, chosen in WAYS.items():
        containers[f"end-{way}"] = python(END, stopSignal="SIGUSR2") | chosen
        containers[f"time-{way}"] = python(END, stopSignal="RTMIN+3") | chosen
        containers[f"stubborn-{way}"] = python(STUBBORN, stopTimeout=1) | chosen
    host.deploy("/var/ending", containers)
    host.systemctl("start", *(f"{name}.service" for name in containers))
    for name in containers:
        host.wait_for_log(f"{name}.service", "ready")
    return host


@pytest.mark.parametrize("way", WAYS)
def test_it_is_asked_to_stop_by_its_signal_and_killed_if_it_does_not(ending: Host, way: str) -> None:
    for name, number in (("end", 12), ("time", 37)):
        ending.systemctl("stop", f"{name}-{way}.service")
        assert ending.said(f"{name}-{way}") == number
        assert ending.systemctl("show", "--value", "--property=Result", f"{name}-{way}.service") == "success"
    if way in PODMANS:
        show = ["podman", "inspect", "--format={{.Config.StopTimeout}}", f"stubborn-{way}"]
        assert ending.machine.run(show).stdout == "1\n"
    ending.systemctl("stop", f"stubborn-{way}.service")
    assert "still here" in ending.machine.journal(f"stubborn-{way}.service")
    state = ending.systemctl("show", "--value", "--property=ActiveState", f"stubborn-{way}.service")
    assert state in {"inactive", "failed"}


STARTED = "/var/started"
END_WHEN_STARTED = """
import os, sys, time
while not os.path.exists("%s"):
    time.sleep(0.05)
sys.exit(%d)
"""


@pytest.fixture(scope="module")
def restarting(host: Host) -> Host:
    # one more start tells; five of them, and systemd gives up. A start or stop that a busy disk keeps for longer than
    # systemd waits would be a reason to start again.
    settings = {
        "unit": {"Unit": {"StartLimitBurst": 2, "StartLimitIntervalSec": "600s"}, "Service": {"TimeoutSec": "600s"}}
    }
    containers = {}
    for (policy, code), backend in product(RESTARTS, BACKENDS):
        name = f"{policy}-{code}-{backend}"
        script, options = f"exit({code})", {"restart": policy, "backend": backend, "settings": settings}
        if backend in PODMANS:
            # of a container of podman's that ends before systemd knows its main process, systemd has no exit code
            options["volumes"] = [f"{STARTED}:{STARTED}"]
            script = END_WHEN_STARTED % (f"{STARTED}/{name}", code)
        containers[name] = python(script, **options)
    host.machine.run(["mkdir", STARTED])
    host.deploy("/var/restarting", containers)
    host.start_all(containers)
    host.machine.run(["touch", *(f"{STARTED}/{name}" for name in containers)])
    return host


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("policy", "code"), RESTARTS)
def test_it_is_started_again_when_its_policy_says_so(restarting: Host, backend: str, policy: str, code: int) -> None:
    unit = f"{policy}-{code}-{backend}.service"
    show = ["show", "--value", "--property=ActiveState", unit]
    deadline = time.monotonic() + 300
    while restarting.systemctl(*show) not in {"inactive", "failed"} and time.monotonic() < deadline:
        time.sleep(0.2)
    again = int(restarting.systemctl("show", "--value", "--property=NRestarts", unit))
    assert (again > 0) is RESTARTS[policy, code], restarting.machine.journal(unit)


@pytest.fixture(scope="module")
def looked(host: Host) -> dict[str, Any]:
    files = {"environmentFiles": ["/var/variables"], "environment": {"OVER": "the document's"}}
    extra = {"extraOptions": ["--ulimit=core=4711:4712", "--add-host=there:10.1.2.3", "--env=ODD=a  $b %c \"d\" 'e'"]}
    containers = {}
    for backend in PODMANS:
        containers[f"files-{backend}"] = python(LOOK, backend=backend) | files
        containers[f"extra-{backend}"] = python(LOOK, backend=backend) | extra
        containers[f"privileged-{backend}"] = python(LOOK, backend=backend, privileged=True)
    return host.seen_by_all("/var/looked", containers)


@pytest.mark.parametrize("backend", PODMANS)
def test_files_of_variables_are_read_as_podman_reads_them(host: Host, looked: dict[str, Any], backend: str) -> None:
    environment = looked[f"files-{backend}"][0]
    assert environment["OVER"] == "the document's"
    assert environment["QUOTED"] == '"stays quoted" $HOME ${x} %n'
    assert environment["EMPTY"] == ""
    run = ["podman", "run", "--rm", "--network=none", "--env-file=/var/variables", "--entrypoint=env"]
    theirs = host.machine.run([*run, "--rootfs", f"{host.paths['python']}/rootfs:O"]).stdout.splitlines()
    assert {f"{name}={environment[name]}" for name in ("PLAIN", "QUOTED", "EMPTY", "GREETING")} <= set(theirs)


@pytest.mark.parametrize("backend", PODMANS)
def test_further_options_of_podman_arrive(looked: dict[str, Any], backend: str) -> None:
    environment, limit, *_, hosts = looked[f"extra-{backend}"]
    assert limit == [4711, 4712]
    assert environment["ODD"] == "a  $b %c \"d\" 'e'"
    assert "10.1.2.3\tthere" in hosts


@pytest.mark.parametrize("backend", PODMANS)
def test_a_privileged_one_is_what_podman_makes_of_it(host: Host, looked: dict[str, Any], backend: str) -> None:
    run = ["podman", "run", "--rm", "--network=none", "--privileged", "--entrypoint=grep"]
    run += ["--rootfs", f"{host.paths['python']}/rootfs:O", "CapEff", "/proc/self/status"]
    _, _, capabilities, seccomp, *_ = looked[f"privileged-{backend}"]
    theirs = host.machine.run(["systemd-run", "--quiet", "--wait", "--pipe", *run]).stdout
    assert capabilities == theirs.split()[1]
    assert int(capabilities, 16) > int(looked[f"extra-{backend}"][2], 16)
    assert seccomp == "0"
    assert looked[f"extra-{backend}"][3] == "2"


def test_a_pod_takes_containers_of_both_of_podmans_backends(host: Host) -> None:
    serve = "import socket; s = socket.create_server(('127.0.0.1', 8000))\nwhile True: s.accept()[0].send(b'\"hello\"')"
    ask = (
        "import socket, time\ndef connect():\n while True:\n"
        "  try: return socket.create_connection(('127.0.0.1', 8000))\n  except OSError: time.sleep(0.1)\n"
        "print('SEEN', connect().recv(99).decode(), flush=True)"
    )
    containers = {
        "serving": python(serve, backend="rootfs") | {"pod": "both"},
        "asking": python(ask, backend="podman") | {"pod": "both", "dependsOn": ["serving"]},
        "waiting": python("import time; time.sleep(1000)") | {"pod": "both", "autoStart": False, "stopTimeout": 0},
    }
    for container in containers.values():
        del container["networks"]  # the pod has them
    host.deploy("/var/both", containers, pods={"both": {}})
    host.systemctl("start", "both-pod.service")
    assert host.said("asking") == "hello"
    show = ["show", "--value", "--property=ActiveState", "waiting.service"]
    assert host.systemctl(*show) == "inactive"
    host.systemctl("start", "waiting.service")
    assert host.systemctl(*show) == "active"
    host.systemctl("stop", "both-pod.service")


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_says_itself_when_it_is_ready(host: Host, backend: str) -> None:
    notify = (
        "import os, socket, time\nwhile not os.path.exists('/gate/open'): time.sleep(0.05)\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"
        "time.sleep(1000)"
    )
    name = f"says-{backend}"
    host.machine.run(["mkdir", f"/var/gate-{backend}"])
    gate = {"volumes": [f"/var/gate-{backend}:/gate"]}
    host.deploy(f"/var/{name}", {name: python(notify, backend=backend, notify="container", stopSignal="KILL") | gate})
    host.systemctl("start", "--no-block", f"{name}.service")
    time.sleep(1)
    assert host.systemctl("show", "--value", "--property=ActiveState", f"{name}.service") == "activating"
    host.machine.run(["touch", f"/var/gate-{backend}/open"])
    host.machine.wait_for_unit(f"{name}.service")
    host.systemctl("stop", f"{name}.service")


LOG = """
import os, sys
for number, path in enumerate(("/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/log")):
    with open(path, "a") as file:
        print("line", number, "of", os.getuid(), file=file)
for number in range(%d):
    print("more", number, "x" * 40)
print("SEEN", number)
"""
LINES = 2500
"""Twice as many as a pipe holds."""


def test_what_images_link_to_their_output_is_logged(host: Host) -> None:
    """As that of nginx does, whose log files are links to /dev/stdout."""
    ready = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
    ready += " s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"
    link = "import os; os.symlink('/dev/stderr', '/log')\n"
    containers = {}
    for way, chosen in WAYS.items():
        for user in ("root", "www-data"):
            script = link + LOG % LINES if user == "root" else (LOG % LINES).replace(', "/log"', "")
            containers[f"log-{way}-{user}"] = python(script, user=user) | chosen
            containers[f"notify-{way}-{user}"] = python(ready + script, user=user, notify="container") | chosen
    host.deploy("/var/log-test", containers)
    host.start_all(containers)
    for name in containers:
        count, uid = (4, 0) if name.endswith("root") else (3, 33)
        # podman, and runc that stays, have a pipe for each of the two
        said = [f"SEEN {LINES - 1}", *(f"line {number} of {uid}" for number in range(count))]
        log = host.wait_for_log(f"{name}.service", *said)
        # runc copies both into one pipe, and a line of the one can come in the middle of one of the other; the journal
        # takes a space from what follows it, and all of it if that is the end of a line
        log = re.sub(f"line [0-9] of {uid}\n", "", log)
        assert log.count("more") == LINES, name


@pytest.mark.parametrize("way", ["bundle", "runc"])
def test_a_signal_to_all_of_a_unit_leaves_its_log_alone(host: Host, way: str) -> None:
    script = (
        "import signal\nsignal.signal(signal.SIGHUP, lambda *_: print('SEEN \"hup\"', flush=True))\n"
        "print('ready', flush=True)\nwhile True: signal.pause()"
    )
    name = f"signalled-{way}"
    host.deploy(f"/var/{name}", {name: python(script, stopTimeout=0) | WAYS[way]})
    host.systemctl("start", f"{name}.service")
    host.wait_for_log(f"{name}.service", "ready")
    host.systemctl("kill", "--signal=HUP", f"{name}.service")
    assert host.said(name) == "hup"
    host.systemctl("stop", f"{name}.service")


@pytest.fixture(scope="module")
def surveyed(host: Host) -> dict[str, Any]:
    host.machine.run(["mkdir", "--parents", "/usr/share/zoneinfo/Made"])
    (host.machine.root / "usr/share/zoneinfo/Made/Up").write_bytes(ZONE)
    own: dict[str, dict[str, Any]] = {
        "podman": {
            "networks": [],
            "init": True,
            "timezone": "Made/Up",
            "logOptions": {"tag": "tagged"},
        },
        # the image has this zone
        "bundle": {"networks": ["host"], "timezone": "Asia/Tokyo"},
    }
    containers = {
        f"survey-{backend}": python(SURVEY, backend=backend, serviceName=f"unit-{backend}") | SURVEYED | more
        for backend, more in own.items()
    }
    for backend, action in (("podman", "kill"), ("bundle", "stop")):
        containers[f"survey-{backend}"]["healthcheck"] = UNHEALTHY | {"onFailure": action}
    host.deploy("/var/survey", containers)
    host.start_all(f"unit-{backend}" for backend in own)
    return {backend: host.said(f"unit-{backend}") for backend in own}


@pytest.mark.parametrize("backend", ["podman", "bundle"])
def test_names_limits_and_time_inside_are_those_of_the_options(
    host: Host, surveyed: dict[str, Any], backend: str
) -> None:
    seen = surveyed[backend]
    lines = [line for line in seen["resolv.conf"].splitlines() if line and not line.startswith("#")]
    assert lines == ["search one.example two.example", "nameserver 10.1.1.1", "options ndots:2"]
    hosts = [line.split() for line in seen["hosts"].splitlines()]
    assert hosts[0] == ["fd00::1", "db", "db.example"]
    gate = ["127.0.0.1", "gate"] if backend == "bundle" else ["10.88.0.1", "gate"]
    assert hosts[1] == gate
    assert (seen["nofile"], seen["core"]) == ([4096, 8192], [0, 0])
    assert seen["zone"] == ("MUP +0500" if backend == "podman" else "JST +0900")
    assert seen["environment"]["QUOTED"] == '"stays quoted" $HOME ${x} %n'
    assert seen["environment"]["GREETING"] == "grüße 'x'"
    assert (seen["environment"]["EMPTY"], seen["environment"]["OVER"]) == ("", "the document's")
    if backend == "podman":
        assert seen["first"].endswith("podman-init")
        assert "tagged" in host.machine.run(["journalctl", "CONTAINER_TAG=tagged", "-o", "verbose"]).stdout


@pytest.mark.parametrize("backend", ["podman", "bundle"])
def test_an_unhealthy_one_is_ended(host: Host, surveyed: dict[str, Any], backend: str) -> None:
    assert surveyed
    show = ["show", "--value", "--property=ActiveState", f"unit-{backend}.service"]
    deadline = time.monotonic() + 60
    while (state := host.systemctl(*show)) not in {"inactive", "failed"} and time.monotonic() < deadline:
        time.sleep(0.2)
    # a stop is a clean exit, a kill is none
    assert state == ("failed" if backend == "podman" else "inactive"), host.machine.journal(f"unit-{backend}.service")


def test_the_store_is_as_it_was(host: Host) -> None:
    assert host.measure() == host.hashes
