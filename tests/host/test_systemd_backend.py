"""Containers that systemd alone runs, beside the same containers as bundles and on the real systemd."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import HOSTILE, STORE
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.containers import Host

PROBE = """
import json, os, resource, socket

def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return error.strerror

def owner(path):
    try:
        found = os.stat(path)
    except OSError as error:
        return error.strerror
    return [found.st_uid, found.st_gid, oct(found.st_mode)]

mounts = [line.split()[4:6] for line in open("/proc/self/mountinfo") if line.split()[4] in ("/mnt", "/media", "/opt")]
status = dict(map(str.strip, line.split(":", 1)) for line in open("/proc/self/status"))
kept = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Umask", "Seccomp")
masked = ("keys", "timer_list", "kcore", "interrupts", "latency_stats")
print("SEEN", json.dumps({
    "status": {name: status[name].split() for name in kept},
    "pid": os.getpid(),
    "environment": dict(os.environ),
    "directory": os.getcwd(),
    "hostname": socket.gethostname(),
    "masked": {name: read("/proc/" + name) for name in masked},
    "writable": {path: os.access(path, os.W_OK) for path in ("/", "/etc", "/proc/sys/kernel/hostname", "/sys", "/tmp")},
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "files": {path: read(path) for path in ("/etc/hostname", "/etc/hosts", "/run/secrets/key", "/mnt/file")},
    "links": [name for _, name in socket.if_nameindex()],
    "owners": {path: owner(path) for path in "/ /etc/shadow /run/lock /tmp /usr/bin/su /dev/shm /mem".split()},
    "devices": sorted(set(os.listdir("/dev")) & set("null zero full random urandom tty x fuse kmsg".split())),
    "mounts": {path: [option for option in options.split(",") if option[:2] == "no"] for path, options in mounts},
    "stdout": bool(os.fdopen(os.open("/dev/stdout", os.O_WRONLY), "w")),
}))
"""

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "user": {"user": "www-data"},
    "ids": {"user": "4711:4712"},
    "root": {"user": "root"},
    "capabilities": {"capabilities": {"NET_ADMIN": True, "CHOWN": False}},
    "no-capabilities": {"capabilities": {"ALL": False}, "user": "4711"},
    "added": {"capabilities": {"NET_RAW": True}, "user": "www-data"},
    "variables": {"environment": HOSTILE | {"a.b-c": "1", "HOME": "/h"}},
    "place": {"workdir": "/usr", "hostname": "box.example"},
    "missing-place": {"workdir": "/made/here", "user": "4711"},
    "limits": {"ulimits": {"nofile": "512:1024", "core": 0}},
    "read-only": {"readOnly": True},
    "memory": {"tmpfs": ["/mem:size=1m,mode=1770"], "shmSize": "1m"},
    "volume": {"volumes": ["/var/shared:/mnt:ro"], "readOnly": True},
    "volumes": {"volumes": ["kept:/mnt", "loose:/media:suid,dev,noexec", "/var/shared:/opt:nodev"]},
    "secret": {"secrets": {"key": {"source": "/var/shared/key"}}, "user": "4711:4711"},
    "device": {"devices": ["/dev/fuse:/dev/x"]},
    "host": {"networks": ["host"]},
}


def service(**options: Any) -> dict[str, Any]:
    return {"backend": "systemd", "networks": ["none"]} | options


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host() as made:
        made.machine.run(["mkdir", "/var/shared"])
        for name in ("file", "key"):
            made.machine.run(["tee", f"/var/shared/{name}"], input=f"the {name}\n")
        yield made


@pytest.fixture(scope="module")
def seen(host: Host) -> dict[str, Any]:
    """Return what the probe sees in each container, by case and backend."""
    containers = {
        f"{case}-{backend}": {
            "image": "python",
            "networks": ["none"],
            "backend": backend,
            "entrypoint": ["python3", "-c", PROBE],
        }
        | options
        for case, options in CASES.items()
        for backend in ("systemd", "bundle")
    }
    return host.seen_by_all("/var/cases", containers)


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what differs: names, and how the filters of system calls are counted."""
    kept: dict[str, Any] = json.loads(json.dumps(found).replace("-systemd", "-").replace("-bundle", "-"))
    return kept


