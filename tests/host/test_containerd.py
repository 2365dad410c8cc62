"""Registered images in a real containerd: by `ctr`, over Kubernetes' interface, and in Docker's containerd store."""

from __future__ import annotations

import json
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.host.cri import LOGS, Cri
from tests.host.engines import ctr_output, install_runtime, make_entries, make_store, mount_images
from tests.host.images import INSIDE, images_dir
from tests.host.images import images as sample_images
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.small import small_images, small_layers
from tests.support.layers import file, layer, whiteout
from tests.support.layout import write_layout
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOTS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
GC_ROOTS = "nix/var/nix/gcroots/nixoci-engines/containerd"
PAGE = "docs/containerd.md"
OLD, NEW, WEB = (f"docker.io/library/{name}" for name in ("small:1", "small:2", "nginx:1.27"))
PAUSE = "registry.k8s.io/pause:3.10"


RUN = ("run", "--rm")
LISTING = """
stat --format='%A %u %g' /
find / -xdev -mindepth 1 -type d -printf '%p %M %U %G %T@\n' -o -mindepth 1 -printf '%p %M %U %G %n %T@ %s %l\n' |
  grep -Ev '^/(dev|proc|run|sys) ' | sort
find / -xdev -type f -links +1 -printf '%i %p\n' | sort --key=2 |
  awk '{ names[$1] = names[$1] " " $2 } END { for (inode in names) print names[inode] }' | sort
find / -xdev -type f -print0 | sort -z | xargs -0 sha256sum
getcap -r / 2> /dev/null | sort
"""


class Node:
    """A machine with containerd, and an image store in the Nix store of two versions of an image and one for pods."""

    def __init__(self, machine: Machine, registry: Registry, entries: dict[str, str]) -> None:
        self.machine = machine
        self.registry = registry
        self.entries = entries
        self.store = self.join(*entries)
        self.cri = Cri(machine)

    def join(self, *references: str) -> str:
        """Return the store of the images of these references."""
        return make_store(self.machine, [self.entries[reference] for reference in references])

    def register(self, namespace: str, store: str | None = None, *options: str) -> dict[str, str]:
        """Register the images of a store; return what became of each name."""
        argv = ["nixoci", "register", "containerd", store or self.store, "--namespace", namespace, "--json", *options]
        outcome = json.loads(self.machine.run(argv).stdout)
        assert outcome["unmounted"] == []
        return {image["name"]: image["change"] for image in outcome["names"]}

    def ctr(self, namespace: str, *command: str, check: bool = True) -> str:
        return self.machine.run(["ctr", "--namespace", namespace, *command], check=check).stdout.strip()

    def run(self, namespace: str, image: str, *command: str) -> str:
        """Run a command in a container of an image that the namespace has."""
        return ctr_output(self.machine, ["ctr", "--namespace", namespace, "run", "--rm"], image, "one", *command)

    def snapshots(self, namespace: str) -> list[str]:
        return [line.split()[0] for line in self.ctr(namespace, "snapshots", "ls").splitlines()[1:]]

    def links(self) -> list[str]:
        return self.machine.run(["find", SNAPSHOTS, "-mindepth", "2", "-name", "fs", "-type", "l"]).stdout.split()

    def roots(self) -> set[str]:
        folder = self.machine.root / GC_ROOTS
        return {root.name for root in folder.iterdir()} if folder.exists() else set()

    def forget(self, namespace: str) -> None:
        """Remove all that a namespace has."""
        names = self.ctr(namespace, "images", "ls", "--quiet").split()
        if names:
            self.ctr(namespace, "images", "rm", "--sync", *names)


def used(node: Node) -> int:
    """Return the size of containerd's directory in KiB."""
    return node.machine.used_space("/var/lib/containerd") >> 10


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        install_runtime(machine)
        pair = small_images()
        made = machine.root / "var/tmp"
        config = {"config": {"Entrypoint": ["/usr/bin/sleep", "infinity"], "Env": ["PATH=/usr/bin"]}}
        write_layout(made / "pause", small_layers("1"), config=config)
        sources = {OLD: pair.old.inside, NEW: pair.new.inside, PAUSE: "oci:/var/tmp/pause", WEB: "oci:/var/tmp/pause"}
        entries = dict(zip(sources, make_entries(machine, sources), strict=True))
        machine.run(["mkdir", "--parents", "/etc/containerd"])
        machine.run(["touch", "/etc/resolv.conf"])  # a pod gets a copy
        machine.run(["tee", "/etc/containerd/config.toml"], input=block(PAGE, "# /etc/containerd/config.toml").text)
        node = Node(machine, registry, entries)
        mount_images(machine, node.store)
        machine.run(["systemctl", "start", "containerd"])
        yield node


