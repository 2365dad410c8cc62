"""The mount options of root's podman: with a switch, after it, and on machines that have some themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.changes import CHANGED, CHANGES
from tests.host.containers import STORAGE_CONF
from tests.host.engines import shipped_stores
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.containers import Host

DISTRIBUTION = "/usr/share/containers/storage.conf"
DROP_INS = "/etc/containers/storage.rootful.conf.d"
OWN = f"{DROP_INS}/50-nixoci-mount-options.conf"
KEPT = f"{DROP_INS}/50-nixoci-kept-images.conf"
RUN = ("run", "--network=none", "--user=root", "--entrypoint=sh")
MOVE = "mv /etc/nginx /etc/moved"
PLAIN = "localhost/plain:1"


class Options:
    """A machine, an output with nginx, one without, and an image of podman's own."""

    def __init__(self, host: Host) -> None:
        self.machine = host.machine
        self.nginx, self.redis = shipped_stores(self.machine, [host.paths["nginx"], host.paths["redis"]])
        self.distribution("nodev")
        self.switch(self.nginx)
        self.image = self.podman("images", "--no-trunc", "--format={{.ID}}").strip()
        script = "c=$(podman create $0) && podman export $c | podman import --quiet - $1 && podman rm $c"
        self.machine.run(["sh", "-c", script, self.image, PLAIN], timeout=300)
        self.expected = self.run(self.image, " ".join(CHANGED))
        self.uninstall()

    def distribution(self, mountopt: str | None) -> None:
        """Let the machine have the storage.conf of a distribution, with mount options or without."""
        overlay = "" if mountopt is None else f'[storage.options.overlay]\nmountopt = "{mountopt}"\n'
        self.machine.run(["tee", DISTRIBUTION], input=f'[storage]\ndriver = "overlay"\n{overlay}')

    def podman(self, *arguments: str) -> str:
        return self.machine.run(["podman", *arguments], timeout=300).stdout

    def run(self, image: str, script: str, *options: str) -> str:
        """Run a script in a container that stays if it has a name."""
        keeps = any(option.startswith("--name=") for option in options)
        return self.podman(*RUN, *(() if keeps else ("--rm",)), *options, image, "-c", script)

    def committed(self, container: str, files: str = " ".join(CHANGED)) -> str:
        """Commit a container; return what is in files of the image."""
        self.podman("commit", "--quiet", container, "localhost/committed")
        try:
            return self.run("localhost/committed", files)
        finally:
            self.podman("rmi", "--no-prune", "localhost/committed")

    def mountopt(self) -> str | None:
        """Return the mount options that podman has."""
        options: dict[str, Any] = json.loads(self.podman("info", "--format={{json .Store.GraphOptions}}"))
        found: str | None = options.get("overlay.mountopt")
        return found

    def switch(self, out: str) -> str:
        """Switch; return the warnings."""
        return self.machine.run(["nixoci", "switch", out]).stderr

    def uninstall(self) -> str:
        """Undo all switches; return the warnings."""
        return self.machine.run(["nixoci", "switch", "--uninstall"]).stderr

    def doctor(self) -> list[str]:
        """Return what doctor finds about mount options."""
        done = self.machine.run(["nixoci", "doctor", "--json"], check=False)
        findings = json.loads(done.stdout)
        return [each["found"] for each in findings if each["status"] != "ok" and "mount" in each["check"]]

    def exists(self, path: str) -> bool:
        return (self.machine.root / path.lstrip("/")).exists()


@pytest.fixture(scope="module")
def made() -> Iterator[Options]:
    with sample_host("nginx", "redis") as host:
        host.machine.run(["rm", STORAGE_CONF])
        yield Options(host)


@pytest.fixture
def options(made: Options) -> Iterator[Options]:
    yield made
    made.podman("rm", "--all", "--force", "--time=0")
    made.machine.run(["nixoci", "gc-roots"])
    made.uninstall()
    made.distribution("nodev")
    assert not made.exists(OWN)


