from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.host.__main__ import SHELL
from tests.host.machine import Machine
from tests.host.network import allow_ssh, join
from tests.host.process import CommandError
from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from tests.host.images import Pair
    from tests.host.registry import Registry

BUILDER = """derivation {
  name = "greeting";
  system = builtins.currentSystem;
  builder = "/usr/bin/python3";
  args = [ "-c" "import os; print('hello', os.getcwd(), file=open(os.environ['out'], 'w'))" ];
}"""


def test_systemd_boots_without_a_failed_unit() -> None:
    with Machine() as machine:
        assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"


def test_a_failing_command_says_what_it_said(machine: Machine) -> None:
    with pytest.raises(CommandError, match=r"(?s)exit code 3.*stdout\nout\n.*stderr\nerr"):
        machine.run(["sh", "-c", "echo out; echo err >&2; exit 3"])


@pytest.mark.parametrize("user", [None, "alice"])
def test_a_shell_has_the_command_of_the_checkout(machine: Machine, user: str | None) -> None:
    assert machine.run(SHELL, user=user, input="command -v nixoci\n").stdout == "/opt/nixoci/bin/nixoci\n"


def test_a_command_that_hangs_is_ended(machine: Machine) -> None:
    with pytest.raises(CommandError, match="did not end within"):
        machine.run(["sleep", "31.4159"], timeout=0.5)
    # the kernel ends it after its parent
    machine.run(["sh", "-c", 'while pgrep --full "^sleep 31.4159"; do sleep 0.05; done'])


def test_nix_builds_in_its_sandbox(machine: Machine) -> None:
    path = machine.run(["nix-build", "--no-out-link", "--expr", BUILDER]).stdout.strip()
    assert machine.run(["cat", path]).stdout == "hello /build\n"


def test_an_ordinary_user_builds_through_the_daemon(machine: Machine) -> None:
    expression = BUILDER.replace("hello", "hello, alice")
    path = machine.run(["nix-build", "--no-out-link", "--expr", expression], user="alice").stdout.strip()
    assert machine.run(["stat", "--format=%U", path]).stdout == "root\n"


def test_the_checkout_is_the_command(machine: Machine) -> None:
    where = "import nixoci; print(nixoci.__file__)"
    done = machine.run(["/opt/nixoci/bin/python3", "-c", where])
    assert done.stdout.startswith("/opt/nixoci/lib/")
    assert (machine.root / "src/nixoci/__init__.py").read_bytes() == (CHECKOUT / "nixoci/__init__.py").read_bytes()


@pytest.mark.parametrize("user", [None, "alice"])
def test_podman_runs_an_image_from_a_layout(machine: Machine, images: dict[str, Pair], user: str | None) -> None:
    if user:
        machine.linger(user)
    machine.run(["skopeo", "copy", images["python"].old.inside, "containers-storage:localhost/sample:1"], user=user)
    try:
        greet = ["python3", "-c", "print(6 * 7)"]
        assert machine.run(["podman", "run", "--rm", "localhost/sample:1", *greet], user=user).stdout == "42\n"
    finally:
        machine.run(["podman", "rmi", "localhost/sample:1"], user=user)


@pytest.mark.parametrize("name", ["nginx", "postgres", "python", "redis"])
def test_images_have_three_layers_and_two_versions(machine: Machine, images: dict[str, Pair], name: str) -> None:
    pair = images[name]
    assert pair.old.tag != pair.new.tag
    for image in (pair.old, pair.new):
        assert len(json.loads(machine.run(["skopeo", "inspect", image.inside]).stdout)["Layers"]) == 3


def test_a_registry_answers_and_tells_what_it_was_asked(
    machine: Machine, registry: Registry, images: dict[str, Pair]
) -> None:
    reference = registry.push(images["redis"].new)
    registry.clear()
    machine.run(["skopeo", "inspect", "--raw", f"docker://{reference}"])
    asked = registry.requests()
    assert ("GET", f"/v2/redis/manifests/{images['redis'].new.tag}", 200) in asked
    assert not [request for request in asked if "/blobs/" in request.path]


def test_a_registry_may_ask_for_a_password(
    machine: Machine, registry_with_auth: Registry, images: dict[str, Pair]
) -> None:
    reference = registry_with_auth.push(images["redis"].new)
    inspect = ["skopeo", "inspect", f"docker://{reference}"]
    assert machine.run(inspect, check=False).returncode
    machine.run([*inspect, f"--creds={registry_with_auth.credentials}"])


def test_a_unit_is_waited_for_and_its_journal_read(machine: Machine) -> None:
    greet = "echo greetings; systemd-notify --ready; sleep 60"
    options = ["--service-type=notify", "--property=NotifyAccess=all", "--no-block"]
    machine.run(["systemd-run", "--unit=greeter", "--collect", *options, "sh", "-c", greet])
    machine.wait_for_unit("greeter.service")
    machine.run(["systemctl", "stop", "greeter"])
    assert "greetings" in machine.journal("greeter.service")


def test_a_journal_has_what_was_written_while_journald_was_busy(machine: Machine) -> None:
    def journald(signal: str) -> list[str]:
        return ["systemctl", "kill", f"--signal={signal}", "systemd-journald.service"]

    machine.run(journald("STOP"))
    try:
        machine.run(["systemd-run", "--quiet", "--wait", "--collect", "--unit=writer", "sh", "-c", "echo written"])
    finally:
        waking = subprocess.Popen(machine.command(["sh", "-c", f"sleep 0.5; {shlex.join(journald('CONT'))}"]))
    with waking:
        assert machine.journal("writer.service").splitlines().count("written") == 1


def test_two_machines_reach_one_another_by_ssh(machine: Machine) -> None:
    with Machine() as other:
        _, address = join(machine, other)
        allow_ssh(other, by=machine)
        assert machine.run(["ssh", address, "hostname"]).stdout == f"{other.name}\n"
    assert not other.root.exists()