def test_ctr_runs_images_in_place(node: Node) -> None:
    assert set(node.register("default").values()) == {"added"}
    for name, version in ((OLD, "small 1"), (NEW, "small 2")):
        assert node.run("default", name, "cat", "/version") == version
        assert node.run("default", name, "stat", "--format=%u %g %a", "/var/mail") == "0 8 2775"
    assert used(node) < 1024
    assert set(node.register("default").values()) == {"kept"}
    # equal chain ids are one snapshot
    assert len(node.snapshots("default")) == len(node.links()) == 2
    # that of the pause image keeps the same tree as the first version, and one of them is enough
    assert node.roots() < {path.rpartition("/")[2] for path in node.entries.values()}
    assert len(node.roots()) == 2


def test_a_tree_is_that_of_a_pulled_image(node: Node) -> None:
    """The owners, modes, times, link counts, contents and capabilities of a real image."""
    image, reference = sample_images()["redis"].new, "docker.io/library/redis:7"
    pulled = node.registry.push(image)
    node.ctr("pulled", "images", "pull", "--plain-http", pulled)
    store = make_store(node.machine, make_entries(node.machine, {reference: image.inside}))
    before = used(node)
    mount_images(node.machine, node.store, store)
    node.register("real", store)
    shown = [
        node.ctr(*where, "one", "sh", "-c", LISTING) for where in (("pulled", *RUN, pulled), ("real", *RUN, reference))
    ]
    assert shown[0] == shown[1]
    assert "cap_net_raw=ep" in shown[0]
    assert "-rwsr-xr-x" in shown[0]
    assert used(node) - before < 1024
    for namespace in ("pulled", "real"):
        node.forget(namespace)
    node.register("real", node.join(OLD))
    node.forget("real")
    mount_images(node.machine, node.store)


def test_nothing_is_written_without_need(node: Node) -> None:
    node.forget("dry")
    planned = node.register("dry", None, "--dry-run")
    assert set(planned.values()) == {"added"}
    assert node.ctr("dry", "images", "ls", "--quiet") == ""
    assert node.snapshots("dry") == []


def test_pods_run_images_in_place(node: Node) -> None:
    assert set(node.register("k8s.io").values()) == {"added"}
    listed = {tag: image for image in node.cri.images() for tag in image.tags}
    assert set(listed) == {OLD, NEW, PAUSE, WEB}
    assert all(image.pinned for image in listed.values())
    old = node.cri.image(OLD)
    assert old is not None
    repository = OLD.rpartition(":")[0]
    assert [digest.partition("@")[0] for digest in old.digests] == [repository]
    assert node.cri.image(old.digests[0]) == node.cri.image(old.id) == node.cri.image("small:1") == old
    pod = node.cri.run_pod("pod")
    containers = {
        tag: node.cri.start(pod, f"small-{tag}", f"small:{tag}", "sh", "-c", "cat /version; sleep 1000")
        for tag in ("1", "2")
    }
    for tag, container in containers.items():
        assert node.cri.execute(container, "cat", "/version") == f"small {tag}\n"
        assert node.cri.execute(container, "stat", "--format=%u %g %a", "/var/mail") == "0 8 2775\n"
        # what a container prints is in its log a moment later
        wait = 'until grep -q . "$0"; do sleep 0.1; done; cat "$0"'
        log = node.machine.run(["sh", "-c", wait, f"{LOGS}/pod/small-{tag}.log"]).stdout
        assert log.endswith(f"stdout F small {tag}\n")
    node.cri.remove_pod(pod)