@pytest.mark.parametrize(
    ("distribution", "wanted"),
    [
        (None, "redirect_dir=on"),
        ("nodev", "nodev,redirect_dir=on"),
        # Fedora's, with one of the administrator's: they stay as they are
        ("nodev,noatime,metacopy=on", "nodev,noatime,metacopy=on"),
    ],
)
def test_a_switch_adds_what_podman_lacks_and_commits_keep_content(
    options: Options, distribution: str | None, wanted: str
) -> None:
    options.distribution(distribution)
    options.run(PLAIN, CHANGES, "--name=before")
    before = options.mountopt()
    options.switch(options.nginx)
    assert options.mountopt() == wanted
    assert options.exists(OWN) == (wanted != before)
    assert options.doctor() == []
    options.run(options.image, CHANGES, "--name=web")
    assert options.committed("web") == options.expected
    # also of a container that podman made with other options
    assert options.committed("before") == options.expected
    options.uninstall()
    assert options.mountopt() == before


def test_a_container_starts_and_has_its_files_after_an_uninstall(options: Options) -> None:
    options.switch(options.nginx)
    options.run(PLAIN, f"{CHANGES}; {' '.join(CHANGED)}", "--name=changed")
    options.run(PLAIN, f"[ -e /etc/moved ] || {MOVE}; cat /etc/moved/nginx.conf", "--name=moved")
    moved = options.committed("moved", "cat /etc/moved/nginx.conf")
    assert moved
    warned = options.uninstall()
    assert warned.startswith(f"warning: moved: without {OWN}, `podman commit` writes directories empty")
    assert not options.exists(OWN)
    assert options.committed("changed") == options.expected
    assert options.podman("start", "--attach", "changed") == options.expected
    assert options.podman("start", "--attach", "moved") == moved
    # as it says
    assert options.machine.run(["podman", "commit", "--quiet", "moved", "localhost/lost"]).returncode == 0
    assert options.run("localhost/lost", "ls /etc/moved") == ""
    options.podman("rmi", "--no-prune", "localhost/lost")
    options.distribution("nodev,redirect_dir=on")
    assert options.committed("moved", "cat /etc/moved/nginx.conf") == moved


def test_an_uninstall_without_such_a_container_warns_of_nothing(options: Options) -> None:
    options.switch(options.nginx)
    options.run(PLAIN, "chown 7 /etc/passwd", "--name=changed")
    assert options.uninstall() == ""
    assert options.uninstall().count("\n") == 1  # nothing was in place


def test_a_container_of_a_kept_image_is_committed_with_content_after_an_uninstall(options: Options) -> None:
    options.switch(options.nginx)
    options.run(options.image, CHANGES, "--name=old")
    options.switch(options.redis)
    options.machine.run(["nixoci", "gc-roots"])
    assert options.exists(KEPT)
    assert options.uninstall() == ""
    assert options.mountopt() == "nodev,redirect_dir=on"
    assert options.committed("old") == options.expected
    assert options.doctor() == []
    options.podman("rm", "old")
    options.machine.run(["nixoci", "gc-roots"])
    assert not options.exists(KEPT)
    assert not options.exists(OWN)
    assert options.mountopt() == "nodev"


def test_options_that_change_under_the_drop_in_are_found_and_taken_over(options: Options) -> None:
    options.switch(options.nginx)
    options.distribution("nodev,noatime")
    found = "sets mountopt to nodev,redirect_dir=on; with the other files as they are now, it has to be {}"
    assert options.doctor() == [found.format("nodev,noatime,redirect_dir=on")]
    options.machine.run(["nixoci", "gc-roots"])
    assert options.mountopt() == "nodev,noatime,redirect_dir=on"
    assert options.doctor() == []
    options.distribution("nodev,metacopy=on")
    options.switch(options.nginx)
    assert options.mountopt() == "nodev,metacopy=on"
    assert not options.exists(OWN)
    assert options.doctor() == []


def test_a_file_that_hides_the_drop_in_is_found(options: Options) -> None:
    later = f"{DROP_INS}/60-site.conf"
    options.switch(options.nginx)
    options.machine.run(["tee", later], input='[storage.options.overlay]\nmountopt = "nodev"\n')
    assert any("write zeros" in found for found in options.doctor())
    options.machine.run(["rm", later])
    assert options.doctor() == []
