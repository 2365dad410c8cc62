"""Three images on three backends under real systemd, also with values that are hard to escape."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.host.containers import BACKENDS, HOSTILE, WEB, Host
from tests.host.prepared import sample_host
from tests.host.process import FETCH, CommandError
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN_IMAGE = """
import shutil
from pathlib import Path
from nixoci.tree.model import Inode, Kind
from tests.container.samples import make_image

path, program = Path("/tmp/plain"), Path("/usr/libexec/podman/catatonit")
extra = {"data": Inode(Kind.DIRECTORY), "pause": Inode(Kind.REGULAR, 0o755, size=program.stat().st_size)}
make_image(path, {"Cmd": ["/pause", "-P"]}, extra=extra)
for name in ("proc", "sys", "dev", "run", "tmp", "srv", "data", "var/tmp"):
    (path / "rootfs" / name).mkdir(parents=True)
shutil.copy(program, path / "rootfs/pause")
"""
"""An image that the store holds whole: everything is root's, and every mount point is there."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host() as host:
        yield host


@pytest.fixture(scope="module")
def three(host: Host) -> Host:
    host.deploy(
        "/var/three",
        {
            "web": WEB,
            "cache": {
                "image": "redis",
                "backend": "rootfs",
                "ports": ["127.0.0.1:6379:6379"],
                "dependsOn": ["db"],
            },
            "db": {
                "image": "postgres",
                "backend": "bundle",
                "networks": ["host"],
                "volumes": ["dbdata:/var/lib/postgresql/data"],
                "healthcheck": {"test": ["CMD", "pg_isready", "-q"], "interval": "1s"},
                "notify": "healthy",
            },
        },
    )
    host.systemctl("start", "web.service")
    return host


def test_all_three_start_in_order_and_are_reachable(three: Host) -> None:
    assert three.systemctl("is-active", "web", "cache", "db").split() == ["active"] * 3
    assert "Served by nginx" in three.machine.run([*FETCH, "http://127.0.0.1:8080/"]).stdout
    ping = "import socket as s; c = s.create_connection(('127.0.0.1', 6379)); c.send(b'PING\\r\\n'); print(c.recv(9))"
    assert "PONG" in three.machine.run(["python3", "-c", ping]).stdout
    assert three.machine.run(["crun", "exec", "db", "psql", "-U", "postgres", "-tAc", "select 6*7"]).stdout == "42\n"
    started = ["show", "--value", "--property=ActiveEnterTimestampMonotonic"]
    times = [int(three.systemctl(*started, unit)) for unit in ("db", "cache", "web")]
    assert times == sorted(times)


def test_ready_means_ready(three: Host) -> None:
    three.systemctl("restart", "db.service")
    three.machine.run(["crun", "exec", "db", "pg_isready", "-q"])


def test_all_three_log_to_the_journal(three: Host) -> None:
    three.machine.wait_for_unit("web.service")  # a dependency's restart was its own
    three.machine.run([*FETCH, "http://127.0.0.1:8080/?for-the-journal"])
    three.wait_for_log("web.service", "for-the-journal")
    three.wait_for_log("cache.service", "Ready to accept connections")
    three.wait_for_log("db.service", "ready to accept connections")


@pytest.mark.parametrize("unit", ["web", "cache", "db"])
def test_a_crash_is_followed_by_a_restart(three: Host, unit: str) -> None:
    for other in ("db", "cache", "web"):
        three.machine.wait_for_unit(f"{other}.service")
    restarts = ["show", "--value", "--property=NRestarts", f"{unit}.service"]
    before = int(three.systemctl(*restarts))
    three.systemctl("kill", "--signal=KILL", f"{unit}.service")
    deadline = time.monotonic() + 60
    while int(three.systemctl(*restarts)) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    three.machine.wait_for_unit(f"{unit}.service")
    assert int(three.systemctl(*restarts)) > before


def test_what_a_volume_holds_outlives_the_container(three: Host) -> None:
    psql = ["crun", "exec", "db", "psql", "-U", "postgres", "-tAc"]
    three.machine.run([*psql, "create table if not exists kept (x int)"])
    three.systemctl("restart", "db.service")
    three.machine.run([*psql, "select * from kept"])


