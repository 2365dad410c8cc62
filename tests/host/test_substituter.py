"""Nix on one machine updates from a binary cache on another, through `nixoci substituter`; no check is switched off."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.host.binary_cache import BinaryCache
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.network import allow_ssh, join
from tests.host.registry import Registry
from tests.host.test_delta import SMALL, build_pair, infos, valid, verify
from tests.host.test_nix import build
from tests.support.pages import block, blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.host.images import Pair

PAGE = "docs/substituter.md"
UNITS = "/etc/systemd/system/nixoci-substituter"
ADDRESS = "http://127.0.0.1:8642"


class Far:
    """A machine whose Nix trusts the cache's key, and asks the substituter first."""

    def __init__(self, machine: Machine, near: Machine, cache: BinaryCache) -> None:
        self.machine = machine
        address, self.address = join(near, machine)
        self.cache = cache
        self.near = near
        self.upstream = f"http://{address}:{cache.port}"
        allow_ssh(machine, by=near)
        pages = [each.text for each in blocks() if each.page == PAGE]
        (conf,) = (text for text in pages if text.startswith("substituters ="))
        conf = conf.replace("https://cache.example https://cache.nixos.org", self.upstream)
        conf = conf.replace("cache.example-1:…", cache.public_key)
        machine.run(["tee", "--append", "/etc/nix/nix.conf"], input=conf)
        machine.run(["systemctl", "restart", "nix-daemon.service"])
        machine.run(["ln", "--symbolic", "/opt/nixoci/bin/nixoci", "/usr/local/bin/nixoci"])
        for kind in ("socket", "service"):
            (text,) = (page for page in pages if page.startswith(f"# {UNITS}.{kind}\n"))
            text = text.replace("https://cache.example", self.upstream).replace("#Supp", "Supp")
            machine.run(["tee", f"{UNITS}.{kind}"], input=text)
        for command in block(PAGE, "$ systemctl daemon-reload").commands:
            machine.run(["sh", "-c", command])

    def move(self, upstream: str) -> None:
        """Let Nix and the substituter ask a cache of another address."""
        files = ["/etc/nix/nix.conf", f"{UNITS}.service"]
        self.machine.run(["sed", "--in-place", f"s|http://[0-9.]*:80[0-9]*|{upstream}|", *files])
        self.machine.run(["systemctl", "daemon-reload"])
        self.machine.run(["systemctl", "restart", "nix-daemon.service"])

    def give(self, path: str) -> None:
        """Copy a closure to the machine without the cache."""
        command = ["nix", "copy", "--to", f"ssh://{self.address}", "--no-check-sigs", path]
        self.near.run(command, timeout=300)

    def forget(self, *paths: str) -> None:
        """Delete paths and everything that anyone remembers of the cache."""
        self.machine.run(["systemctl", "stop", "nixoci-substituter.service"])
        there = valid(self.machine, "daemon")
        if gone := [path for path in paths if path in there]:
            users = self.machine.run(["nix-store", "--query", "--referrers-closure", *gone]).stdout.split()
            self.machine.run(["nix-store", "--delete", *users])
        self.machine.run(["rm", "--recursive", "--force", "/root/.cache/nix", "/home/alice/.cache/nix"])
        self.cache.answers()

    def wait(self) -> None:
        """Return once the substituter answers."""
        self.machine.run(["curl", "--fail", "--silent", "--show-error", "--retry", "9", f"{ADDRESS}/nix-cache-info"])

    def realise(self, path: str, *, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Fetch a path as an ordinary user does, and return what Nix said."""
        return self.machine.run(["nix-store", "--realise", path], user="alice", check=False, timeout=timeout)

    def log(self) -> str:
        return self.machine.journal("nixoci-substituter.service")


@pytest.fixture(scope="module")
def near() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield machine


@pytest.fixture(scope="module")
def cache(near: Machine) -> Iterator[BinaryCache]:
    with BinaryCache(near) as running:
        yield running


@pytest.fixture(scope="module")
def far(near: Machine, cache: BinaryCache) -> Iterator[Far]:
    with Machine() as machine:
        yield Far(machine, near, cache)


@pytest.fixture(scope="module")
def pair(near: Machine, far: Far, cache: BinaryCache) -> tuple[str, str]:
    """A published update of an application and its library; the far machine has the old release."""
    old, new = build_pair(near)
    far.give(old)
    cache.add(new)
    cache.publish(old, new)
    return old, new


@pytest.fixture
def new(pair: tuple[str, str], far: Far, near: Machine, cache: BinaryCache) -> str:
    """The new release, which the far machine does not have; what it has is sound."""
    cache.fail()
    far.forget(*reversed(closure(near, pair[1])))
    return pair[1]


def closure(machine: Machine, path: str) -> list[str]:
    """Return a path and what it needs, what is needed first."""
    return machine.run(["nix-store", "--query", "--requisites", path]).stdout.split()


def assert_right(far: Far, near: Machine, path: str) -> None:
    """The path is there as it was built, signed, and nothing else is wrong."""
    there = infos(far.machine, path)
    assert all(info.pop("signatures") for info in there.values())
    here = infos(near, path)
    for info in here.values():
        info.pop("signatures")
    assert there == here
    verify(far.machine, "daemon")


def test_an_update_travels_as_a_delta(near: Machine, far: Far, cache: BinaryCache, new: str) -> None:
    done = far.realise(new)
    assert done.returncode == 0, done.stderr
    answers = cache.answers()
    assert sum(answer.path.endswith(".nxd") for answer in answers) == 1, far.log()
    assert not [answer for answer in answers if answer.path.startswith("/nar/")], far.log()
    asked = [answer.path for answer in answers]
    single = [path for path in asked if path.endswith(".narinfo")]
    assert single == [f"/{new[11:43]}.narinfo"], "those of the release are in one file, which is compared with its root"
    assert sum(path.endswith(".narinfos.zst") for path in asked) == 1
    nars = sum(info["narSize"] for info in infos(near, new).values())  # type: ignore[misc]
    assert sum(answer.size for answer in answers) < 0.001 * nars
    assert_right(far, near, new)
    wait_for(lambda: far.log().count(": rebuilt") == 2, 60)  # which it says when Nix has it


def test_a_build_takes_its_inputs_from_it(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    """A build that needs the release, by an ordinary user, who evaluates a path that is not there yet."""
    expression = f"""
      derivation {{
        name = "uses"; system = builtins.currentSystem; builder = "/bin/sh";
        args = [ "-c" "echo $input > $out" ]; input = builtins.storePath {new};
      }}
    """
    done = far.machine.run(["nix-build", "--no-out-link", "--expr", expression], user="alice")
    assert far.machine.run(["cat", done.stdout.strip()]).stdout == f"{new}\n"
    assert not [answer for answer in cache.answers() if answer.path.startswith("/nar/")]
    assert_right(far, near, new)


def test_nix_copy_needs_no_other_cache(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    far.machine.run(["nix", "copy", "--from", ADDRESS, new], user="alice")
    assert not [answer for answer in cache.answers() if answer.path.startswith("/nar/")]
    assert_right(far, near, new)


def test_a_deployment_lets_the_machine_substitute(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    """A build server that copies a release to a machine, as deployment tools do."""
    copy = ["nix", "copy", "--substitute-on-destination", "--to", f"ssh-ng://root@{far.address}", new]
    near.run(copy)
    answers = cache.answers()
    assert sum(answer.path.endswith(".nxd") for answer in answers) == 1, far.log()
    assert not [answer for answer in answers if answer.path.startswith("/nar/")], far.log()
    assert_right(far, near, new)


DELTA = r"\.nxd$"


@pytest.mark.parametrize("kind", ["404", "500", "cut", "altered", "swapped", "stall"])
def test_a_delta_that_fails_is_the_ordinary_nar(
    far: Far, near: Machine, cache: BinaryCache, new: str, kind: str
) -> None:
    cache.fail(DELTA, kind, other=f"{cache.folder}/deltas/index.json.zst")
    done = far.machine.run(["nix", "copy", "--from", ADDRESS, new], user="alice", check=False)
    assert done.returncode == 0, done.stderr
    assert sum(answer.path.startswith("/nar/") for answer in cache.answers()) == 2
    assert_right(far, near, new)


@pytest.mark.parametrize("kind", ["404", "500", "cut", "altered"])
def test_a_cache_that_fails_is_an_error_of_nix(far: Far, cache: BinaryCache, new: str, kind: str) -> None:
    """Neither a delta nor a NAR can be had."""
    before = valid(far.machine, "daemon")
    cache.fail(rf"{DELTA}|^/nar/", kind)
    done = far.realise(new)
    assert done.returncode != 0
    assert valid(far.machine, "daemon") == before
    verify(far.machine, "daemon")


def test_a_wrong_delta_is_a_substitution_that_failed(far: Far, near: Machine, new: str) -> None:
    """Its NAR has another hash, so Nix goes on to the next cache."""
    library = next(path for path in closure(near, new) if "-lib-" in path)
    old_library = library_of_old(far)
    file = f"/nix/store/{old_library}/file200"
    try:
        far.machine.run(
            [
                "sh",
                "-c",
                f"cp -p {file} /root/kept && chmod u+w {file} && printf X | dd of={file} bs=1 seek=9000 conv=notrunc",
            ]
        )
        done = far.realise(new)
        assert done.returncode == 0, done.stderr
        assert f"copying path '{library}' from '{ADDRESS}'" in done.stderr
        assert f"copying path '{library}' from '{far.upstream}'" in done.stderr
    finally:
        far.machine.run(["sh", "-c", f"cp -p /root/kept {file}"])
        far.machine.run(["touch", "--date=@1", file])
    assert_right(far, near, new)


def library_of_old(far: Far) -> str:
    listed = far.machine.run(["ls", "/nix/store"]).stdout.split()
    (found,) = (name for name in listed if name.endswith("-lib-1"))
    return found


def test_a_signature_is_asked_for_as_ever(far: Far, near: Machine, cache: BinaryCache) -> None:
    """An update that is not signed by a trusted key comes by no way."""
    old, new = build_pair(near, SMALL)
    far.give(old)
    before = valid(far.machine, "daemon")
    near.run(["sh", "-c", "nix-store --generate-binary-cache-key test-1 /root/other.key /root/other.pub"])
    cache.add(new, key="/root/other.key")
    cache.publish(old, new)
    done = far.realise(new)
    assert done.returncode != 0
    assert valid(far.machine, "daemon") == before
    done = far.machine.run(["nix", "copy", "--from", ADDRESS, new], user="alice", check=False)
    assert "lacks a signature by a trusted key" in done.stderr
    assert valid(far.machine, "daemon") == before


def test_a_substituter_that_is_killed_is_started_again(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    """It is killed while it waits for the second half of the delta; Nix asks again, or the next cache."""
    cache.fail(DELTA, "slow", seconds=3.0)
    command = far.machine.command(["nix-store", "--realise", new], user="alice")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: fetches(far), 60)
    far.machine.run(["systemctl", "kill", "--signal=KILL", "--kill-whom=all", "nixoci-substituter.service"])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert_right(far, near, new)
    spool = far.machine.run(["find", "/var/cache/private/nixoci-substituter", "-name", "nixoci-receive-*"]).stdout
    assert len(spool.split()) <= 1


def fetches(far: Far) -> bool:
    found = far.machine.run(["sh", "-c", "ls -d /var/cache/private/nixoci-substituter/nixoci-receive-*"], check=False)
    return found.returncode == 0


def wait_for(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_starts_with_the_machine(far: Far) -> None:
    """Otherwise the first update after a boot would wait for it."""
    far.machine.run(["systemctl", "stop", "nixoci-substituter.service"])
    far.machine.run(["systemctl", "start", "multi-user.target"])
    state = ["systemctl", "is-active", "nixoci-substituter.service"]
    wait_for(lambda: far.machine.run(state, check=False).stdout == "active\n", 60)
    far.wait()


def test_nix_does_without_a_substituter_that_is_gone(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    far.machine.run(["systemctl", "stop", "nixoci-substituter.socket", "nixoci-substituter.service"])
    try:
        done = far.realise(new)
        assert done.returncode == 0, done.stderr
    finally:
        far.machine.run(["systemctl", "start", "nixoci-substituter.socket"])
    assert sum(answer.path.startswith("/nar/") for answer in cache.answers()) == 2
    assert_right(far, near, new)


@pytest.mark.parametrize(
    "broken",
    [
        ("ExecStart=\nExecStart=/nowhere/nixoci", "/nowhere/nixoci"),
        ("SupplementaryGroups=", "only the group nix-users; make the user a member of it"),
    ],
    ids=["no program", "no member of the daemon's group"],
)
def test_nix_does_without_a_substituter_that_does_not_start(
    far: Far, near: Machine, cache: BinaryCache, new: str, broken: tuple[str, str]
) -> None:
    """systemd has taken the connection, and nobody would ever answer."""
    setting, says = broken
    drop_in = f"{UNITS}.service.d/start.conf"
    far.machine.run(["mkdir", f"{UNITS}.service.d"])
    far.machine.run(["tee", drop_in], input=f"[Service]\n{setting}\n")
    far.machine.run(["systemctl", "daemon-reload"])
    try:
        timed_out = 28
        asked = far.machine.run(["curl", "--silent", "--max-time", "60", f"{ADDRESS}/nix-cache-info"], check=False)
        assert asked.returncode not in {0, timed_out}
        assert says in far.log()
        done = far.realise(new)
        assert done.returncode == 0, done.stderr
    finally:
        far.machine.run(["rm", "--recursive", f"{UNITS}.service.d"])
        far.machine.run(["systemctl", "daemon-reload"])
        far.machine.run(["systemctl", "restart", "nixoci-substituter.socket"])
    assert sum(answer.path.startswith("/nar/") for answer in cache.answers()) == 2
    assert_right(far, near, new)


def test_a_delta_that_comes_slowly_is_waited_for(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    """Nix drops a download that stalls; it must not take this for one."""
    far.machine.run(["sh", "-c", "echo stalled-download-timeout = 8 >> /etc/nix/nix.conf"])
    far.machine.run(["sed", "-i", "s/^ExecStart=.*/& --keep-alive 2/", f"{UNITS}.service"])
    far.machine.run(["systemctl", "daemon-reload"])
    far.machine.run(["systemctl", "restart", "nix-daemon.service"])
    # its start would count as a part of the time for which it may be silent
    far.machine.run(["systemctl", "restart", "nixoci-substituter.service"])
    far.wait()
    try:
        cache.fail(DELTA, "slow", seconds=11.0)
        done = far.realise(new)
        assert done.returncode == 0, done.stderr
    finally:
        far.machine.run(["sed", "-i", "/^stalled/d", "/etc/nix/nix.conf"])
        far.machine.run(["sed", "-i", "s/ --keep-alive 2//", f"{UNITS}.service"])
        far.machine.run(["systemctl", "daemon-reload"])
        far.machine.run(["systemctl", "restart", "nix-daemon.service"])
    assert not [answer for answer in cache.answers() if answer.path.startswith("/nar/")]
    assert_right(far, near, new)


def test_the_bases_are_kept_from_the_garbage_collector(far: Far, new: str) -> None:
    """Of a delta that is in use."""
    done = far.realise(new)
    assert done.returncode == 0
    old = f"/nix/store/{library_of_old(far)}"
    roots = far.machine.run(["nix-store", "--query", "--roots", old]).stdout
    deleted = far.machine.run(["nix-store", "--delete", old], check=False)
    assert deleted.returncode != 0, roots
    assert old in valid(far.machine, "daemon")


def test_a_private_cache(far: Far, near: Machine, cache: BinaryCache, new: str) -> None:
    """Nix and the substituter have the login from the same file, which only root reads."""
    (page,) = (block.text for block in blocks() if block.text.startswith(f"# {UNITS}.service.d/login.conf"))
    text = page.replace("https://cache.example", far.upstream)
    drop_in = f"{UNITS}.service.d/login.conf"
    cache.ask_login("alice:s3cret")
    try:
        done = far.realise(new)
        assert done.returncode != 0, "nobody can read the cache"
        far.machine.run(["mkdir", f"{UNITS}.service.d"])
        far.machine.run(["tee", drop_in], input=text)
        login = f"machine {far.upstream.split('/')[2].split(':')[0]} login alice password s3cret\n"
        far.machine.run(["sh", "-c", "umask 077 && cat > /etc/nix/netrc"], input=login)
        far.machine.run(["systemctl", "daemon-reload"])
        far.forget(new)
        done = far.realise(new)
        assert done.returncode == 0, done.stderr
        answers = cache.answers()
        assert 401 not in {answer.status for answer in answers}
        assert sum(answer.path.endswith(".nxd") for answer in answers) == 1, far.log()
        assert not [answer for answer in answers if answer.path.startswith("/nar/")], far.log()
        assert "s3cret" not in far.log()
        processes = far.machine.run(["ps", "-e", "-o", "args"]).stdout
        assert "netrc" in processes
        assert "s3cret" not in processes
    finally:
        cache.ask_login("")
        far.machine.run(["rm", "--recursive", "--force", f"{UNITS}.service.d", "/etc/nix/netrc"])
        far.machine.run(["systemctl", "daemon-reload"])
    assert_right(far, near, new)


def test_an_image_is_updated(far: Far, near: Machine, cache: BinaryCache, images: dict[str, Pair]) -> None:
    """An image store with nginx, before and after its security updates."""
    built = []
    with Registry(near) as registry:
        for version in (images["nginx"].old, images["nginx"].new):
            folder = f"/root/{version.tag}"
            write_lock(near, folder, {"nginx": locked(version, registry.push(version))})
            built += build(near, folder, "imageStore")
    old, new = built
    far.give(old)
    cache.add(new)
    (published,) = cache.publish(old, new)["deltas"]
    far.forget()  # an index from before counts for half a minute
    done = far.realise(new)
    assert done.returncode == 0, done.stderr
    sent = sum(answer.size for answer in cache.answers())
    assert published["deltaSize"] < sent < published["deltaSize"] + 20_000, far.log()
    assert sent < 0.01 * published["download"]
    assert_right(far, near, new)
    memory = far.machine.run(["systemctl", "show", "--property=MemoryPeak", "nixoci-substituter.service"]).stdout
    assert re.fullmatch(r"MemoryPeak=([0-9]+|\[not set\])\n", memory)
