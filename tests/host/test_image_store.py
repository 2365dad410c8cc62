"""The image store under unmodified podman: all that users do with an image, none of which may change the store."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.image_store.storage_conf import render_storage_conf, render_storage_drop_in
from tests.host.changes import CHANGED, CHANGES
from tests.host.containers import own_storage
from tests.host.process import FETCH, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from subprocess import CompletedProcess

    from tests.host.images import Pair
    from tests.host.machine import Machine
    from tests.host.registry import Registry

NAMES = ("nginx", "redis", "postgres")
FOLDER = "/home/image-store"
OWN = "/var/lib/containers/image-store-test"
"""podman's own storage beside our store: empty when the tests begin."""

LISTING = """
import hashlib, json, os, sys

process = "/proc/" + sys.argv[1]
top = process + "/root"
mounted = {line.split()[4].lstrip("/") for line in open(process + "/mountinfo")} - {""}
found = {}

def add(path):
    if path in mounted:
        return False
    full = os.path.join(top, path)
    at = os.lstat(full)
    kind = at.st_mode & 0o170000
    regular, symlink = kind == 0o100000, kind == 0o120000
    found[path] = {
        "mode": oct(at.st_mode), "uid": at.st_uid, "gid": at.st_gid, "mtime": at.st_mtime_ns,
        "nlink": 0 if kind == 0o040000 else at.st_nlink,  # overlayfs: 1 where several layers have the directory
        "size": at.st_size if regular or symlink else 0, "rdev": at.st_rdev,
        "target": os.readlink(full) if symlink else "",
        "xattrs": {name: os.getxattr(full, name, follow_symlinks=False).hex()
                   for name in sorted(os.listxattr(full, follow_symlinks=False))},
        "content": hashlib.sha256(open(full, "rb").read()).hexdigest() if regular else "",
    }
    return kind == 0o040000

def walk(path):
    if add(path):
        for name in os.listdir(os.path.join(top, path)):
            walk(os.path.join(path, name))

walk("")
json.dump(found, sys.stdout)
"""

PING = """
import socket, sys, time
for _ in range(600):
    try:
        with socket.create_connection(("127.0.0.1", 6380), 1) as server:
            server.sendall(b"PING\\r\\n")
            print(server.recv(100).decode())
            sys.exit()
    except OSError:
        time.sleep(0.1)
sys.exit("redis does not answer")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """podman over an image store that holds sample images, with storage of its own beside it."""

    machine: Machine
    paths: list[str]
    """The store paths: the image store, then the image paths."""
    references: dict[str, str]
    digests: dict[str, str]
    """The digests in the layouts that the images came from."""

    def podman(self, *arguments: str, **options: Any) -> CompletedProcess[str]:
        return self.run(["podman", *arguments], **options)

    def run(self, argv: Sequence[str], **options: Any) -> CompletedProcess[str]:
        env = {"CONTAINERS_STORAGE_CONF": f"{FOLDER}/storage.conf"}
        return self.machine.run(argv, env=env, timeout=300, **options)

    def image(self, reference: str) -> dict[str, Any]:
        image: dict[str, Any] = json.loads(self.podman("image", "inspect", reference).stdout)[0]
        return image

    def own_size(self) -> int:
        """Return the bytes in podman's own storage, without what is mounted there."""
        return int(self.machine.run(["du", "--summarize", "--bytes", "--one-file-system", OWN]).stdout.split()[0])


DISTINCT = """
import hashlib, json, os, sys
inodes, contents = {}, {}
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        status = os.lstat(path)
        inodes[status.st_ino] = status.st_size
for tree in sys.argv[2:]:
    for folder, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    contents[hashlib.file_digest(file, "sha256").digest()] = os.path.getsize(path)
print(json.dumps([sum(inodes.values()), sum(contents.values())]))
"""
"""Print the bytes of the files of a self-contained store, and those of the distinct contents of trees."""