def test_all_three_stop_within_their_time_and_leave_nothing(three: Host) -> None:
    for unit in ("db", "cache", "web"):
        three.machine.wait_for_unit(f"{unit}.service")
    three.systemctl("stop", "web", "cache", "db")
    # one that was killed after its time would have failed
    assert (
        three.machine.run(["systemctl", "is-failed", "web", "cache", "db"], check=False).stdout.split()
        == ["inactive"] * 3
    )
    mounted = three.machine.run(["findmnt", "--list", "--noheadings", "--output=TARGET"]).stdout.split()
    assert not [point for point in mounted if point.startswith("/run/nixoci/") and point.endswith("/root")]
    assert three.machine.run(["podman", "ps", "--all", "--quiet"]).stdout == ""


def test_the_commands_of_the_documentation_show_the_mounted_images(three: Host) -> None:
    commands = block("docs/containers.md", "$ systemctl restart nixoci-images").commands
    shown = [three.machine.run(["bash", "-c", command]).stdout for command in commands]
    assert re.findall("^/run/nixoci/images/", shown[1], re.MULTILINE)


def test_the_store_is_as_it_was_after_all_that(three: Host) -> None:
    assert three.measure() == three.hashes


IDENTITY = (
    "import json, os; caps = [l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')];"
    " print(json.dumps([os.getuid(), os.getgid(), sorted(os.getgroups()), caps, os.getcwd(),"
    " {k: v for k, v in os.environ.items() if k not in ('container', 'HOSTNAME', 'TERM')}, oct(os.umask(0))]))"
)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize(
    "user", [None, "www-data", "33:0", "1234:4321", "4711", "nobody:tty", "backup"], ids=lambda user: user or "none"
)
def test_a_bundle_is_run_as_podman_runs_the_image(host: Host, runtime: str, user: str | None) -> None:
    options = {"user": user, "entrypoint": ["python3"], "cmd": ["-c", IDENTITY], "workdir": "/srv"}
    base = f"/var/same-{runtime}-{(user or 'none').replace(':', '-')}"
    host.machine.run(["tee", f"{base}.json"], input=json.dumps(options))
    container = [f"--container={base}.json", f"--name={base.rpartition('/')[2]}"]
    host.machine.run(["nixoci", "bundle", host.paths["python"], base, *container])
    config = json.loads(host.machine.run(["cat", f"{base}/config.json"]).stdout)
    image = ["--rootfs", f"{host.paths['python']}/rootfs:O"]
    run = ["podman", "run", "--rm", "--network=none", "--workdir=/srv", *([f"--user={user}"] if user else [])]
    theirs = json.loads(host.machine.run([*run, "--entrypoint=python3", *image, "-c", IDENTITY]).stdout)
    root = config["root"]["path"]
    layer = f"/tmp{base}"  # noqa: S108 - an overlay's upper directory is not on an overlay
    lower = f"lowerdir={host.paths['python']}/rootfs"
    script = (
        f"mkdir -p {root} {layer}/up {layer}/work"
        f" && mount -t overlay -o {lower},upperdir={layer}/up,workdir={layer}/work overlay {root}"
        f" && {runtime} run --bundle {base} same < /dev/null; status=$?; umount {root}; exit $status"
    )
    ours = json.loads(host.machine.run(["sh", "-c", script]).stdout)
    # without an image podman knows no variables
    theirs[5] = {**ours[5], **theirs[5]}
    assert ours == theirs


