"""An ordinary user's containers, from a store for rootless users, under the user's own systemd."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.tree.model import Inode, Kind
from tests.host.containers import WEB
from tests.host.images import INSIDE, images_dir
from tests.host.images import images as sample_images
from tests.host.machine import Machine
from tests.host.process import FETCH, CommandError
from tests.image_store.trees import Tree, image_path
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

NAMES = ("nginx", "redis")
STORE = "/nix/rootless"
TREES = "/home/alice/.local/share/containers/storage/nixoci"

LIST = """
import hashlib, json, os, stat, sys
listed, top = {}, os.fsencode(sys.argv[1])
def add(path):
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    entry = [oct(found.st_mode), found.st_uid, found.st_gid]
    if kind == stat.S_IFLNK:
        entry += [os.fsdecode(os.readlink(path))]
    else:
        names = [name for name in os.listxattr(path) if name.startswith(("user.", "security.capability"))]
        entry += [{name: os.getxattr(path, name).hex() for name in names}]
    if kind != stat.S_IFDIR:
        entry += [found.st_size, found.st_nlink]
    if kind == stat.S_IFREG:
        entry += [hashlib.sha256(open(path, "rb").read()).hexdigest()]
    listed[ascii(path[len(top):])] = [*entry, int(found.st_mtime)]
add(top)
for folder, folders, files in os.walk(top):
    for name in folders + files:
        add(os.path.join(folder, name))
print(json.dumps(listed))
"""
"""Everything that a file has, and the hash of its content, by path; of a folder not the size, which is its disk's."""


def odd_tree() -> Tree:
    """Return a tree of files that are hard to preserve."""
    tree = Tree(Inode(Kind.DIRECTORY, mode=0o711, uid=5, gid=6))
    sub = tree.root.children["é ü".encode()] = Inode(Kind.DIRECTORY, mode=0o2750, uid=33, gid=7)
    long = sub.children[b"x" * 200] = Inode(Kind.DIRECTORY, mode=0o1777)
    name = b"\xff\n'" + b"y" * 120
    file = tree.file(long, name, b"content", mode=0o6755, uid=65535, gid=65535, mtime=1_600_000_000_000_000_000)
    file.xattrs = {b"user.a=%3D": b"\0\n", b"user.overlay.opaque": b"y", b"trusted.gone": b"1"}
    tree.root.children[b"second name"] = file
    tree.file(tree.root, b"empty", b"", mode=0o400, uid=1)
    tree.root.children[b"link"] = Inode(Kind.SYMLINK, target=b"../../\xff" + b"z" * 150, uid=8, gid=9)
    tree.root.children[b"fifo"] = Inode(Kind.FIFO, mode=0o620, uid=3)
    tree.root.children[b"null"] = Inode(Kind.CHARACTER, mode=0o666, device=(1, 3))
    return tree


def far_tree() -> Tree:
    """Return a tree with an owner that the user has no id for."""
    tree = Tree(Inode(Kind.DIRECTORY))
    tree.file(tree.root, b"far", b"x", uid=3_000_000)
    return tree


BUSY = """
manager=$(pgrep --uid alice --full 'systemd --user$') || exit
kill -KILL "$(cat /run/user/1000/libpod/tmp/pause.pid)" || exit
running() { pgrep --uid alice --full "^[^ ]*podman run .*--name $1 " > /dev/null; }
systemctl --user --machine alice@ start --no-block "$1.service" || exit
until running "$1"; do :; done
kill -STOP "$manager"
for _ in {1..500}; do running "$1" || break; sleep 0.01; done
kill -CONT "$manager"
"""
"""Starts the service $1 of alice, whose systemd stands still until podman's processes have ended."""