@pytest.fixture(scope="module")
def stored(machine: Machine, images: dict[str, Pair]) -> Iterator[Stored]:
    machine.run(["mkdir", "--parents", f"{FOLDER}/images", OWN])
    references = {name: f"docker.io/library/{name}:{images[name].old.tag}" for name in NAMES}
    image_paths = []
    for name, reference in references.items():
        made = f"{FOLDER}/images/{name}"
        machine.run(
            ["nixoci", "extract", images[name].old.inside, made, "--name", name, "--reference", reference], timeout=300
        )
        image_paths.append(machine.run(["nix-store", "--add", made]).stdout.strip())
    # as a Nix builder runs it: no shell, no environment
    builder = ["env", "--ignore-environment", "/opt/nixoci/bin/nixoci", "image-store"]
    machine.run([*builder, f"{FOLDER}/store", *image_paths, "--mkcomposefs=/usr/bin/mkcomposefs"])
    store = machine.run(["nix-store", "--add", f"{FOLDER}/store"]).stdout.strip()
    configure(machine, f"{FOLDER}/storage.conf", store)
    digests = {
        name: json.loads(machine.run(["cat", f"{path}/image.json"]).stdout)["digest"]
        for name, path in zip(NAMES, image_paths, strict=True)
    }
    yield Stored(machine=machine, paths=[store, *image_paths], references=references, digests=digests)
    machine.run(["podman", "system", "reset", "--force"], env={"CONTAINERS_STORAGE_CONF": f"{FOLDER}/storage.conf"})
    machine.run(["rm", "--recursive", "--force", FOLDER])


def configure(machine: Machine, file: str, store: str, render: Callable[[Path], str] = render_storage_conf) -> None:
    runroot = "/run/image-store"
    is_whole = render is render_storage_conf
    text = own_storage(OWN, runroot, store=Path(store) if is_whole else None)
    if not is_whole:
        text += render(Path(store))
    machine.run(["tee", file], input=text)


@contextmanager
def running(stored: Stored, *arguments: str) -> Iterator[str]:
    """Run a container in the background and give its id."""
    container = stored.podman("run", "--detach", *arguments).stdout.strip()
    try:
        yield container
    except CommandError as error:
        raise AssertionError(f"{error}\n{stored.podman('logs', container, check=False).stdout}") from error
    finally:
        stored.podman("rm", "--force", "--time=2", container)


def test_images_lists_them_read_only(stored: Stored) -> None:
    listed = json.loads(stored.podman("images", "--format=json").stdout)
    assert {image["Names"][0]: image["ReadOnly"] for image in listed} == dict.fromkeys(stored.references.values(), True)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_runs_by_name_by_id_and_by_the_registrys_digest(stored: Stored, name: str) -> None:
    reference = stored.references[name]
    image = stored.image(reference)
    repository, digest = reference.rpartition(":")[0], stored.digests[name]
    assert f"{repository}@{digest}" in image["RepoDigests"]
    for wanted in (reference, name, image["Id"], image["Id"][:12], f"{repository}@{digest}"):
        named = wanted if wanted != name else f"{name}:{reference.rpartition(':')[2]}"
        done = stored.podman("run", "--rm", "--pull=never", "--user=root", "--entrypoint=id", named)
        assert done.stdout.startswith("uid=0(root)")


@pytest.mark.parametrize("name", NAMES)
def test_the_config_is_the_registrys(stored: Stored, images: dict[str, Pair], name: str) -> None:
    original = json.loads(stored.machine.run(["skopeo", "inspect", "--config", images[name].old.inside]).stdout)
    ours = stored.image(stored.references[name])["Config"]
    for key, value in original["config"].items():
        assert ours.get(key) == value, key