def test_a_missing_user_is_refused_by_name(host: Host) -> None:
    document = {"images": host.paths, "containers": {"x": {"image": "python", "user": "nemo", "networks": ["none"]}}}
    host.machine.run(["tee", "/var/missing.json"], input=json.dumps(document))
    done = host.machine.run(["nixoci", "units", "/var/missing.json", "/var/missing"], check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: containers.x.user: the image has no user 'nemo'")


def test_what_podmans_generator_refuses_fails_with_its_words(host: Host) -> None:
    container = {"image": "python", "settings": {"quadlet": {"NoSuchKey": "x"}}}
    with pytest.raises(CommandError, match=r"error: containers\.x: podman's generator.*NoSuchKey"):
        host.deploy("/var/refused", {"x": container})


SLOW_TO_LEAVE = """#!/opt/nixoci/bin/python3
import ctypes, os, subprocess, sys, time
if "run" not in sys.argv:
    os.execv("/usr/bin/crun", ["crun", *sys.argv[1:]])
ended, ends = os.pipe()
if os.fork():
    sys.exit(os.read(ended, 1)[0])
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
os.write(ends, bytes([subprocess.call(["/usr/bin/crun", *sys.argv[1:]])]))
time.sleep(1)
"""
"""crun on a busy machine: the parent of the container's process outlives the command."""

TIDY = """
import signal, sys, time
def end(*_):
    time.sleep(0.5)
    print("SEEN a clean end", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("SEEN the start", flush=True)
while True:
    signal.pause()
"""


def test_a_stop_waits_for_a_container_whose_runtime_left_late(host: Host) -> None:
    """systemd kills a main process together with the stop signal if it was not its child when the unit had started."""
    host.machine.run(["tee", "/var/crun"], input=SLOW_TO_LEAVE)
    host.machine.run(["chmod", "+x", "/var/crun"])
    container = {"image": "python", "backend": "bundle", "networks": ["none"], "stopSignal": "SIGTERM"}
    container |= {"entrypoint": ["python3", "-c", TIDY], "restart": "no"}
    document = {"images": host.paths, "imageStore": "/nix/image-store", "containers": {"tidy": container}}
    host.machine.run(["tee", "/var/tidy.json"], input=json.dumps(document))
    host.machine.run(["nixoci", "units", "/var/tidy.json", "/var/tidy", "--crun", "/var/crun"])
    host.link("/var/tidy")
    host.systemctl("start", "tidy.service")
    host.wait_for_log("tidy.service", "SEEN the start")
    host.systemctl("stop", "tidy.service")
    assert "SEEN a clean end" in host.machine.journal("tidy.service")
    assert host.machine.run(["systemctl", "is-failed", "tidy.service"], check=False).stdout == "inactive\n"


def test_a_secret_is_read_by_the_containers_user_alone(host: Host) -> None:
    host.machine.run(["tee", "/var/token"], input="s3cret $x %n")
    for backend in BACKENDS:
        name = f"secret-{backend}"
        read = "import os; f = '/run/secrets/token'; print('SEEN', open(f).read(), oct(os.stat(f).st_mode), flush=True)"
        container = {
            "image": "python",
            "backend": backend,
            "networks": ["none"],
            "user": "www-data",
            "restart": "no",
            "entrypoint": ["python3", "-c", read],
            "secrets": {"token": {"source": "/var/token"}},
        }
        host.deploy(f"/var/{name}", {name: container})
        host.machine.run(["systemctl", "start", f"{name}.service"], check=False)
        assert "SEEN s3cret $x %n 0o100400" in host.wait_for_log(f"{name}.service", "SEEN")


def test_a_tree_that_is_run_in_place_stays_as_it_is(host: Host) -> None:
    host.machine.run(["/opt/nixoci/bin/python3", "-c", PLAIN_IMAGE], cwd="/src", env={"PYTHONPATH": "/src"})
    host.paths["plain"] = host.machine.run(["nix-store", "--add", "/tmp/plain"]).stdout.strip()  # noqa: S108
    hashes = host.measure("plain")
    host.hashes |= hashes
    host.deploy(
        "/var/plain", {"plain": {"image": "plain", "backend": "bundle", "networks": ["none"], "readOnly": True}}
    )
    config = json.loads(host.machine.run(["cat", "/var/plain/share/nixoci/bundles/plain/config.json"]).stdout)
    assert config["root"] == {"path": f"{host.paths['plain']}/rootfs", "readonly": True}
    host.systemctl("start", "plain.service")
    assert host.systemctl("is-active", "plain.service") == "active"
    assert host.measure("plain") == hashes
    host.systemctl("stop", "plain.service")
    assert host.measure("plain") == hashes


def test_a_bundle_says_itself_when_it_is_ready(host: Host) -> None:
    notify = (
        "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); time.sleep(1);"
        " s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET']); time.sleep(60)"
    )
    command = {"entrypoint": ["python3", "-c", notify], "networks": ["none"], "stopSignal": "SIGKILL"}
    host.deploy("/var/says", {"says": {"image": "python", "backend": "bundle", "notify": "container"} | command})
    before = time.monotonic()
    host.systemctl("start", "says.service")
    assert time.monotonic() - before > 1
    host.systemctl("stop", "says.service")


TERMINALS = """
import errno, json, os
ours, theirs = os.openpty()
os.write(ours, b"x\\n")
said = [os.ttyname(theirs).rpartition("/")[0], os.read(theirs, 2).decode()]
for device in ("/dev/tty", "/dev/fuse", "/dev/null", "/dev/full"):
    try:
        said.append(os.close(os.open(device, os.O_RDWR)))
    except OSError as error:
        said.append(errno.errorcode[error.errno])
try:
    os.mknod("/tmp/disk", 0o60600, os.makedev(7, 0))
    os.open("/tmp/disk", os.O_RDONLY)
except OSError as error:
    said.append(errno.errorcode[error.errno])
print("SEEN", json.dumps(said), flush=True)
"""


def test_a_bundle_may_use_terminals_and_no_disk(host: Host) -> None:
    container = {"image": "python", "backend": "bundle", "capabilities": {"MKNOD": True}}
    said = host.seen("terminals", container | {"entrypoint": ["python3", "-c", TERMINALS]})
    # no terminal controls it (ENXIO), and /dev/fuse has no node in it; what the device policy forbids is EPERM
    assert said == ["/dev/pts", "x\n", "ENXIO", "ENOENT", None, None, "EPERM"]


def test_the_worked_example_of_the_documentation_works(host: Host) -> None:
    example = block("docs/containers.md", "import sys").text
    paths = [host.paths[name] for name in ("nginx", "redis", "postgres")]
    host.machine.run(["/opt/nixoci/bin/python3", "-c", example, *paths, "/nix/image-store", "/var/example"])
    document = block("docs/containers.md", '{ "images": {').text
    for name in ("nginx", "redis", "postgres"):
        document = document.replace(f"/nix/store/...-{name}", host.paths[name])
    document = document.replace("/nix/store/...-image-store", "/nix/image-store")
    host.machine.run(["tee", "/var/same.json"], input=document)
    host.machine.run(["nixoci", "units", "/var/same.json", "/var/same"])
    show = ["sh", "-c", "cd $0 && grep -r ^ . | sed s=$0==g | sort", "/var/example"]
    python, command = (host.machine.run([*show[:3], out]).stdout for out in ("/var/example", "/var/same"))
    assert python == command
    host.machine.run(["nixoci", "units", "/var/same.json", "/var/again"])
    assert host.machine.run([*show[:3], "/var/again"]).stdout == command


def test_nothing_was_written_to_the_store(host: Host) -> None:
    assert host.measure() == host.hashes


def test_an_ordinary_users_systemd_takes_what_is_made_for_it(host: Host) -> None:
    machine = host.machine
    machine.linger("alice")
    machine.run(["nixoci", "image-store", "/nix/user-store", host.paths["python"], "--no-erofs"])
    container = {"image": "python", "environment": HOSTILE, "secrets": {"s": {"source": "/etc/hostname"}}}
    document = {"images": host.paths, "imageStore": "/nix/user-store", "containers": {"mine": container}}
    machine.run(["tee", "/var/mine.json"], input=json.dumps(document))
    machine.run(["nixoci", "units", "--user", "/var/mine.json", "/var/mine"])
    unit = "/var/mine/lib/systemd/user/mine.service"
    assert machine.run(["systemd-analyze", "--user", "verify", unit], user="alice").stderr == ""
    machine.run(["systemctl", "--user", "link", unit], user="alice")
    show = ["systemctl", "--user", "show", "--value", "--property=LoadState", "mine.service"]
    assert machine.run(show, user="alice").stdout == "loaded\n"
