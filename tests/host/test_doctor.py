"""One machine, broken in one way after the other, and what `nixoci doctor` says of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.host.containers import STORAGE_CONF, STORE, moved_storage
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.containers import Host
    from tests.host.images import Pair
    from tests.host.machine import Machine

DROP_IN = "/etc/containers/storage.rootful.conf.d/60-test.conf"


class Line(NamedTuple):
    status: str
    check: str
    text: str


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("nginx") as machine:
        yield machine


@pytest.fixture
def machine(host: Host) -> Machine:
    return host.machine


def doctor(machine: Machine, *, user: str | None = None, env: dict[str, str] | None = None) -> list[Line]:
    """Return the findings that are not ok; the exit code is 1 if one of them is a problem, and there is one line."""
    done = machine.run(["/opt/nixoci/bin/nixoci", "doctor", "--json"], user=user, env=env, check=False)
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    problems = [each for each in findings if each["status"] == "problem"]
    assert done.returncode == (1 if problems else 0), done.stderr
    assert done.stderr.count("\n") == (1 if problems else 0)
    return [
        Line(each["status"], each["check"], f"{each['found']}; {each['advice']}")
        for each in findings
        if each["status"] != "ok"
    ]


def write(machine: Machine, file: str, text: str) -> None:
    machine.run(["mkdir", "--parents", file.rpartition("/")[0]])
    machine.run(["tee", file], input=text)


def test_a_machine_that_runs_images_has_no_problem(machine: Machine) -> None:
    assert doctor(machine) == []
    printed = machine.run(["nixoci", "doctor"]).stdout
    assert printed.startswith("STATUS")
    assert STORE in printed


def test_the_versions_that_are_called_tested_are_older_than_those_here(machine: Machine) -> None:
    assert "untried" not in machine.run(["nixoci", "doctor", "--json"]).stdout


def test_a_store_that_is_not_there(machine: Machine) -> None:
    write(machine, DROP_IN, '[storage.options]\nadditionalimagestores = ["/nix/none", {append = true}]\n')
    assert machine.run(["podman", "images"], check=False).returncode != 0
    found = doctor(machine)
    assert [(line.status, line.check) for line in found if line.check == "/nix/none"] == [("problem", "/nix/none")]
    assert any(line.check == "podman info" for line in found)
    assert any(DROP_IN in line.text for line in found)
    machine.run(["rm", DROP_IN])
    assert doctor(machine) == []


def test_mount_options_with_which_commits_lose_content(machine: Machine) -> None:
    write(machine, DROP_IN, '[storage.options.overlay]\nmountopt = "nodev"\n')
    (line,) = doctor(machine)
    assert (line.status, line.check) == ("problem", "mountopt")
    write(machine, DROP_IN, '[storage.options.overlay]\nmountopt = "nodev,metacopy=on"\n')
    assert doctor(machine) == []
    machine.run(["rm", DROP_IN])


def test_a_drop_in_that_is_not_toml(machine: Machine) -> None:
    write(machine, DROP_IN, "[storage\n")
    assert machine.run(["podman", "images"], check=False).returncode != 0
    assert ("problem", DROP_IN) in {(line.status, line.check) for line in doctor(machine)}
    machine.run(["rm", DROP_IN])


def test_a_storage_conf_that_users_cannot_read(machine: Machine) -> None:
    machine.run(["chmod", "0600", STORAGE_CONF])
    machine.linger("alice")
    assert machine.run(["podman", "info"], user="alice", check=False).returncode != 0
    (line,) = doctor(machine)
    assert (line.status, line.check) == ("problem", STORAGE_CONF)
    assert f"chmod o+rX {STORAGE_CONF}" in line.text
    machine.run(["chmod", "0644", STORAGE_CONF])


def test_a_user_who_gets_root_s_store_and_has_no_ids(machine: Machine) -> None:
    ids = machine.run(["cat", "/etc/subuid"]).stdout
    machine.run(["tee", "/etc/subuid"], input="")
    found = {line.check: line for line in doctor(machine, user="alice")}
    assert "only root may mount" in found[STORE].text
    assert found["/etc/subuid"].status == "problem"
    machine.run(["tee", "/etc/subuid"], input=ids)
    assert "/etc/subuid" not in {line.check for line in doctor(machine, user="alice")}


def test_a_storage_conf_that_is_a_link_to_nothing(machine: Machine) -> None:
    """podman reads the next file, here none, and has lost the image store without a word."""
    machine.run(["mv", STORAGE_CONF, f"{STORAGE_CONF}.kept"])
    machine.run(["ln", "--symbolic", "/nix/none/storage.conf", STORAGE_CONF])
    assert machine.run(["podman", "images", "--quiet"]).stdout == ""
    found = {line.check: line for line in doctor(machine)}
    assert found[STORAGE_CONF].status == "problem"
    assert "link to /nix/none/storage.conf, which does not exist" in found[STORAGE_CONF].text
    assert "image store" in found
    machine.run(["mv", f"{STORAGE_CONF}.kept", STORAGE_CONF])
    assert doctor(machine) == []


def test_a_drop_in_that_a_profile_no_longer_has(machine: Machine) -> None:
    machine.run(["mkdir", "--parents", DROP_IN.rpartition("/")[0]])
    machine.run(["ln", "--symbolic", "/nix/var/nix/profiles/none/storage.conf.d/50-nixoci.conf", DROP_IN])
    assert machine.run(["podman", "images", "--quiet"]).stdout != ""
    (line,) = doctor(machine)
    assert (line.status, line.check) == ("problem", DROP_IN)
    assert "podman ignores it" in line.text
    machine.run(["rm", DROP_IN])


def test_a_profile_whose_generation_is_gone(machine: Machine) -> None:
    profile = "/nix/var/nix/profiles/test"
    machine.run(["ln", "--symbolic", "test-1-link", profile])
    write(machine, DROP_IN, f'[storage.options]\nadditionalimagestores = ["{profile}", {{append = true}}]\n')
    assert machine.run(["podman", "images"], check=False).returncode != 0
    found = {line.check: line for line in doctor(machine)}
    assert found[profile].status == "problem"
    assert "is a link to test-1-link, which does not exist" in found[profile].text
    machine.run(["rm", DROP_IN, profile])
    assert doctor(machine) == []


def test_a_storage_driver_that_does_not_read_the_image_store(machine: Machine) -> None:
    vfs = {"STORAGE_DRIVER": "vfs"}
    graph_root = {"CONTAINERS_STORAGE_CONF": "/etc/containers/vfs.conf"}
    conf = machine.run(["cat", STORAGE_CONF]).stdout.replace('"overlay"', '"vfs"', 1)
    write(machine, "/etc/containers/vfs.conf", moved_storage(conf, "/var/vfs", "/run/vfs"))
    assert machine.run(["podman", "images", "--quiet"], env=graph_root).stdout == ""
    found = {line.check: line for line in doctor(machine, env=graph_root | vfs)}
    assert found["storage driver"].status == "problem"
    assert "vfs; image stores are for the driver overlay" in found["storage driver"].text
    machine.run(["rm", "--recursive", "--force", "/var/vfs", "/etc/containers/vfs.conf"])


def test_an_image_store_that_a_user_cannot_read(machine: Machine) -> None:
    write(
        machine,
        "/etc/containers/closed.conf",
        '[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["/root/closed/store"]\n',
    )
    machine.run(["mkdir", "--parents", "/root/closed/store"])
    machine.run(["chmod", "0700", "/root"])
    machine.linger("alice")
    env = {"CONTAINERS_STORAGE_CONF": "/etc/containers/closed.conf"}
    assert machine.run(["podman", "info"], user="alice", env=env, check=False).returncode != 0
    found = {line.check: line for line in doctor(machine, user="alice", env=env)}
    assert found["/root/closed/store"].status == "problem"
    assert "closed to this user" in found["/root/closed/store"].text
    machine.run(["rm", "--recursive", "--force", "/root/closed", "/etc/containers/closed.conf"])


def test_an_image_that_was_collected_below_its_store(machine: Machine) -> None:
    """The store is no store path here, so that Nix does not know that it needs the image."""
    machine.run(["cp", "--recursive", "--no-dereference", STORE, "/root/collected"])
    layer, *_ = machine.run(["find", "/root/collected/overlay", "-name", "diff", "-type", "l"]).stdout.split()
    machine.run(["ln", "--symbolic", "--force", "--no-dereference", "/nix/store/gone/rootfs", layer])
    write(machine, DROP_IN, '[storage.options]\nadditionalimagestores = ["/root/collected", {append = true}]\n')
    found = {line.check: line for line in doctor(machine)}
    assert found["/root/collected"].status == "problem"
    assert "its images are gone: /nix/store/gone/rootfs" in found["/root/collected"].text
    machine.run(["rm", "--recursive", "--force", DROP_IN, "/root/collected"])
    assert doctor(machine) == []


@pytest.mark.parametrize("asked", ["true", "false"])
def test_nix_tells_whether_it_keeps_equal_files_once(machine: Machine, asked: str) -> None:
    machine.run(["mkdir", "--parents", "/run/nix-conf"])
    machine.run(["tee", "/run/nix-conf/nix.conf"], input=f"auto-optimise-store = {asked}\n")
    code = "from nixoci.nix_store.commands import stores_equal_files_once as once; print(once())"
    done = machine.run(["/opt/nixoci/bin/python3", "-c", code], env={"NIX_CONF_DIR": "/run/nix-conf"})
    assert done.stdout == f"{asked == 'true'}\n"


@pytest.fixture
def name(machine: Machine, images: dict[str, Pair]) -> Iterator[str]:
    """Yield the name of an image in an image store that a drop-in names."""
    name = "docker.io/library/nginx:1.27"
    source = images["nginx"].old.inside
    machine.run(["nixoci", "extract", source, "/nix/nginx-1.27", "--name=nginx", f"--reference={name}"], timeout=300)
    path = machine.run(["nix-store", "--add", "/nix/nginx-1.27"], timeout=300).stdout.strip()
    machine.run(["nixoci", "image-store", "/nix/named", path, f"--drop-in={DROP_IN}"])
    yield name
    machine.run(["rm", "--recursive", "--force", DROP_IN, "/nix/named", "/nix/nginx-1.27"])


def test_a_tag_that_hides_an_image_and_a_container_without_a_root(
    machine: Machine, name: str, images: dict[str, Pair]
) -> None:
    assert doctor(machine) == []
    inspect = ["podman", "image", "inspect", "--format={{.Id}}", name]
    stored = machine.run(inspect).stdout
    machine.run(["skopeo", "copy", "--quiet", images["redis"].old.inside, f"containers-storage:{name}"], timeout=300)
    assert machine.run(inspect).stdout != stored
    (line,) = doctor(machine)
    assert (line.status, line.check) == ("problem", name)
    assert f"`podman untag {name}`" in line.text
    machine.run(["podman", "untag", name])
    assert doctor(machine) == []
    assert machine.run(inspect).stdout == stored

    machine.run(["podman", "create", "--name=web", "--network=none", name, "true"])
    (line,) = doctor(machine)
    assert (line.status, line.check) == ("warning", "gc roots of containers")
    assert "web" in line.text
    machine.run(["nixoci", "gc-roots"])
    assert doctor(machine) == []
    machine.run(["podman", "rm", "web"])
    machine.run(["nixoci", "gc-roots"])


def test_a_path_without_programs(machine: Machine) -> None:
    found = {line.check: line.status for line in doctor(machine, env={"PATH": "/opt/nixoci/bin"})}
    assert found.pop("image store", None) is None
    assert found == {
        "podman": "problem",
        "nix": "problem",
        "skopeo": "warning",
        "mkcomposefs": "warning",
        "systemd": "warning",
    }
