"""Secrets on each backend: they have the same content inside as outside, and nobody else can read them."""

from __future__ import annotations

import base64
import hashlib
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, Host
from tests.host.prepared import sample_host
from tests.host.process import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = b"never-to-be-found"
SECRETS: dict[str, bytes] = {
    "plain": b"hunter2 " + MARK,
    "lines": b"\n one\n\r\n\ttwo\n\n",
    "zeroes": b"\0a\0\0b\0",
    "bytes": bytes(range(256)) * 4,
    "text": b"$HOME ${x} %n %% \\n \\x41 \"'` ; # = ~ ^ gr\xc3\xbc\xc3\x9fe",
    "encoded": base64.b64encode(b"not to be decoded") + b"\n",
    "empty": b"",
    "large": b"0123456789abcdef" * 6000,
}
"""The content of secrets, by name."""

SHOW = """
import hashlib, json, os, sys, time
def look(path):
    try:
        status, content = os.stat(path), open(path, "rb").read()
    except OSError as error:
        return error.strerror
    return [hashlib.sha256(content).hexdigest(), status.st_uid, status.st_gid, status.st_mode]
seen = {path: look(path) for path in sys.argv[1:]}
try:
    open(sys.argv[1], "w")
    seen["written"] = True
except OSError:
    seen["written"] = False
print("SEEN", json.dumps(seen), flush=True)
time.sleep(1000)
"""

PLACES = {name: f"/run/secrets/{name}" for name in SECRETS} | {"shared": "/etc/app/shared key", "stored": "/stored"}


def container(backend: str, user: str, mode: str = "0400") -> dict[str, Any]:
    secrets: dict[str, Any] = {name: {"source": f"/var/keys/{name}", "mode": mode} for name in SECRETS}
    secrets["shared"] = {"source": "/var/keys/plain", "target": PLACES["shared"], "mode": "0444"}
    secrets["stored"] = {"source": "known-to-systemd", "target": PLACES["stored"]}
    return {
        "image": "python",
        "backend": backend,
        # the tests start it more often than a service does
        "settings": {"unit": {"Unit": {"StartLimitIntervalSec": 0}}},
        "networks": ["none"],
        "restart": "no",
        "user": user,
        "stopTimeout": 0,
        "entrypoint": ["python3", "-c", SHOW],
        "cmd": list(PLACES.values()),
        "secrets": secrets,
    }


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("python") as host:
        machine = host.machine
        keys = machine.root / "var/keys"
        keys.mkdir(mode=0o700)
        for name, content in SECRETS.items():
            (keys / name).write_bytes(content)
        machine.run(["mkdir", "--parents", "/run/credstore"])
        (machine.root / "run/credstore/known-to-systemd").write_bytes(SECRETS["zeroes"])
        containers = {f"user-{backend}": container(backend, "www-data") for backend in BACKENDS}
        containers |= {f"root-{backend}": container(backend, "root") for backend in BACKENDS}
        lost = {"secrets": {"s": {"source": "/var/keys/lost"}}}
        containers |= {f"lost-{backend}": container(backend, "root") | lost for backend in BACKENDS}
        host.deploy("/var/secrets", containers)
        yield host


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("user", ["user", "root"])
def test_inside_they_are_what_they_are_outside(host: Host, backend: str, user: str) -> None:
    name, uid = f"{user}-{backend}", 33 if user == "user" else 0
    host.systemctl("start", f"{name}.service")
    seen = host.said(name)
    for secret, content in SECRETS.items():
        read, *owner, mode = seen[f"/run/secrets/{secret}"]
        assert read == digest(content), secret
        assert owner == [uid, uid]
        assert mode == stat.S_IFREG | 0o400
    assert seen[PLACES["shared"]][0] == digest(SECRETS["plain"])
    assert seen[PLACES["shared"]][3] == stat.S_IFREG | 0o444
    assert seen[PLACES["stored"]][0] == digest(SECRETS["zeroes"])
    assert not seen["written"]
    host.systemctl("stop", f"{name}.service")


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_user_reads_them_neither_inside_nor_outside(host: Host, backend: str) -> None:
    name = f"user-{backend}"
    host.systemctl("start", f"{name}.service")
    host.said(name)
    run = ["crun", "exec", "--user=1234"] if backend == "bundle" else ["podman", "exec", "--user=1234"]
    inside = host.machine.run([*run, name, "cat", PLACES["plain"]], check=False)
    assert "Permission denied" in inside.stderr
    files = host.machine.run(["find", "/run", "-path", f"*{name}*", "-name", "plain", "-type", "f"]).stdout.split()
    assert f"/run/nixoci/{name}/secrets/plain" in files
    for file in files:
        # alice, and the user of the host that has the number of the one inside
        for reader in ("alice", "www-data"):
            become = ["setpriv", f"--reuid={reader}", "--clear-groups", "cat", file]
            assert "Permission denied" in host.machine.run(become, check=False).stderr
    host.systemctl("stop", f"{name}.service")


@pytest.mark.parametrize("end", [["stop"], ["kill", "--kill-whom=all", "--signal=KILL"]], ids=["stop", "kill"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_they_are_gone_when_it_has_stopped_or_died(host: Host, backend: str, end: list[str]) -> None:
    unit = f"root-{backend}.service"
    host.systemctl("start", unit)
    places = [f"/run/nixoci/root-{backend}/secrets", f"/run/credentials/{unit}"]
    assert all(host.machine.run(["ls", place]).stdout for place in places)
    host.systemctl(*end, unit)
    deadline = time.monotonic() + 60
    while host.systemctl("show", "--value", "--property=ActiveState", unit) not in {"inactive", "failed"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert host.machine.run(["ls", *places], check=False).stdout == ""


def test_a_new_secret_is_read_at_the_next_start(host: Host) -> None:
    file = host.machine.root / "var/keys/plain"
    for backend in BACKENDS:
        name = f"root-{backend}"
        host.systemctl("start", f"{name}.service")
        file.write_bytes(b"changed\n")
        host.systemctl("restart", f"{name}.service")
        run = ["crun", "exec"] if backend == "bundle" else ["podman", "exec"]
        assert host.machine.run([*run, name, "cat", PLACES["plain"]]).stdout == "changed\n"
        host.systemctl("stop", f"{name}.service")
        file.write_bytes(SECRETS["plain"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_that_is_not_there_fails_the_start_and_is_named(host: Host, backend: str) -> None:
    name = f"lost-{backend}"
    assert host.machine.run(["systemctl", "start", f"{name}.service"], check=False).returncode == 1
    log = host.machine.journal(f"{name}.service")
    assert "CREDENTIALS" in log
    assert "SEEN" not in log


def test_nothing_that_was_made_or_logged_holds_one(host: Host) -> None:
    for backend in BACKENDS:
        name = f"root-{backend}"
        host.systemctl("start", f"{name}.service")
        host.said(name)
        shown = host.machine.run(["systemctl", "show", f"{name}.service"]).stdout
        state = ["crun", "state", name] if backend == "bundle" else ["podman", "inspect", name]
        shown += host.machine.run(state).stdout
        assert MARK.decode() not in shown
        host.systemctl("stop", f"{name}.service")
    places = ["/nix", "/var/secrets", "/var/lib/containers", "/var/lib/nixoci", "/etc", "/tmp", "/var/tmp"]  # noqa: S108
    search = ["grep", "--recursive", "--files-with-matches", MARK.decode(), *places]
    found = host.machine.run(search, check=False, timeout=LONG)
    assert found.stdout == ""