@pytest.mark.parametrize("case", CASES)
def test_a_process_sees_the_same_as_in_a_bundle(seen: dict[str, Any], case: str) -> None:
    ours, theirs = (comparable(seen[f"{case}-{backend}"]) for backend in ("systemd", "bundle"))
    assert ours["pid"] == 1
    assert ours == theirs


def test_services_of_the_sample_images_work(host: Host) -> None:
    containers = {
        "web": service(
            image="nginx",
            networks=["host"],
            healthcheck={"test": ["CMD-SHELL", "test -s /run/nginx.pid && id -u"], "interval": "1s"},
        ),
        "db": service(
            image="postgres",
            volumes=["dbdata:/var/lib/postgresql/data"],
            environment={"POSTGRES_PASSWORD": "x"},
            healthcheck={"test": ["CMD", "pg_isready", "-q"], "interval": "1s"},
        ),
        "cache": service(image="redis", networks=["host"]),
    }
    host.deploy("/var/samples", containers)
    host.start_all(containers)
    host.wait_for_log("cache.service", "Ready to accept connections")
    host.wait_for_log("db.service", "database system is ready to accept connections")
    assert "200 OK" in host.machine.run(["curl", "-sI", "--retry", "6", "--retry-connrefused", "127.0.0.1"]).stdout
    for name in ("web", "db"):
        host.systemctl("start", f"{name}-health.service")
        assert host.systemctl("show", "--value", "--property=Result", f"{name}-health.service") == "success"
    roots = host.machine.run(["sh", "-c", "ls /nix/var/nix/gcroots/nixoci/web"]).stdout.split()
    assert roots == [host.paths["nginx"].removeprefix("/nix/store/")]
    owner = host.machine.run(["stat", "--format=%u:%a", "/var/lib/nixoci/volumes/dbdata"]).stdout
    assert not owner.startswith("0:")
    host.systemctl("stop", "web", "db", "cache", "web-keep", "db-keep", "cache-keep")
    assert not host.machine.run(["sh", "-c", "ls -A /nix/var/nix/gcroots/nixoci/web"]).stdout
    for name in ("web", "db"):
        left = host.machine.run(["find", f"/run/nixoci/{name}", "-mindepth", "1", "-printf", "%P\\n"]).stdout.split()
        assert sorted(left) == ["log", "work"]
    assert "/run/nixoci/web" not in host.machine.run(["cat", "/proc/self/mountinfo"]).stdout


def test_an_unhealthy_container_is_ended(host: Host) -> None:
    checked = {"test": ["CMD", "false"], "interval": "1s", "retries": 1, "onFailure": "kill"}
    host.deploy("/var/sick", {"sick": service(image="redis", restart="no", healthcheck=checked)})
    host.systemctl("start", "sick")
    assert host.machine.run(["systemctl", "start", "sick-health.service"], check=False).returncode
    host.wait_for_log("sick.service", "Failed with result")
    assert host.systemctl("show", "--value", "--property=Result", "sick.service") == "signal"


def test_a_start_begins_afresh_and_a_job_has_its_exit_code(host: Host) -> None:
    script = "test ! -e /mark && echo > /mark && echo > /usr/mark && exit 7"
    container = service(image="nginx", restart="no", entrypoint=["sh", "-c", script])
    host.deploy("/var/jobs", {"job": container})
    for _ in range(2):
        host.machine.run(["systemctl", "start", "job.service"], check=False)
        host.machine.run(["sh", "-c", "while systemctl is-active -q job.service; do sleep 0.05; done"])
        assert host.systemctl("show", "--value", "--property=ExecMainStatus", "job.service") == "7"