def test_the_manifest_of_the_documentation(node: Node) -> None:
    """kubelet asks for an image that is there, since it is never pulled, and for a container of it."""
    manifest = yaml.safe_load(block(PAGE, "apiVersion: v1").text)
    node.register("k8s.io", None, "--address", "/run/containerd/containerd.sock")
    pod = node.cri.run_pod(manifest["metadata"]["name"])
    for container in manifest["spec"]["containers"]:
        assert container["imagePullPolicy"] == "Never"
        image = node.cri.image(container["image"])
        assert image is not None
        assert WEB in image.tags
        started = node.cri.start(pod, container["name"], image.id)
        assert node.cri.execute(started, "cat", "/version") == "small 1\n"
    node.cri.remove_pod(pod)


def test_kubernetes_pulls_images_beside_and_knows_all_after_a_restart(node: Node) -> None:
    node.register("k8s.io")
    reference = node.registry.push(small_images("other").old)  # which has the lower layer of another
    node.cri.pull(reference)
    pod = node.cri.run_pod("mixed")
    for name, image, version in (("pulled", reference, "other 1\n"), ("registered", "small:2", "small 2\n")):
        container = node.cri.start(pod, name, image, "sleep", "1000")
        assert node.cri.execute(container, "cat", "/version") == version
    before = {image.id: image for image in node.cri.images()}
    assert [image.tags for image in before.values() if not image.pinned] == [(reference,)]
    node.machine.run(["systemctl", "restart", "containerd"])
    assert {image.id: image for image in node.cri.images()} == before
    assert set(node.register("k8s.io").values()) == {"kept"}
    node.cri.remove_pod(pod)
    node.cri.remove_image(reference)


def test_an_image_that_kubernetes_removed_comes_back(node: Node) -> None:
    node.register("k8s.io")
    links, roots = node.links(), node.roots()
    for name in (OLD, PAUSE):  # which is the same image as the one of a web server
        image = node.cri.image(name)
        assert image is not None
        node.cri.remove_image(image.id)
        assert node.cri.image(name) is None
    assert len(node.links()) == len(links) - 1
    changes = node.register("k8s.io")
    assert {changes[name] for name in (OLD, PAUSE, WEB)} == {"added"}
    assert changes[NEW] == "kept"
    again = node.cri.image(OLD)
    assert again is not None
    assert again.pinned
    assert node.roots() == roots
    assert node.run("k8s.io", OLD, "cat", "/version") == "small 1"


def test_pulled_images_beside_registered_ones(node: Node) -> None:
    """An ordinary image may share lower layers with a registered one, be built upon it, or be the same image."""
    made = node.machine.root / "var/tmp"
    base = small_layers("1")
    write_layout(made / "other", [base[0], layer(file(b"version", b"other\n"))], tag="1")
    write_layout(made / "derived", [*base, layer(file(b"derived", b"yes\n"), whiteout(b"etc/group"))], tag="1")
    pulled = {}
    for name, source in (("other", "oci:/var/tmp/other:1"), ("derived", "oci:/var/tmp/derived:1")):
        pulled[name] = f"{node.registry.host}/{name}:1"
        node.machine.run(["skopeo", "copy", "--quiet", source, f"docker://{pulled[name]}"])
    node.register("beside")
    links = len(node.links())
    for reference in pulled.values():
        node.ctr("beside", "images", "pull", "--plain-http", reference)
    assert node.run("beside", pulled["other"], "cat", "/version") == "other"
    assert node.run("beside", pulled["other"], "stat", "--format=%u %g %a", "/var/mail") == "0 8 2775"
    shown = node.run("beside", pulled["derived"], "sh", "-c", "cat /version /derived; ls /etc")
    assert shown.split() == ["small", "1", "yes", "passwd"]
    assert node.run("beside", OLD, "ls", "/etc").split() == ["group", "passwd"]
    assert len(node.links()) == links
    # what is built upon a registered image keeps it
    node.register("beside", node.join(NEW))
    assert node.run("beside", pulled["derived"], "cat", "/version") == "small 1"
    node.forget("beside")
    assert node.snapshots("beside") == []

    # pulled first, the image keeps the snapshots that it has
    reference = node.registry.push(small_images().old)
    node.ctr("pulled", "images", "pull", "--plain-http", reference)
    before = (node.snapshots("pulled"), node.links())
    changes = node.register("pulled", node.join(OLD))
    assert set(changes.values()) == {"added"}
    assert (node.snapshots("pulled"), node.links()) == before
    assert node.run("pulled", OLD, "cat", "/version") == "small 1"
    node.forget("pulled")


