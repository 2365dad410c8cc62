"""Registered images in a real Docker with overlay2: all that users do with one, none of which may change the store."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.changes import CHANGED, CHANGES
from tests.host.engines import install_runtime, make_entries, make_store, mount_images
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.process import FETCH
from tests.host.registry import Registry
from tests.host.small import small_images
from tests.host.test_image_store import assert_equal_listings, listing
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Image, Pair

ROOT = "/var/lib/docker"
SAVED = "/var/lib/saved"
OTHER = "/etc/docker/other.json"
ROOTS = "/nix/var/nix/gcroots/nixoci-engines/docker"
SMALL = ("docker.io/library/small:1", "docker.io/library/small:2")
NGINX = "docker.io/library/nginx:1"
PAGE_OF_DOCKER = "docs/docker.md"
PAGE = "<h1>Served by nginx from an OCI image</h1>\n"
COMPOSE = """
    ports: ["127.0.0.1:8085:80"]
  job:
    image: small:1
    pull_policy: never
    network_mode: none
    stop_signal: KILL
    command: ["sh", "-c", "cat /version; sleep 1000"]
"""
"""The rest of the project in the documentation."""

GIVEN_UP = """
until [ "$(docker inspect --format='{{.RestartCount}} {{.State.Status}}' failing)" = '2 exited' ]; do sleep 0.1; done
"""


class Docker:
    """A machine with Docker, and image stores in its Nix store: of nginx and one version of a small image each."""

    def __init__(self, machine: Machine, registry: Registry, entries: dict[str, str]) -> None:
        self.machine = machine
        self.registry = registry
        self.entries = entries
        self.old = make_store(machine, [entries[NGINX], entries[SMALL[0]]])
        self.new = make_store(machine, [entries[NGINX], entries[SMALL[1]]])
        self.all = make_store(machine, list(entries.values()))

    def __call__(self, *command: str, check: bool = True, **options: Any) -> str:
        env = {"DOCKER_BUILDKIT": "0"}
        done = self.machine.run(["docker", *command], check=check, env=env, timeout=180, **options)
        return (done.stdout if check else done.stdout + done.stderr).strip()

    def run(self, image: str, *command: str) -> str:
        return self("run", "--rm", "--network=none", image, *command)

    def register(self, store: str, *options: str, check: bool = True) -> dict[str, Any]:
        argv = ["nixoci", "register", "docker", store, "--json", *options]
        done = self.machine.run(argv, check=check)
        assert check or done.returncode == 1
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome | {"error": done.stderr}

    def stop(self) -> None:
        self.machine.run(["systemctl", "stop", "docker.socket", "docker.service"])

    def start(self) -> None:
        # three starts in a minute are its limit
        self.machine.run(["systemctl", "reset-failed", "docker.socket", "docker.service"])
        self.machine.run(["systemctl", "start", "docker.service"])

    def switch(self, store: str) -> dict[str, str]:
        """Register the images of a store while Docker is stopped; return what became of each, by its id."""
        self.stop()
        done = self.register(store)
        assert done["error"] == ""
        self.start()
        return {image["id"]: image["change"] for image in done["images"]}

    def images(self) -> set[str]:
        return set(self("images", "--format={{.Repository}}:{{.Tag}}").split())

    def id(self, image: str) -> str:
        return self("image", "inspect", "--format={{.Id}}", image).removeprefix("sha256:")

    def pid(self, container: str) -> str:
        return self("inspect", "--format={{.State.Pid}}", container)

    def roots(self) -> set[str]:
        return {f"/nix/store/{name}" for name in self.machine.run(["ls", ROOTS]).stdout.split()}

    def load(self, image: Image, name: str) -> None:
        """Load an image as Docker does it ordinarily, with all its layers."""
        archive = "/var/tmp/loaded.tar"  # noqa: S108
        copy = ["skopeo", "copy", "--quiet", image.inside, f"docker-archive:{archive}:{name}"]
        self.machine.run(copy, timeout=300)
        self("load", "--quiet", f"--input={archive}")
        self.machine.run(["rm", archive])


@pytest.fixture(scope="module")
def docker(images: dict[str, Pair]) -> Iterator[Docker]:
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        install_runtime(machine)
        pair = small_images()
        sources = {SMALL[0]: pair.old.inside, SMALL[1]: pair.new.inside, NGINX: images["nginx"].old.inside}
        entries = dict(zip(sources, make_entries(machine, sources), strict=True))
        docker = Docker(machine, registry, entries)
        mount_images(machine, docker.all)
        docker.register(docker.all)
        machine.run(["systemctl", "enable", "--now", "containerd", "docker"])
        yield docker


def page(docker: Docker, port: int) -> str:
    return docker.machine.run([*FETCH, f"http://127.0.0.1:{port}/"]).stdout


def test_images_run_in_place_by_name_id_and_the_registrys_digest(docker: Docker, images: dict[str, Pair]) -> None:
    assert docker.images() == {"small:1", "small:2", "nginx:1"}
    for version in ("1", "2"):
        assert docker.run(f"small:{version}", "cat", "/version") == f"small {version}"
        assert docker.run(docker.id(f"small:{version}")[:12], "stat", "--format=%u %g %a", "/var/mail") == "0 8 2775"
    (shown,) = json.loads(docker("image", "inspect", "nginx:1"))
    original = json.loads(docker.machine.run(["skopeo", "inspect", "--config", images["nginx"].old.inside]).stdout)
    assert shown["Created"] == original["created"]
    assert {key: shown["Config"].get(key) for key in original["config"]} == original["config"]
    digest = json.loads(docker.machine.run(["skopeo", "inspect", images["nginx"].old.inside]).stdout)["Digest"]
    assert f"nginx@{digest}" in shown["RepoDigests"]
    assert docker.run(f"nginx@{digest}", "cat", "/etc/hostname") != ""
    assert "nginx-light" in docker("history", "--no-trunc", "nginx:1")
    # Docker's own data, without what is mounted in it
    assert docker.machine.used_space(ROOT) < (1 << 20) * len(docker.entries)
    assert docker.roots() == set(docker.entries.values())


def test_a_second_run_changes_nothing_also_under_a_running_dockerd(docker: Docker) -> None:
    done = docker.register(docker.all)
    assert {image["change"] for image in done["images"]} == {"kept"}
    assert not done["restart"]
    assert done["unmounted"] == []


def test_changes_need_a_stopped_dockerd(docker: Docker) -> None:
    before = docker.machine.run(["find", f"{ROOT}/image", "-ls"]).stdout
    done = docker.register(docker.old, check=False)
    assert done["restart"]
    assert "nothing changed, because dockerd runs" in done["error"]
    assert docker.register(docker.old, "--dry-run")["restart"]
    assert docker.machine.run(["find", f"{ROOT}/image", "-ls"]).stdout == before


def test_a_container_holds_what_one_of_the_loaded_image_holds(docker: Docker, images: dict[str, Pair]) -> None:
    docker.load(images["nginx"].old, "ordinary:1")
    wait = ("run", "--detach", "--network=none", "--user=root", "--stop-signal=KILL", "--entrypoint=sleep")
    before = time.time_ns()
    both = [docker(*wait, image, "600") for image in ("nginx:1", "ordinary:1")]
    try:
        ours, theirs = (listing(docker.machine, docker.pid(container), before) for container in both)
        for image in ("nginx:1", "ordinary:1"):
            assert "is using its referenced image" in docker("rmi", image, check=False)
        assert_told_alike(docker, "nginx:1", "ordinary:1")
    finally:
        docker("rm", "--force", *both)
        docker("rmi", "ordinary:1")
    assert_equal_listings(ours, theirs)


def assert_told_alike(docker: Docker, registered: str, loaded: str) -> None:
    """Compare what Docker tells of an image: all but what its one layer changes."""
    ours, theirs = (json.loads(docker("image", "inspect", image))[0] for image in (registered, loaded))
    differ = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert differ == {"Id", "RepoTags", "RepoDigests", "RootFS", "GraphDriver", "Size"}
    assert 1 == len(ours["RootFS"]["Layers"]) < len(theirs["RootFS"]["Layers"])
    # files that a higher layer hides are not in it, and the headers of the tar archive are
    assert 0.5 * theirs["Size"] < ours["Size"] < 1.1 * theirs["Size"]
    steps = [docker("history", "--no-trunc", "--format={{.CreatedAt}} {{.CreatedBy}} {{.Comment}}", registered)]
    assert steps == [docker("history", "--no-trunc", "--format={{.CreatedAt}} {{.CreatedBy}} {{.Comment}}", loaded)]
    sizes = docker("history", "--human=false", "--format={{.Size}}", registered).split()
    assert [size for size in sizes if size != "0"] == [str(ours["Size"])]


def test_an_ordinary_image_shares_its_base_beside_ours(docker: Docker) -> None:
    pair = small_images()
    docker.load(pair.old, "plain:1")
    docker.load(pair.new, "plain:2")
    for version in ("1", "2"):
        for name in ("plain", "small"):
            assert docker.run(f"{name}:{version}", "cat", "/version") == f"small {version}"
    assert docker.id("plain:1") != docker.id("small:1")
    docker.switch(docker.all)
    assert docker.run("plain:2", "cat", "/version") == "small 2"
    docker("rmi", "plain:1", "plain:2")
    assert docker.run("small:2", "cat", "/version") == "small 2"


def test_nginx_serves_and_its_container_is_written_compared_and_committed(docker: Docker) -> None:
    docker("run", "--detach", "--name=web", "--publish=127.0.0.1:8081:80", "nginx:1")
    try:
        assert page(docker, 8081) == PAGE
        assert docker("exec", "web", "id", "-u") == "0"
        docker("exec", "web", "sh", "-c", f"echo new > /srv/new; rm /srv/private/secret; {CHANGES}")
        changed = docker("diff", "web").splitlines()
        assert {"A /srv/new", "D /srv/private/secret"} <= set(changed)
        docker("commit", "web", "mine:1")
        assert docker.run("mine:1", "cat", "/srv/new") == "new"
        assert docker.run("mine:1", *CHANGED) == docker.run("nginx:1", *CHANGED)
        assert "No such file" in docker(
            "run", "--rm", "--network=none", "mine:1", "cat", "/srv/private/secret", check=False
        )
        assert docker.run("nginx:1", "cat", "/srv/private/secret") == "for www-data only"
    finally:
        docker("rm", "--force", "web")
        docker("rmi", "mine:1")


def test_owners_modes_and_capabilities_take_effect(docker: Docker) -> None:
    def inside(user: str, script: str) -> str:
        wait = ("run", "--rm", "--network=none", f"--user={user}", "--entrypoint=sh")
        return docker(*wait, "nginx:1", "-c", script, check=False)

    assert inside("www-data", "cat /srv/private/secret") == "for www-data only"
    assert "Permission denied" in inside("nobody", "cat /etc/shadow")
    assert inside("nobody", "passwd --status nobody").startswith("nobody")
    assert " 0% packet loss" in inside("nobody", "ping -c1 127.0.0.1")


def test_an_image_is_built_upon(docker: Docker) -> None:
    recipe = "FROM nginx:1\nRUN rm /srv/private/secret && echo built > /built\nCOPY --from=small:2 /version /version\n"
    recipe += f"RUN {CHANGES}\n"
    docker("build", "--quiet", "--network=none", "--tag=built:1", "-", input=recipe)
    try:
        assert docker.run("built:1", "sh", "-c", "cat /built /version; ls /srv/private") == "built\nsmall 2"
        assert docker.run("built:1", *CHANGED) == docker.run("nginx:1", *CHANGED)
        # it stays whole when its base is no longer declared
        only_small = make_store(docker.machine, [docker.entries[SMALL[0]]])
        base = docker.id("nginx:1")
        assert docker.switch(only_small)[base] == "used"
        assert docker.run("built:1", "cat", "/version") == "small 2"
        assert docker.entries[NGINX] in docker.roots()
    finally:
        docker("rmi", "built:1")
    docker.switch(docker.entries[SMALL[0]])
    assert docker.roots() == {docker.entries[SMALL[0]]}
    docker.switch(docker.all)
    assert docker.images() == {"small:1", "small:2", "nginx:1"}


def test_an_image_is_saved_pushed_and_pulled(docker: Docker) -> None:
    image = docker.id("nginx:1")
    archive, pushed = f"{SAVED}.tar", f"{docker.registry.host}/pushed:1"
    docker("save", f"--output={archive}", "nginx:1")
    shown = docker.machine.run(["skopeo", "inspect", "--raw", f"docker-archive:{archive}"]).stdout
    assert json.loads(shown)["config"]["digest"] == f"sha256:{image}"
    docker.machine.run(["skopeo", "copy", "--quiet", f"docker-archive:{archive}", f"dir:{SAVED}"], timeout=300)
    docker.machine.run(["rm", "--recursive", archive, SAVED])
    docker("tag", "small:1", pushed)
    docker("push", pushed)
    inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{pushed}"]
    written = docker.machine.run(inspect).stdout
    assert len(json.loads(written)["layers"]) == 1
    assert f"small@sha256:{sha256(written.encode()).hexdigest()}" not in docker(
        "image", "inspect", '--format={{join .RepoDigests " "}}', "small:1"
    )
    # a Docker that has pulled the image has it with its files, and nixoci leaves it alone
    small = docker.id("small:1")
    docker("rmi", "--force", small)
    docker("pull", pushed)
    assert docker.id(pushed) == small
    assert docker.switch(docker.all)[small] == "foreign"
    assert docker.run("small:1", "cat", "/version") == "small 1"
    docker("rmi", "--force", small)
    assert docker.switch(docker.all)[small] == "added"


def test_what_docker_removes_comes_back(docker: Docker) -> None:
    small = docker.id("small:1")
    docker("rmi", "small:1")
    assert docker.images() == {"small:2", "nginx:1"}
    docker.machine.run(["nixoci", "gc-roots"])
    assert docker.entries[SMALL[0]] not in docker.roots()
    assert docker.switch(docker.all)[small] == "repaired"
    docker("system", "prune", "--all", "--force")
    assert docker.images() == set()
    assert set(docker.switch(docker.all).values()) == {"repaired"}
    for version in ("1", "2"):
        assert docker.run(f"small:{version}", "cat", "/version") == f"small {version}"
    assert docker.roots() == set(docker.entries.values())


def test_a_name_goes_to_the_declared_image(docker: Docker) -> None:
    docker("tag", "small:2", "small:1")
    docker.stop()
    moved = [name for name in docker.register(docker.all)["names"] if name["change"] == "moved"]
    docker.start()
    assert [name["name"] for name in moved] == ["small:1"]
    assert docker.run("small:1", "cat", "/version") == "small 1"


def test_a_container_outlives_a_switch_a_rollback_a_restart_and_a_boot(docker: Docker) -> None:
    sleep = ("sh", "-c", "cat /version; exec sleep 100000")
    docker(
        "run", "--detach", "--name=stays", "--stop-signal=KILL", "--restart=always", "--network=none", "small:1", *sleep
    )
    docker("run", "--detach", "--name=web", "--restart=always", "--publish=127.0.0.1:8082:80", "nginx:1")
    try:
        small = docker.id("small:1")
        assert docker.switch(docker.new)[small] == "used"
        assert docker.images() == {"small:2", "nginx:1", "<none>:<none>"}
        assert docker("exec", "stays", "cat", "/version") == "small 1"
        assert docker.entries[SMALL[0]] in docker.roots()
        # the mounts follow the roots, and not the store
        mount_images(docker.machine, docker.new)
        docker.machine.reboot()
        docker.machine.wait_for_unit("docker.service")
        assert docker("exec", "stays", "cat", "/version") == "small 1"
        assert page(docker, 8082) == PAGE
        mount_images(docker.machine, docker.old)
        assert docker.switch(docker.old)[small] == "kept"
        assert docker.images() == {"small:1", "nginx:1"}
        assert docker("exec", "stays", "cat", "/version") == "small 1"
    finally:
        docker("rm", "--force", "stays", "web")
    mount_images(docker.machine, docker.all)
    docker.switch(docker.all)


def test_restart_policies_decide_over_a_restart_and_a_boot(docker: Docker) -> None:
    policies = {"kept": "unless-stopped", "stopped": "unless-stopped", "never": "no"}
    limits = ("--network=none", "--stop-signal=KILL")
    for name, policy in policies.items():
        docker("run", "--detach", f"--name={name}", f"--restart={policy}", *limits, "small:1", "sleep", "100000")
    docker("run", "--detach", "--name=failing", "--restart=on-failure:2", *limits, "small:1", "sh", "-c", "exit 1")
    docker("stop", "--time=0", "stopped")
    try:
        docker.machine.run(["sh", "-c", GIVEN_UP], timeout=60)
        for again in (["systemctl", "restart", "docker"], None):
            if again:
                docker.machine.run(again)
            else:
                docker.machine.reboot()
                docker.machine.wait_for_unit("docker.service")
            # dockerd has started containers when it answers
            states = docker("inspect", "--format={{.Name}} {{.State.Running}}", *policies).splitlines()
            assert states == ["/kept true", "/stopped false", "/never false"]
            assert docker("exec", "kept", "cat", "/version") == "small 1"
    finally:
        docker("rm", "--force", "failing", *policies)


def test_a_container_runs_on_while_dockerd_is_stopped_for_a_switch(docker: Docker) -> None:
    docker.machine.run(["mkdir", "--parents", "/etc/docker"])
    docker.machine.run(["tee", "/etc/docker/daemon.json"], input='{"live-restore": true}')
    docker.switch(docker.old)
    docker("run", "--detach", "--name=live", "--stop-signal=KILL", "--network=none", "small:1", "sleep", "100000")
    try:
        before, image = docker.pid("live"), docker.id("small:1")
        assert docker.switch(docker.new)[image] == "used"
        assert docker.pid("live") == before
        assert docker("exec", "live", "cat", "/version") == "small 1"
    finally:
        docker("rm", "--force", "live")
        docker.machine.run(["rm", "/etc/docker/daemon.json"])
        docker.switch(docker.all)


def test_compose_starts_registered_images(docker: Docker) -> None:
    docker.machine.run(["mkdir", "--parents", "/var/project"])
    docker.machine.run(
        ["tee", "/var/project/compose.yaml"],
        input=block(PAGE_OF_DOCKER, "services: web:").text.replace("nginx:1.27", "nginx:1").rstrip() + COMPOSE,
    )
    docker("compose", "--project-directory=/var/project", "up", "--detach", "--quiet-pull")
    try:
        assert page(docker, 8085) == PAGE
        # what a container prints is in its log a moment later
        deadline = time.monotonic() + 60
        while "small 1" not in docker("compose", "--project-directory=/var/project", "logs", "job"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        docker("compose", "--project-directory=/var/project", "down", "--timeout=0")


def test_a_killed_registration_leaves_a_docker_that_starts(docker: Docker) -> None:
    nothing = make_store(docker.machine, [docker.entries[SMALL[1]]])
    for milliseconds in (180, 260):
        docker.switch(nothing)
        docker.stop()
        kill = ["timeout", "--signal=KILL", f"{milliseconds / 1000}", "nixoci", "register", "docker", docker.all]
        docker.machine.run(kill, check=False)
        docker.start()
        for name in docker.images() - {"<none>:<none>"}:
            docker.run(name, "true")
        assert docker.switch(docker.all)
        assert docker.images() == {"small:1", "small:2", "nginx:1"}


def test_a_container_of_an_image_that_is_not_mounted_does_not_start(docker: Docker) -> None:
    mount_images(docker.machine, docker.all)
    docker.machine.run(["sh", "-c", "umount /run/nixoci/images/*small-1* && rmdir /run/nixoci/images/*small-1*"])
    assert docker.register(docker.all)["unmounted"]
    assert "no such file or directory" in docker("run", "--rm", "--network=none", "small:1", "true", check=False)
    docker.machine.run(["systemctl", "restart", "nixoci-images.service"])
    assert docker.run("small:1", "cat", "/version") == "small 1"


def test_the_commands_of_the_documentation(docker: Docker) -> None:
    docker.switch(docker.old)
    deployment = json.loads(block(PAGE_OF_DOCKER, '{"imageStore":').text)
    docker.machine.run(["tee", "/root/docker.json"], input=json.dumps({**deployment, "imageStore": docker.all}))
    # that of the tests gives way
    docker.machine.run(["systemctl", "stop", "nixoci-images.service"])
    docker.machine.run(["find", "/etc/systemd/system", "-name", "nixoci-images.service", "-delete"])
    docker.machine.run(["systemctl", "daemon-reload"])
    docker.machine.run(["systemctl", "reset-failed", "docker.socket", "docker.service"])
    for command in block(PAGE_OF_DOCKER, "$ nixoci units docker.json").commands:
        docker.machine.run(["sh", "-c", command])
    assert docker.images() == {"small:1", "small:2", "nginx:1"}
    assert docker.run("small:2", "cat", "/version") == "small 2"
    docker("system", "prune", "--all", "--force")
    docker.stop()
    docker.machine.run(["systemctl", "restart", "nixoci-register-docker.service"])
    docker.start()
    assert docker.images() == {"small:1", "small:2", "nginx:1"}


def test_a_machine_that_was_built_with_its_images_imports_nothing(docker: Docker) -> None:
    """As on a machine without Nix: a store of its own, and a data root from before Docker's first start."""
    run = docker.machine.run
    path = make_entries(docker.machine, {SMALL[0]: small_images().old.inside})
    image = run(["sh", "-c", f"dirname $(readlink {path[0]}/overlay/*/diff)"]).stdout.strip()
    # from the overlay that /usr is on, an EROFS file is mounted by a loop device, and the machine has none
    run(["mkdir", "--parents", "/nix/built/nix", "/nix/built/etc/systemd/system"])
    unit = "/nix/built/etc/systemd/system/nixoci-images.service"
    build = ["nixoci", "image-store", "--self-contained", "--prefix=/nix/own", "/nix/built/nix/own", image]
    run([*build, f"--images-service={unit}"])
    run(["nixoci", "register", "docker", "/nix/own", "--root=/nix/built"])
    docker.stop()
    run(["mv", "/nix/built/nix/own", "/nix/own"])
    run(["mv", unit, "/etc/systemd/system/nixoci-own.service"])
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "start", "nixoci-own.service"])
    run(["cp", "--archive", "/nix/built/var/lib/docker", "/var/lib/docker/of-own"])
    own = ["dockerd", "--data-root=/var/lib/docker/of-own", "--host=unix:///run/own.sock", "--bridge=none"]
    run(
        ["systemd-run", "--unit=own-docker", *own, "--exec-root=/run/own", "--pidfile=/run/own.pid", "--iptables=false"]
    )
    docker.machine.wait_for_unit("own-docker.service")
    client = ["docker", "--host=unix:///run/own.sock"]
    until = "until docker --host=unix:///run/own.sock info > /dev/null 2>&1; do sleep 0.1; done"
    run(["sh", "-c", until], timeout=60)
    assert run([*client, "images", "--format={{.Repository}}:{{.Tag}}"]).stdout == "small:1\n"
    shown = run([*client, "run", "--rm", "--network=none", "small:1", "cat", "/version"]).stdout
    assert shown == "small 1\n"
    run(["systemctl", "stop", "own-docker.service", "nixoci-own.service"])
    docker.start()


