"""On each backend, a container's process sees the same as under `podman run` of the original image."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, Host, edited_layout
from tests.host.images import INSIDE, images_dir
from tests.host.images import images as sample_images
from tests.host.machine import Machine
from tests.support.runtime_spec import config_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = {
    "none": "",
    "name": "mate",
    "name-group": "mate:other",
    "ids": "1500:2002",
    "id": "1500",
    "stranger": "4711",
}
"""Users that an image may declare, by a name for each."""

CONFIGS: dict[str, dict[str, Any]] = {name: {"User": user} for name, user in USERS.items()} | {
    "keys": {"user": "mate:other", "ENV": ["GREETING=hello", "MORE=1"], "workingDir": "/usr"},
    "entrypoint": {"Entrypoint": [""]},
}
"""Changes of an image's config, by a name for each: users, keys in another case, an entrypoint that is taken away."""


ACCOUNTS = "/var/tmp/accounts"  # noqa: S108


class Likeness:
    """Images that only differ in their config, each in podman's own storage and as an image path."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        base = "containers-storage:localhost/base"
        machine.run(["skopeo", "copy", "--quiet", sample_images()["python"].new.inside, base], timeout=300)
        build = ["buildah", "build", "--isolation=chroot", "--squash", "--build-arg=BASE=localhost/base"]
        machine.run([*build, "--tag=localhost/accounts", "/src/tests/host/accounts"], timeout=300)
        copy = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
        machine.run([*copy, "containers-storage:localhost/accounts", f"oci:{ACCOUNTS}:latest"], timeout=300)
        self.host = Host.build(machine, {name: self._source(name, config) for name, config in CONFIGS.items()})

    def image(self, name: str, config: dict[str, Any]) -> str:
        """Return the image path of one more image."""
        return self.host.extract({name: self._source(name, config)})[name]

    def _source(self, name: str, config: dict[str, Any]) -> str:
        """Make an image in podman's own storage, and an OCI layout of it; return that as `nixoci extract` takes it."""
        layout = edited_layout(self.machine, ACCOUNTS, name, config)
        self.machine.run(["skopeo", "copy", "--quiet", f"{layout}:latest", f"containers-storage:localhost/{name}"])
        return layout

    def original(self, image: str, options: list[str], *words: str, runtime: str) -> dict[str, Any]:
        """Return what the probe sees in `podman run` of the original image, in a service, where units run, too."""
        network = [] if "--network=host" in options else ["--network=none"]
        run = [
            "podman",
            f"--runtime={runtime}",
            "run",
            "--rm",
            "--pull=never",
            *network,
            *options,
            f"localhost/{image}",
            *words,
        ]
        said = self.machine.run(["systemd-run", "--quiet", "--wait", "--pipe", *run]).stdout
        seen: dict[str, Any] = json.loads(said.removeprefix("SEEN "))
        return seen


@pytest.fixture(scope="module")
def likeness() -> Iterator[Likeness]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield Likeness(machine)


_ENVIRONMENT = ["--env=GREETING=", "--env=HOME=/h", "--env=NEW=$x"]
OPTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "user": ({"user": "www-data:crew"}, ["--user=www-data:crew"]),
    "root": ({"user": "root"}, ["--user=root"]),
    "strangers": ({"user": "99:98"}, ["--user=99:98"]),
    "capabilities": (
        {"capabilities": {"NET_ADMIN": True, "CHOWN": False}},
        ["--cap-add=NET_ADMIN", "--cap-drop=CHOWN"],
    ),
    "capabilities-of-root": (
        {"capabilities": {"ALL": False, "KILL": True}, "user": "0"},
        ["--cap-drop=ALL", "--cap-add=KILL", "--user=0"],
    ),
    # the machine, itself a container, lacks the one
    "all-capabilities": (
        {"capabilities": {"ALL": True, "SYS_RESOURCE": False}},
        ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE"],
    ),
    "hostname": ({"hostname": "box.example"}, ["--hostname=box.example"]),
    "workdir": ({"workdir": "/usr"}, ["--workdir=/usr"]),
    "environment": ({"environment": {"GREETING": "", "HOME": "/h", "NEW": "$x"}}, _ENVIRONMENT),
    "command": ({"cmd": ["/probe.py", "more"], "entrypoint": ["python3"]}, ["--entrypoint=python3"]),
    "readonly": ({"readOnly": True}, ["--read-only"]),
    "tmpfs": ({"tmpfs": ["/srv:size=1m,mode=1770"]}, ["--tmpfs=/srv:size=1m,mode=1770"]),
    "volume": ({"volumes": ["/var/cache:/mnt:ro"]}, ["--volume=/var/cache:/mnt:ro"]),
    "named-volumes": (
        {"volumes": ["kept:/mnt", "loose:/media:suid,dev,noexec"]},
        ["--volume=kept:/mnt", "--volume=loose:/media:suid,dev,noexec"],
    ),
    "device": ({"devices": ["/dev/fuse:/dev/x"]}, ["--device=/dev/fuse:/dev/x"]),
    "network": ({"networks": ["host"]}, ["--network=host"]),
}
"""Options of a container, and those of `podman run` that mean the same, by a name for them."""