def test_history_gives_all_files_to_one_entry(stored: Stored) -> None:
    entries = json.loads(stored.podman("history", "--format=json", stored.references["nginx"]).stdout)
    assert len([entry for entry in entries if entry["size"]]) == 1
    assert any("nginx-light" in entry["CreatedBy"] for entry in entries)


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_a_saved_image_is_the_same_elsewhere(stored: Stored, kind: str) -> None:
    archive = f"{FOLDER}/saved-{kind}.tar"
    stored.podman("save", f"--format={kind}", f"--output={archive}", stored.references["nginx"])
    stored.machine.run(["podman", "load", "--input", archive])
    try:
        loaded = json.loads(stored.machine.run(["podman", "image", "inspect", stored.references["nginx"]]).stdout)
        assert loaded[0]["Id"] == stored.image(stored.references["nginx"])["Id"]
    finally:
        stored.machine.run(["podman", "rmi", stored.references["nginx"]])
        stored.machine.run(["rm", archive])


def test_an_image_is_pushed_and_pulled(stored: Stored, registry: Registry) -> None:
    pushed = f"{registry.host}/pushed:1"
    stored.podman("push", "--tls-verify=false", stored.references["redis"], pushed)
    stored.machine.run(["podman", "pull", "--tls-verify=false", pushed])
    try:
        show = ["podman", "run", "--rm", "--user=root", "--entrypoint=cat", pushed, "/srv/private/secret"]
        assert stored.machine.run(show).stdout == "for www-data only\n"
    finally:
        stored.machine.run(["podman", "rmi", pushed])


def test_an_image_is_built_upon(stored: Stored) -> None:
    nginx, redis = stored.references["nginx"], stored.references["redis"]
    recipe = f"FROM {nginx}\nRUN rm /srv/private/secret\nCOPY --from={redis} /usr/bin/redis-server /redis\n"
    # run would want a network of its own; that is not what is tested
    build = ["build", "--isolation=chroot", "--tag=localhost/built", "--file=-", f"{FOLDER}/images"]
    stored.podman(*build, input=recipe)
    try:
        listed = stored.podman("run", "--rm", "localhost/built", "find", "/redis", "/srv/private").stdout
        assert listed.split() == ["/redis", "/srv/private"]
        stored.podman("system", "check")
    finally:
        stored.podman("rmi", "localhost/built")


@pytest.mark.parametrize("render", [render_storage_conf, render_storage_drop_in])
def test_an_image_that_is_built_or_committed_has_what_was_moved_and_whose_owner_changed(
    stored: Stored, render: Callable[[Path], str]
) -> None:
    nginx = stored.references["nginx"]
    conf = f"{FOLDER}/changed.conf"
    configure(stored.machine, conf, stored.paths[0], render)

    def podman(*arguments: str, **options: Any) -> str:
        env = {"CONTAINERS_STORAGE_CONF": conf}
        return stored.machine.run(["podman", *arguments], env=env, timeout=300, **options).stdout

    run = ("run", "--network=none", "--user=root", "--entrypoint=sh")
    expected = podman(*run, "--rm", nginx, "-c", " ".join(CHANGED))
    try:
        podman(*run, "--name=changed", nginx, "-c", CHANGES)
        podman("commit", "--quiet", "changed", "localhost/committed")
        build = ["build", "--isolation=chroot", "--tag=localhost/built", "--file=-", f"{FOLDER}/images"]
        podman(*build, input=f"FROM {nginx}\nUSER root\nRUN {CHANGES}\n")
        for image in ("committed", "built"):
            assert podman(*run, "--rm", f"localhost/{image}", "-c", " ".join(CHANGED)) == expected
    finally:
        podman("rm", "changed")
        podman("rmi", "--ignore", "localhost/committed", "localhost/built")


def test_system_check_finds_nothing(stored: Stored) -> None:
    done = stored.podman("system", "check")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_container_holds_what_one_of_the_ordinary_image_holds(
    stored: Stored, images: dict[str, Pair], name: str
) -> None:
    ordinary = f"localhost/ordinary-{name}:1"
    wait = ("--network=none", "--user=root", "--stop-signal=KILL", "--entrypoint=sleep")
    machine, before = stored.machine, time.time_ns()
    with running(stored, *wait, stored.references[name], "600") as container:
        ours = listing(machine, stored.podman("inspect", "--format={{.State.Pid}}", container).stdout.strip(), before)
    machine.run(["skopeo", "copy", "--quiet", images[name].old.inside, f"containers-storage:{ordinary}"], timeout=300)
    try:
        container = machine.run(["podman", "run", "--detach", *wait, ordinary, "600"]).stdout.strip()
        pid = machine.run(["podman", "inspect", "--format={{.State.Pid}}", container]).stdout.strip()
        theirs = listing(machine, pid, before)
    finally:
        machine.run(["podman", "rmi", "--force", ordinary])
    assert_equal_listings(ours, theirs)