def test_other_ways_of_docker_are_refused_by_name(docker: Docker) -> None:
    for config, says in (
        ({"features": {"containerd-snapshotter": True}}, "nixoci register containerd STORE --namespace moby"),
        ({"storage-driver": "fuse-overlayfs"}, "its storage driver is fuse-overlayfs"),
        ({"userns-remap": "default"}, "maps users"),
    ):
        docker.machine.run(["mkdir", "--parents", "/etc/docker"])
        docker.machine.run(["tee", OTHER], input=json.dumps(config))
        argv = ["nixoci", "register", "docker", docker.all, f"--config-file={OTHER}"]
        done = docker.machine.run(argv, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr


def test_the_options_of_the_service_are_read(docker: Docker) -> None:
    file, drop_in = "/etc/elsewhere.json", "/etc/systemd/system/docker.service.d/options.conf"
    docker.machine.run(["mkdir", "--parents", "/etc/systemd/system/docker.service.d"])
    docker.machine.run(["tee", file], input='{"data-root": "/var/lib/elsewhere"}')
    start = f"[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd \\\n  -H fd:// --config-file={file} $OPTIONS\n"
    docker.machine.run(["tee", drop_in], input=start)
    try:
        docker.machine.run(["systemctl", "daemon-reload"])
        assert docker.register(docker.old, "--dry-run")["dataRoot"] == "/var/lib/elsewhere"
        assert docker.register(docker.old, "--dry-run", "--config-file=/dev/null")["dataRoot"] == ROOT
    finally:
        docker.machine.run(["rm", drop_in])
        docker.machine.run(["systemctl", "daemon-reload"])


def test_the_store_is_as_it_was(docker: Docker) -> None:
    paths = [docker.all, *docker.entries.values()]
    docker.machine.run(["nix-store", "--verify-path", *paths])
    docker.machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)