class Alice:
    """An ordinary user of a machine, with image paths in its store and a store for rootless users over them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.paths: dict[str, str] = {}
        self.originals: dict[str, str] = {}
        for name in NAMES:
            source = sample_images()[name].new.inside
            extract = ["nixoci", "extract", source, f"/tmp/{name}", "--name", name]  # noqa: S108
            machine.run([*extract, "--reference", f"localhost/{name}:1"], timeout=300)
            self.paths[name] = machine.run(["nix-store", "--add", f"/tmp/{name}"]).stdout.strip()  # noqa: S108
            self.originals[name] = machine.run(["podman", "pull", "--quiet", source], timeout=300).stdout.strip()
        for name, tree in (("odd", odd_tree()), ("far", far_tree())):
            image_path(machine.root / "tmp" / name, tree, reference=f"localhost/{name}:1")
            self.paths[name] = machine.run(["nix-store", "--add", f"/tmp/{name}"]).stdout.strip()  # noqa: S108
        machine.linger("alice")
        self.use(STORE, *self.paths.values())
        self.hashes = self.measure()

    def use(self, store: str, *paths: str) -> None:
        """Make a store and name it in the user's storage.conf."""
        folder = "/home/alice/.config/containers"
        self.machine.run(["mkdir", "--parents", folder], user="alice")
        conf = f"--storage-conf={folder}/storage.conf"
        self.machine.run(["nixoci", "image-store", "--rootless", store, *paths, conf])

    def measure(self) -> dict[str, str]:
        """Return the NAR hash of each image path, from the files as they are."""
        show = ["nix", "--extra-experimental-features", "nix-command", "hash", "path"]
        return {name: self.machine.run([*show, path]).stdout for name, path in self.paths.items()}

    def run(self, *argv: str, check: bool = True) -> CompletedProcess[str]:
        """Run a command as the user."""
        return self.machine.run(argv, user="alice", check=check)

    def podman(self, *arguments: str, check: bool = True) -> str:
        """Run the user's podman and return its output, with stderr if it may fail."""
        done = self.run("podman", *arguments, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl for the user's systemd and return its output."""
        return self.run("systemctl", "--user", *arguments).stdout.strip()

    def listing(self, image: str) -> dict[str, Any]:
        """Return what a new container of an image has, as its user namespace sees it."""
        script = f'id=$(podman create {image} x) && python3 -c "$0" $(podman mount $id); podman rm $id > /dev/null'
        result: dict[str, Any] = json.loads(self.podman("unshare", "sh", "-c", script, LIST))
        return result


@pytest.fixture(scope="module")
def alice() -> Iterator[Alice]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield Alice(machine)


@pytest.fixture(scope="module")
def services(alice: Alice) -> Alice:
    document = {
        "images": {name: alice.paths[name] for name in NAMES},
        "imageStore": STORE,
        "containers": {
            "web": WEB,
            "cache": {"image": "redis", "volumes": ["kept:/var/lib/redis"]},
            "idle": {"image": "redis", "entrypoint": ["sleep", "infinity"], "networks": ["none"]},
        },
        "volumes": {"kept": {}},
    }
    alice.machine.run(["tee", "/var/alice.json"], input=json.dumps(document))
    alice.machine.run(["nixoci", "units", "--user", "/var/alice.json", "/var/alice"])
    units = alice.machine.run(["find", "/var/alice/lib/systemd/user", "-maxdepth", "1", "-type", "f"]).stdout.split()
    alice.systemctl("link", "--quiet", *units)
    alice.systemctl("start", "web.service")
    return alice


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_that_of_the_original_image_as_root_has_it(alice: Alice, name: str) -> None:
    mounted = alice.machine.run(["podman", "image", "mount", alice.originals[name]]).stdout.strip()
    original = json.loads(alice.machine.run(["python3", "-c", LIST, mounted]).stdout)
    ours = alice.listing(f"localhost/{name}:1")
    devices = {path for path, entry in original.items() if entry[0].startswith(("0o2", "0o6"))}
    # the images' archives have no entry for the top directory
    assert {path: ours[path] for path in ours if path != "b''"} == {
        path: entry for path, entry in original.items() if path not in {*devices, "b''"}
    }
    owners = {(entry[1], entry[2]) for entry in ours.values()}
    assert len(owners) > 3
    assert any(entry[3] and "security.capability" in entry[3] for entry in ours.values())


def test_odd_names_modes_and_xattrs(alice: Alice) -> None:
    ours = alice.listing("localhost/odd:1")
    top = ours["b''"]
    assert top[0] == "0o40711"  # podman reports the owner
    path = ascii(b"/" + "é ü".encode() + b"/" + b"x" * 200 + b"/\xff\n'" + b"y" * 120)
    file = ours[path]
    assert file[:3] == ["0o106755", 65535, 65535]
    assert file[3] == {"user.a=%3D": "000a", "user.overlay.opaque": "79"}
    assert file[4:6] == [7, 2]
    assert file[-1] == 1_600_000_000
    assert ours["b'/second name'"] == file
    assert ours["b'/empty'"][:3] == ["0o100400", 1, 0]
    assert ours["b'/link'"][:4] == ["0o120777", 8, 9, "../../\udcff" + "z" * 150]
    assert ours["b'/fifo'"][:3] == ["0o10620", 3, 0]
    assert "b'/null'" not in ours


def test_an_owner_that_the_user_has_no_id_for_is_named(alice: Alice) -> None:
    said = alice.podman("create", "localhost/far:1", "x", check=False)
    said += alice.podman("run", "--rm", "localhost/far:1", "x", check=False)
    assert "uid 3000000" in said
    assert "error: the files' attributes cannot be set" in said
    assert alice.machine.run(["ls", TREES]).stdout.count("\n") <= len(NAMES) + 1


def test_suid_programs_and_file_capabilities_work(alice: Alice) -> None:
    run = ("run", "--rm", "--network=none", "--user=www-data", "--entrypoint=")
    image = "localhost/nginx:1"
    assert alice.podman(*run, image, "passwd", "--status", "www-data").startswith("www-data L")
    assert "1 received" in alice.podman(*run, "--cap-add=net_raw", image, "ping", "-c1", "127.0.0.1")
    # the kernel refuses a program whose capability it may not give, so it has seen it
    assert "not permitted" in alice.podman(*run, "--cap-drop=all", image, "sh", "-c", "ping -c1 127.0.0.1", check=False)


def test_the_commands_of_the_documentation(alice: Alice) -> None:
    """As the user types them, with a store of the user's own."""
    conf = "/home/alice/.config/containers/storage.conf"
    before = alice.run("cat", conf).stdout
    make, use = block("docs/rootless.md", "$ nixoci image-store --rootless").commands
    typed = make.replace(" OUT ", " /home/alice/store ").replace("IMAGE_PATH...", alice.paths["nginx"])
    alice.run("rm", conf)
    alice.run("sh", "-c", f"cd && {typed}")
    assert 'additionalimagestores = ["/home/alice/store"]' in alice.run("cat", conf).stdout
    image = use.replace("docker.io/library/nginx:1.27", "localhost/nginx:1")
    assert image != use
    assert alice.run("sh", "-c", f"cd && {image}").stdout == "root\n"
    alice.machine.run(["tee", conf], input=before)


def test_the_users_services_start_and_are_reachable(services: Alice) -> None:
    assert services.systemctl("is-active", "web", "cache").split() == ["active"] * 2
    assert "Served by nginx" in services.run(*FETCH, "http://127.0.0.1:8080/").stdout
    assert services.podman("exec", "cache", "redis-cli", "ping") == "PONG\n"
    (mount,) = [
        line
        for line in services.podman("unshare", "cat", "/proc/mounts").splitlines()
        if f"::{services.paths['nginx']}/rootfs" in line
    ]
    assert mount.startswith("overlay ")


def test_writes_are_gone_after_a_restart_and_stay_in_a_volume(services: Alice) -> None:
    write = "echo new > /etc/written; chown redis /etc/written; rm /etc/motd; echo kept > /var/lib/redis/kept"
    services.podman("exec", "--user=root", "cache", "sh", "-c", write)
    assert services.podman("exec", "cache", "stat", "--format=%U", "/etc/written") == "redis\n"
    services.systemctl("restart", "cache.service")
    show = "ls /etc/written /etc/motd; cat /var/lib/redis/kept; stat --format=%U /var/lib/redis"
    assert services.podman("exec", "--user=root", "cache", "sh", "-c", show + "; true") == "/etc/motd\nkept\nredis\n"


def test_a_crash_is_followed_by_a_restart(services: Alice) -> None:
    show = ("show", "--value", "--property=NRestarts", "cache.service")
    before = int(services.systemctl(*show))
    services.systemctl("kill", "--signal=KILL", "cache.service")
    wait_for(lambda: int(services.systemctl(*show)) > before)
    services.machine.wait_for_unit("cache.service", user="alice")
    wait_for(lambda: services.podman("exec", "cache", "redis-cli", "ping", check=False) == "PONG\n")


def test_a_busy_systemd_learns_that_a_container_started(services: Alice) -> None:
    """Also if no process holds the user's namespaces, as at boot."""
    services.machine.run(["bash", "-c", BUSY, "", "idle"], timeout=60)
    services.machine.wait_for_unit("idle.service", user="alice")
    show = ("show", "--value", "idle.service")
    assert services.systemctl(*show, "--property=NRestarts") == "0"
    # its process is that which podman has for the container
    main = services.systemctl(*show, "--property=MainPID")
    assert main == services.podman("inspect", "--format={{.State.ConmonPid}}", "idle").strip()


def test_it_starts_again_when_all_of_podman_was_killed(services: Alice) -> None:
    """The process that holds the user's namespaces too, and with it every mount."""
    pause = services.run("cat", "/run/user/1000/libpod/tmp/pause.pid").stdout.strip()
    services.machine.run(["kill", "-KILL", pause])
    services.systemctl("kill", "--signal=KILL", "web.service", "cache.service")
    services.systemctl("restart", "cache.service", "web.service")
    assert services.podman("exec", "cache", "stat", "--format=%U:%a", "/etc/shadow") == "root:640\n"
    assert "Served by nginx" in services.run(*FETCH, "http://127.0.0.1:8080/").stdout


def test_no_content_was_copied(services: Alice) -> None:
    files = services.machine.run(["find", TREES, "-type", "f", "-printf", "%b %s\n"]).stdout.splitlines()
    sizes = [tuple(map(int, line.split())) for line in files]
    # blocks of 512 bytes: at most the one of 4 KiB that long xattrs take on ext4
    assert max(blocks for blocks, _ in sizes) <= 8
    used = int(services.machine.run(["du", "--summarize", "--block-size=1", TREES]).stdout.split()[0])
    assert used < sum(size for _, size in sizes) / 5


def test_images_are_built_on_it_and_what_they_delete_is_gone(alice: Alice) -> None:
    script = "FROM localhost/nginx:1\nRUN rm -r /etc/motd /etc/apt && mkdir /etc/apt && chmod 4711 /usr/bin/passwd\n"
    script += "RUN chown 7 /etc/passwd && mv /etc/nginx /etc/n && mv /etc/n /etc/nginx\n"
    alice.machine.run(["tee", "/home/alice/Containerfile"], input=script)
    alice.podman("build", "--quiet", "--isolation=chroot", "--tag=localhost/built", "/home/alice")
    show = "ls -A /etc/motd /etc/apt; stat --format=%U:%a /usr/bin/passwd /srv/private"
    run = ("run", "--rm", "--network=none", "--entrypoint=", "localhost/built", "sh", "-c", show)
    said = alice.podman(*run)
    assert said == "/etc/apt:\nroot:4711\nwww-data:750\n"
    contents = ("sha256sum", "/usr/bin/passwd", "/etc/passwd", "/etc/nginx/nginx.conf")
    images = ("localhost/built", "localhost/nginx:1")
    built, base = (alice.podman("run", "--rm", "--network=none", "--entrypoint=", name, *contents) for name in images)
    assert built == base
    alice.podman("rmi", "localhost/built")


def test_a_user_namespace_of_a_containers_own(alice: Alice) -> None:
    show = "id -u; stat --format=%U:%a /usr/bin/su /srv/private"
    run = ("run", "--rm", "--network=none", "--userns=keep-id", "--entrypoint=", "localhost/nginx:1", "sh", "-c", show)
    assert alice.podman(*run) == "1000\nroot:4755\nwww-data:750\n"


def test_two_at_once_make_one_tree_and_what_has_gone_is_removed(alice: Alice) -> None:
    machine = alice.machine
    before = set(machine.run(["ls", TREES]).stdout.split())
    for name in ("first", "second"):
        machine.run(["cp", "--archive", "/tmp/redis", f"/nix/{name}"])  # noqa: S108
        dump = f"/nix/{name}/metadata.dump"
        machine.run(["sed", "--in-place", "--expression=s=^/etc/motd \\(.*\\) 0 0 0 =/etc/motd \\1 0 7 0 =", dump])
        machine.run(["touch", f"/nix/{name}/rootfs/{name}"])
    twice = "podman create --name a localhost/redis:1 x & podman create --name b localhost/redis:1 x; wait"
    for name in ("first", "second"):
        alice.use(f"/nix/{name}-store", f"/nix/{name}", alice.paths["odd"])
        alice.podman("unshare", "sh", "-c", f"{twice}; podman mount a & podman mount b; wait")
        new = set(machine.run(["ls", TREES]).stdout.split()) - before
        assert len(new) == 1
        alice.podman("rm", "--force", "a", "b")
        machine.run(["rm", "--recursive", f"/nix/{name}"])


def test_nothing_was_written_to_the_store(services: Alice) -> None:
    assert services.measure() == services.hashes
    services.systemctl("stop", "web", "cache")
    assert services.measure() == services.hashes


def wait_for(condition: Any, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise CommandError(["wait"], "it did not come true", "", "")
        time.sleep(0.1)