def test_a_container_reports_that_it_is_ready(host: Host) -> None:
    say = "import os, socket, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    say += "s.connect(os.environ['NOTIFY_SOCKET'])\ns.send(b'READY=1\\nSTATUS=at work')\ntime.sleep(100)"
    container = service(image="python", notify="container", entrypoint=["python3", "-c", say], stopTimeout=0)
    host.deploy("/var/reports", {"reports": container})
    host.systemctl("start", "reports")
    assert host.systemctl("show", "--value", "--property=StatusText", "reports") == "at work"
    host.systemctl("stop", "reports")


def test_an_absolute_symlink_of_the_image_leads_to_the_image(host: Host) -> None:
    """/etc/localtime of the image is such a link: a mount there must not reach the host's files, nor the store's."""
    host.machine.run(["tee", "/var/shared/zone"], input="not a zone\n")
    before = host.machine.run(["sha256sum", "/usr/share/zoneinfo/Etc/UTC"]).stdout
    script = "readlink /etc/localtime; cat /usr/share/zoneinfo/Etc/UTC; echo end"
    container = service(
        image="nginx",
        restart="no",
        entrypoint=["sh", "-c", script],
        volumes=["/var/shared/zone:/etc/localtime:ro"],
    )
    host.deploy("/var/links", {"links": container})
    host.systemctl("start", "links")
    assert "/usr/share/zoneinfo/Etc/UTC\nnot a zone\nend\n" in host.wait_for_log("links.service", "end\n")
    assert host.machine.run(["sha256sum", "/usr/share/zoneinfo/Etc/UTC"]).stdout == before


def test_a_restart_by_systemd_begins_afresh_too(host: Host) -> None:
    script = "test ! -e /mark && echo fresh; echo > /mark; exit 1"
    container = service(
        image="nginx",
        restart="on-failure",
        entrypoint=["sh", "-c", script],
        settings={"unit": {"Service": {"RestartSec": "50ms"}, "Unit": {"StartLimitBurst": 3}}},
    )
    host.deploy("/var/again", {"again": container})
    host.machine.run(["systemctl", "start", "again"], check=False)
    host.machine.run(["sh", "-c", "until systemctl is-failed -q again; do sleep 0.1; done"], timeout=60)
    count = "until [ $(journalctl --output=cat --unit=again.service | grep -c ^fresh$) = 3 ]; do sleep 0.1; done"
    host.machine.run(["sh", "-c", count], timeout=60)


NOT_HERE = "touch /var/lib/nixoci/escaped /run/escaped"


@pytest.mark.parametrize("read_only", [True, False])
def test_without_its_root_mounted_a_container_does_not_start(host: Host, read_only: bool) -> None:
    """Its program never runs in another root, whatever is at the path of its own."""
    name = f"absent-{'ro' if read_only else 'rw'}"
    host.deploy(f"/var/{name}", {name: service(image="redis", readOnly=read_only, entrypoint=["sh", "-c", NOT_HERE])})
    shown = host.machine.run(["systemctl", "show", "--value", "--property=RootDirectory", name])
    point = shown.stdout.strip()
    if read_only:
        host.machine.run(["umount", "--lazy", point])
    else:
        keep = f"/var/{name}/share/nixoci/services/{name}/keep"
        host.machine.run(["sed", "-i", "s/^fstab=.*/fstab=/", keep])
    for make in ("true", "mkdir"):
        host.machine.run([make, *["-p", point] * (make == "mkdir")])
        done = host.machine.run(["systemctl", "start", name], check=False)
        assert done.returncode
        assert "Assertion failed" in done.stderr
        assert host.machine.run(["systemctl", "is-active", name], check=False).stdout != "active\n"
    host.systemctl("restart", "nixoci-images")
    found = host.machine.run(["sh", "-c", f"ls /run/escaped /var/lib/nixoci/escaped {point}"], check=False).stdout
    assert "escaped" not in found