def test_what_is_not_declared_any_more_goes_but_containers_stay(node: Node) -> None:
    (new,) = (name for reference, name in node.entries.items() if reference == NEW)
    for namespace in ("default", "k8s.io"):
        node.register(namespace, node.join(OLD, PAUSE))
    assert new.rpartition("/")[2] not in node.roots()
    node.register("leaving")
    node.ctr("leaving", "images", "tag", NEW, "docker.io/library/mine:1")
    node.ctr("leaving", "run", "--detach", NEW, "stays", "sleep", "1000")
    changes = node.register("leaving", node.join(OLD))
    assert changes[NEW] == "removed"
    assert changes[OLD] == "kept"
    assert node.ctr("leaving", "images", "ls", "--quiet").split() == sorted(
        ["docker.io/library/mine:1", *(name for name, change in changes.items() if change == "kept")]
    )
    node.ctr("leaving", "images", "rm", "--sync", "docker.io/library/mine:1")
    node.register("leaving", node.join(OLD))
    # a container has the image's tree, and with it the root
    assert new.rpartition("/")[2] in node.roots()
    assert f"/{GC_ROOTS}/" in node.machine.run(["nix-store", "--query", "--roots", new]).stdout
    read = ["ctr", "--namespace", "leaving", "tasks", "exec", "--exec-id=read"]
    assert ctr_output(node.machine, read, "stays", "cat", "/version") == "small 2"
    node.machine.run(["systemctl", "restart", "containerd", "nixoci-images"])
    assert ctr_output(node.machine, read, "stays", "cat", "/version") == "small 2"
    node.ctr("leaving", "tasks", "kill", "--signal", "KILL", "stays")
    node.machine.run(["sh", "-c", "until ctr -n leaving containers rm stays; do sleep 0.1; done 2> /dev/null"])
    node.forget("leaving")
    released = json.loads(node.machine.run(["nixoci", "gc-roots", "--json"]).stdout)
    assert [(root["engine"], root["path"], root["change"]) for root in released] == [("containerd", new, "removed")]
    assert new.rpartition("/")[2] not in node.roots()
    node.register("leaving", node.join(OLD))
    assert node.run("leaving", OLD, "cat", "/version") == "small 1"
    for namespace in ("default", "k8s.io"):
        node.register(namespace)


def test_a_run_that_is_killed_is_completed_by_the_next(node: Node) -> None:
    kill = """#!/bin/sh
count=$(cat /root/count) || exit 1
echo $((count - 1)) > /root/count
[ "$count" -ne 1 ] || [ "$(cat /root/when)" = after ] || kill -KILL $PPID
/usr/bin/ctr "$@"
code=$?
[ "$count" -ne 1 ] || kill -KILL $PPID
exit $code
"""
    node.machine.run(["tee", "/root/ctr"], input=kill)
    node.machine.run(["chmod", "755", "/root/ctr"])
    store = node.join(NEW)
    register = ["nixoci", "register", "containerd", store, "--namespace", "killed"]
    for when, counts in (("before", range(6, 11, 2)), ("after", range(6, 12))):
        node.machine.run(["tee", "/root/when"], input=when)
        # the first five look; the others prepare and commit the snapshot, import, refer to it, release it, and look
        for count in counts:
            node.machine.run(["tee", "/root/count"], input=f"{count}\n")
            assert node.machine.run([*register, "--ctr", "/root/ctr"], check=False).returncode == -SIGKILL, count
            node.machine.run(register)
            assert set(node.register("killed", store).values()) == {"kept"}
            assert len(node.snapshots("killed")) == 1
            # and nothing but the image holds that one
            node.forget("killed")
            assert node.snapshots("killed") == []
    node.machine.run(["systemctl", "restart", "containerd"])
    assert node.run("default", NEW, "cat", "/version") == "small 2"


def test_registered_images_run_after_a_reboot_and_the_store_is_intact(node: Node) -> None:
    node.machine.reboot()
    node.machine.run(["systemctl", "start", "containerd"])
    assert node.run("default", OLD, "cat", "/version") == "small 1"
    assert set(node.register("default").values()) == {"kept"}
    node.machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)