WAYS = {backend: {"backend": backend} for backend in BACKENDS} | {"runc": {"backend": "bundle", "runtime": "runc"}}

CASES = {f"image-{name}": (name, dict[str, Any](), list[str]()) for name in CONFIGS} | {
    f"option-{name}": ("name", *both) for name, both in OPTIONS.items()
}
"""An image, and options of both."""


def comparable(seen: dict[str, Any], backend: str) -> dict[str, Any]:
    """Return the result of the probe without the facts that must differ."""
    kept: dict[str, Any] = json.loads(json.dumps(seen))
    # the test machine's containers.conf sets this limit
    del kept["limits"]["RLIMIT_NPROC"]
    # podman calls a container by its id where it has no other name, and each has its own
    if re.fullmatch(r"[0-9a-f]{12}", kept["hostname"]) or backend == "bundle":
        assert kept["hostname"] == kept["environment"].pop("HOSTNAME")
        del kept["hostname"], kept["files"]["hostname"]
    del kept["files"]["hosts"]
    if backend == "bundle":
        # podman's own mark, and the name of the program that runs it
        del kept["mark"], kept["environment"]["container"]
        # podman adds entries for numbers that have none
        del kept["files"]["passwd"], kept["files"]["group"]
        # some files and devices are mounted here and written to its own layer by podman, and the other way round
        own = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/etc/passwd", "/etc/group"}
        # the working directory that this image lacks is a mount, while podman makes it in its own layer
        kept["mounts"] = [mount for mount in kept["mounts"] if mount[0] not in own | {"/dev/x", kept["cwd"]}]
        # its named volumes are in another directory, which may be on another file system
        for mount in kept["mounts"]:
            if mount[0] in {"/mnt", "/media"}:
                del mount[1]
    return kept


@pytest.fixture(scope="module")
def ours(likeness: Likeness) -> dict[str, Any]:
    """Return what the probe sees in each container of ours, by case and backend."""
    containers = {
        f"{case}-{way}": {"image": image, "networks": ["none"]} | options | chosen
        for way, chosen in WAYS.items()
        for case, (image, options, _) in CASES.items()
    }
    return likeness.host.seen_by_all("/var/cases", containers)


@pytest.fixture(scope="module")
def theirs(likeness: Likeness) -> dict[tuple[str, str], Any]:
    """Return what the probe sees in `podman run` of the originals, by case and runtime."""

    def see(case: str, runtime: str) -> dict[str, Any]:
        image, container, options = CASES[case]
        return likeness.original(image, options, *container.get("cmd", []), runtime=runtime)

    # runtimes differ in what they mask with and in links of /dev
    wanted = list(product(CASES, ("crun", "runc")))
    with ThreadPoolExecutor(4) as threads:
        return dict(zip(wanted, threads.map(see, *zip(*wanted, strict=True)), strict=True))


@pytest.mark.usefixtures("ours")
def test_each_bundle_is_valid_by_the_runtime_specs_schema(likeness: Likeness) -> None:
    validator = config_validator()
    bundles = likeness.machine.root / "var/cases/share/nixoci/bundles"
    configs = [json.loads(file.read_bytes()) for file in bundles.glob("*/config.json")]
    for config in configs:
        validator.validate(config)
    assert len(configs) == len(CASES) * 2


@pytest.mark.parametrize("case", CASES)
def test_each_backend_runs_a_container_as_podman_runs_the_original(
    ours: dict[str, Any], theirs: dict[tuple[str, str], Any], case: str
) -> None:
    for way, chosen in WAYS.items():
        seen, backend = ours[f"{case}-{way}"], chosen["backend"]
        assert comparable(seen, backend) == comparable(theirs[case, chosen.get("runtime", "crun")], backend), way


@pytest.mark.parametrize(
    ("user", "what"), [("nemo", "user 'nemo' in /etc/passwd"), ("mate:nobodies", "group 'nobodies' in /etc/group")]
)
def test_an_images_user_that_is_missing_is_refused(likeness: Likeness, user: str, what: str) -> None:
    image = likeness.image(user.replace(":", "-"), {"User": user})
    for backend in BACKENDS:
        container = {"image": "lost", "backend": backend, "networks": ["none"]}
        document = {"images": {"lost": image}, "imageStore": "/nix/image-store", "containers": {"c": container}}
        likeness.machine.run(["tee", "/var/lost.json"], input=json.dumps(document))
        done = likeness.machine.run(["nixoci", "units", "/var/lost.json", "/var/lost"], check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: containers.c.image: the image has no {what}")
        assert likeness.machine.run(["test", "-e", "/var/lost"], check=False).returncode


def test_a_bundle_knows_its_own_name(likeness: Likeness) -> None:
    container = {"image": "none", "backend": "bundle"}
    files = likeness.host.seen("called", container | {"hostname": "box"})["files"]
    assert files["hostname"] == "box\n"
    assert files["hosts"] == "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tbox called\n"


def test_the_store_is_as_it_was(likeness: Likeness) -> None:
    assert likeness.host.measure() == likeness.host.hashes