def test_a_layer_that_was_unmounted_by_hand_is_mounted_by_the_next_start(host: Host) -> None:
    host.deploy("/var/bare", {"bare": service(image="redis")})
    host.systemctl("start", "bare")
    host.machine.run(["umount", "--lazy", "/run/nixoci/bare/root"])
    host.systemctl("restart", "bare")
    host.wait_for_log("bare.service", "Ready to accept connections")
    host.systemctl("stop", "bare", "bare-keep")


def test_an_image_that_is_not_mounted_is_named(host: Host) -> None:
    host.deploy("/var/gone", {"gone": service(image="redis")})
    keep = "/var/gone/share/nixoci/services/gone/keep"
    host.machine.run(["sed", "-i", "s#^image=.*#image=/run/nixoci/images/gone#", keep])
    assert host.machine.run(["systemctl", "start", "gone"], check=False).returncode
    journal = host.machine.journal("gone-keep.service")
    assert "containers.gone.image: it is not mounted; run: systemctl restart nixoci-images" in journal


NSPAWN = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_SECCOMP": "0"}
"""What systemd-nspawn needs in a machine that is a container itself."""


@pytest.fixture(scope="module")
def mounted(host: Host) -> Host:
    """Return the host with the image nginx mounted, as a service of it makes it."""
    host.deploy("/var/mounted", {"mounted": service(image="nginx")})
    return host


@pytest.mark.parametrize("writable", [True, False])
def test_nspawn_runs_an_image_from_a_mount_stack(mounted: Host, writable: bool) -> None:
    machine, stack = mounted.machine, f"/var/lib/nixoci-{writable}.mstack"
    layer = machine.run(["readlink", "/var/mounted/share/nixoci/images/mounted"]).stdout.strip().rpartition("/")[2]
    records = json.loads(machine.run(["cat", f"{STORE}/overlay-images/images.json"]).stdout)
    (image,) = [f"--image={record['id']}" for record in records if record["layer"] == layer]
    machine.run(["nixoci", "mstack", stack, STORE, image, *["--writable"] * writable])
    machine.run(["mount", "-t", "tmpfs", "tmpfs", f"{stack}/rw"], check=False)
    script = "stat --format=%a:%U /usr/bin/su; touch /etc/mark && echo written"
    nspawn = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "--as-pid2"]
    done = machine.run([*nspawn, f"--mstack={stack}", "sh", "-c", script], env=NSPAWN, check=False, input="")
    assert done.stdout == "4755:root\n" + "written\n" * writable
    if not writable:
        assert "Read-only file system" in done.stderr


def test_nspawn_runs_a_bundle(mounted: Host) -> None:
    machine = mounted.machine
    script = "id -u; id -G; pwd; hostname; echo $GREETING; grep CapEff /proc/self/status; stat --format=%a /usr/bin/su"
    container = {
        "entrypoint": ["sh", "-c", script],
        "user": "www-data",
        "workdir": "/usr",
        "environment": {"GREETING": "hello there"},
        "readOnly": True,
    }
    machine.run(["tee", "/var/nspawn.json"], input=json.dumps(container))
    bundle = ["nixoci", "bundle", mounted.paths["nginx"], "/var/nspawn", "--container", "/var/nspawn.json"]
    machine.run([*bundle, "--name", "box", "--nspawn", STORE])
    run = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--oci-bundle=/var/nspawn"]
    done = machine.run(run, env=NSPAWN, check=False, input="")
    assert done.stdout.splitlines() == [
        *("33", "33", "/usr", "box", "hello there"),
        "CapEff:\t0000000000000000",
        "4755",
    ], done.stderr


def test_the_store_is_as_it_was(host: Host) -> None:
    assert host.measure() == host.hashes