def assert_equal_listings(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> None:
    """Compare two listings of a whole image, and name each path and key that differs."""
    assert len(theirs) > 3000
    assert ours.keys() == theirs.keys()
    differ = {
        f"{path}: {key}": (ours[path][key], value)
        for path, entry in theirs.items()
        for key, value in entry.items()
        if ours[path][key] != value
    }
    assert differ == {}


def listing(machine: Machine, pid: str, before: int) -> dict[str, dict[str, Any]]:
    """List a running container's root, without what is mounted below it.

    What podman and crun write into every container (mount points, /etc/hosts and the like) has the time of its
    start, so times are compared where the image's own times are: not there. The container was started after `before`,
    in nanoseconds.
    """
    found: dict[str, dict[str, Any]] = json.loads(machine.run(["python3", "-", pid], input=LISTING, timeout=300).stdout)
    for entry in found.values():
        if entry["mtime"] > before:
            entry["mtime"] = "when the container started"
    return found


@pytest.mark.parametrize("name", NAMES)
def test_owners_modes_and_capabilities_take_effect(stored: Stored, name: str) -> None:
    def inside(user: str, script: str, *options: str) -> CompletedProcess[str]:
        arguments = ("run", "--rm", f"--user={user}", "--entrypoint=sh", *options, stored.references[name])
        return stored.podman(*arguments, "-c", script, check=False)

    assert inside("www-data", "cat /srv/private/secret").stdout == "for www-data only\n"
    assert "Permission denied" in inside("www-data", "cat /etc/shadow").stderr
    assert "Permission denied" in inside("nobody", "cat /srv/private/secret").stderr
    suid = inside("nobody", "passwd --status nobody && cp /usr/bin/id /tmp && passwd --status root")
    assert "may not view" in suid.stderr or suid.stdout.startswith("nobody")
    assert " 0% packet loss" in inside("nobody", "ping -c1 127.0.0.1", "--cap-add=NET_RAW").stdout


def test_nginx_serves(stored: Stored) -> None:
    with running(stored, "--publish=8081:80", stored.references["nginx"]):
        page = stored.machine.run([*FETCH, "http://127.0.0.1:8081/"]).stdout
    assert page == "<h1>Served by nginx from an OCI image</h1>\n"


def test_redis_serves(stored: Stored) -> None:
    with running(stored, "--publish=6380:6379", stored.references["redis"]):
        assert stored.machine.run(["python3", "-"], input=PING).stdout.strip() == "+PONG"


def test_postgres_serves_from_its_volume_and_again_from_the_same(stored: Stored) -> None:
    serve = ("--publish=5433:5432", "--volume=pgdata:/var/lib/postgresql/data", stored.references["postgres"])
    with running(stored, *serve):
        query(stored, "create table t as select 42 as answer")
    with running(stored, *serve):
        assert query(stored, "select answer from t").split() == ["42"]
    stored.podman("volume", "rm", "pgdata")


def query(stored: Stored, sql: str) -> str:
    client = ("run", "--rm", "--network=host", "--entrypoint=psql", stored.references["postgres"])
    connect = ("--host=127.0.0.1", "--port=5433", "--username=postgres", "--tuples-only", f"--command={sql}")
    deadline = time.monotonic() + 60
    while (done := stored.podman(*client, *connect, check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.25)
    return done.stdout


def test_a_container_outlives_its_store(stored: Stored) -> None:
    """Another store with the same image, as after a rebuild of the system."""
    machine = stored.machine
    container = stored.podman(
        "create", "--user=root", "--entrypoint=touch", stored.references["nginx"], "/x"
    ).stdout.strip()
    machine.run(["nixoci", "image-store", f"{FOLDER}/next", stored.paths[1]])
    store = machine.run(["nix-store", "--add", f"{FOLDER}/next"]).stdout.strip()
    assert store != stored.paths[0]
    try:
        configure(machine, f"{FOLDER}/storage.conf", store)
        stored.podman("start", "--attach", container)
    finally:
        configure(machine, f"{FOLDER}/storage.conf", stored.paths[0])
        stored.podman("rm", container)


def test_a_rootless_user_runs_from_a_store_without_erofs_files(stored: Stored) -> None:
    machine = stored.machine
    machine.linger("alice")
    conf = f"{FOLDER}/rootless.conf"
    machine.run(["nixoci", "image-store", "--no-erofs", "/nix/rootless", *stored.paths[1:], "--storage-conf", conf])
    script = "touch /etc/new && chown www-data /etc/new && stat --format=%U /etc/new && cat /srv/private/secret"
    run = ["podman", "run", "--rm", "--user=root", "--entrypoint=sh", stored.references["nginx"], "-c", script]
    done = machine.run(run, user="alice", env={"CONTAINERS_STORAGE_CONF": conf})
    assert done.stdout == "www-data\nfor www-data only\n"


def test_a_self_contained_store_runs_where_there_is_no_nix_store(stored: Stored) -> None:
    """As in the image of an operating system, though on this machine a plain file system is not at /usr."""
    machine, prefix, conf = stored.machine, "/home/nixoci", f"{FOLDER}/self-contained.conf"
    build = ["nixoci", "image-store", "--self-contained", "--prefix", prefix, f"{FOLDER}/os", "--storage-conf", conf]
    machine.run([*build, *stored.paths[1:]], timeout=300)
    machine.run(["cp", "--archive", f"{FOLDER}/os", prefix])
    machine.run(["rm", "--recursive", f"{FOLDER}/os"])
    show = "stat --format=%U:%a /srv/private /usr/bin/su && getcap /usr/bin/ping"
    run = ["podman", "run", "--rm", "--pull=never", "--network=none", "--entrypoint=sh", stored.references["nginx"]]
    hide = 'mount -t tmpfs tmpfs /nix && ! [ -e /nix/store ] && exec "$@"'
    try:
        without_nix = ["unshare", "--mount", "--propagation=private", "sh", "-c", hide, "sh", *run, "-c", show]
        seen = machine.run(without_nix, env={"CONTAINERS_STORAGE_CONF": conf}).stdout
        usual = machine.run([*run, "-c", show], env={"CONTAINERS_STORAGE_CONF": f"{FOLDER}/storage.conf"}).stdout
        assert seen == usual
        assert "cap_net_raw" in seen
        saved = [
            machine.run(
                ["sh", "-c", f"podman save {stored.references['nginx']} | tar -xO --wildcards '*.tar' | sha256sum"],
                env={"CONTAINERS_STORAGE_CONF": f"{FOLDER}/{name}"},
                timeout=300,
            ).stdout
            for name in ("self-contained.conf", "storage.conf")
        ]
        assert saved[0] == saved[1]
    finally:
        machine.run(["rm", "--recursive", "--force", prefix])


def test_images_that_share_a_base_take_little_more_than_their_distinct_files(stored: Stored) -> None:
    machine, trees = stored.machine, [f"{path}/rootfs" for path in stored.paths[1:3]]
    machine.run(["nixoci", "image-store", "--self-contained", f"{FOLDER}/two", *stored.paths[1:3]], timeout=300)
    taken, distinct = json.loads(machine.run(["python3", "-c", DISTINCT, f"{FOLDER}/two", *trees]).stdout)
    assert distinct > 100_000_000
    assert taken <= 1.02 * distinct


def test_nothing_was_copied_and_the_store_is_as_it_was(stored: Stored) -> None:
    """This must run last, after all of the above."""
    assert stored.own_size() < len(NAMES) * 2**20
    stored.machine.run(["nix-store", "--verify-path", *stored.paths])
