from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.network import allow_ssh, join

if TYPE_CHECKING:
    from collections.abc import Iterator

MAKE = """
let
  path = name: args: derivation {
    inherit name; system = builtins.currentSystem; builder = "/usr/bin/python3"; args = [ "-c" args.code ];
    dep = args.dep or "";
  };
  code = seed: ''
    import os, random
    out = os.environ["out"]; os.mkdir(out)
    for i in range(300):
        data = bytearray(random.Random(i).randbytes(20000))
        data[i:i+4] = b"%04d" % SEED
        with open(f"{out}/file{i}", "wb") as f: f.write(data)
    with open(f"{out}/run", "w") as f: f.write("#!/bin/sh\\n# SEED " + os.environ["dep"] + " " + out)
    os.chmod(f"{out}/run", 0o755)
    os.symlink("run", f"{out}/link"); os.mkdir(f"{out}/empty")
    open(os.fsencode(out) + b"/\\xff\\n name", "w").close()
  '';
  make = seed: rec {
    lib = path "lib-${seed}" { code = builtins.replaceStrings [ "SEED" ] [ seed ] (code seed); };
    app = path "app-${seed}" { code = builtins.replaceStrings [ "SEED" ] [ seed ] (code seed); dep = "${lib}"; };
  }.app;
in [ (make "1") (make "2") ]
"""


SMALL = """
map (seed: derivation {
  name = "small-${seed}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo ${seed} > $out" ];
}) [ "1" "2" ]
"""


ARCHIVES = """
map (seed: derivation {
  name = "archives-${seed}"; system = builtins.currentSystem; builder = "/usr/bin/python3"; args = [ "-c" ''
    import os, random, subprocess, zipfile
    out = os.environ["out"]; os.mkdir(out)
    words = [b"%x" % random.Random(1).getrandbits(40 + i) for i in range(500)]
    text = b" ".join(random.Random(2).choices(words, k=60_000)).replace(words[7], b"word ${seed}")
    with open(f"{out}/text.gz", "wb") as file:
        subprocess.run(["/usr/bin/gzip", "-9n"], input=text, stdout=file, check=True)
    with zipfile.ZipFile(f"{out}/app.jar", "w", zipfile.ZIP_DEFLATED) as jar:
        for number in range(40):
            jar.writestr(zipfile.ZipInfo(f"{number}.class"), text[number * 9999 :][:9999], zipfile.ZIP_DEFLATED)
  '' ];
}) [ "1" "2" ]
"""


KILL_REGISTRATION = """
delay=$1 since=$2 store=$3
echo ready
until pid=$(pgrep -f "^nix-store .*--serve --write"); do [ ! -e "$store.received" ] || exit; sleep 0.002; done
if [ "$since" = path ]; then
  until set -- "$store"/nix/store/*.lock; [ -e "$1" ] || ! kill -0 $pid; do sleep 0.002; done
fi
sleep "$delay"; kill -KILL $pid
"""
"""Waits for the program that registers what nixoci hands it, or for the lock that it takes for the first path, and
kills it so many seconds later. Ends if nixoci has ended before."""


DELETE_WHILE_SERVED = """
import subprocess, sys
from nixoci.nix_store.serve import serve

path = sys.argv[1]
with serve(store=None, write=True) as nix:
    assert nix.valid_paths([path]) == {path}
    assert subprocess.run(["nix-store", "--delete", path]).returncode == 1
    assert list(nix.path_infos([path])) == [path]
"""


DELETE_WHILE_SENT = """
import subprocess, sys
from nixoci.cli import main, send

path, write = sys.argv[1], send._send

def delete_and_write(*arguments):
    assert subprocess.run(["nix-store", "--delete", path]).returncode == 1
    return write(*arguments)

send._send = delete_and_write
main(["send", "--to", path, "--output", "/root/one-file"])
"""


@pytest.fixture(scope="module")
def near() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield machine


@pytest.fixture(scope="module")
def pair(near: Machine) -> tuple[str, str]:
    """Two versions of a closure of two paths that refer to each other and themselves, in the near store."""
    old, new = build_pair(near)
    near.run(
        ["nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--to", "/root/far", old]
    )
    near.run(["nixoci", "send", "--from", old, "--to", new, "-o", "/root/delta"])
    return old, new


def infos(machine: Machine, *arguments: str) -> dict[str, dict[str, object]]:
    command = ["nix", "--extra-experimental-features", "nix-command", "path-info", "--json", "--json-format", "1"]
    found: dict[str, dict[str, object]] = json.loads(machine.run([*command, "--recursive", *arguments]).stdout)
    keep = ("narHash", "narSize", "references", "deriver", "signatures", "ca")
    return {path: {key: info[key] for key in keep} for path, info in found.items()}


def build_pair(machine: Machine, expression: str = MAKE) -> tuple[str, str]:
    """Build two versions of a closure and return the older and the newer one."""
    old, new = machine.run(["nix-build", "--no-out-link", "--expr", expression]).stdout.split()
    return old, new


def fresh(machine: Machine, store: str, base: str | None) -> str:
    """Make a chroot store that has the closure of a path."""
    machine.run(["rm", "-rf", store], check=False)
    if base:
        command = ["nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs"]
        machine.run([*command, "--to", store, base])
    return store


def linked(machine: Machine, store: str, other: str) -> str:
    """Make a chroot store of another one's files, in a fraction of the time that Nix takes to copy them."""
    script = 'rm -rf "$0" && mkdir -p "$0/nix" && cp -al "$1/nix/store" "$0/nix" && cp -a "$1/nix/var" "$0/nix"'
    machine.run(["sh", "-c", script, store, other])
    return store


def valid(machine: Machine, store: str) -> set[str]:
    command = ["nix", "--extra-experimental-features", "nix-command", "path-info", "--all", "--store", store]
    return set(machine.run(command).stdout.split())


def verify(machine: Machine, store: str) -> None:
    machine.run(["nix-store", "--store", store, "--verify", "--check-contents"])


def test_a_closure_arrives_as_it_was(near: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    store = fresh(near, "/root/arrives", old)
    done = json.loads(near.run(["nixoci", "receive", "/root/delta", "--store", store, "--json"]).stdout)
    assert done["roots"] == [new]
    assert len(done["added"]) == 2
    assert infos(near, "--store", store, new) == infos(near, new)
    verify(near, store)
    again = json.loads(near.run(["nixoci", "receive", "/root/delta", "--store", store, "--json"]).stdout)
    assert again["added"] == []
    assert "nixoci" not in near.run(["ls", "/tmp"]).stdout  # noqa: S108


def test_compressed_files_are_deflated_again(near: Machine) -> None:
    old, new = build_pair(near, ARCHIVES)
    send = ["nixoci", "send", "--from", old, "--to", new, "-o", "/root/archives.delta", "--json"]
    sent = json.loads(near.run(send).stdout)
    size = int(near.run(["du", "--bytes", "--summarize", new]).stdout.split()[0])
    assert sent["deltaSize"] < size / 20
    store = fresh(near, "/root/archives", old)
    near.run(["nixoci", "receive", "/root/archives.delta", "--store", store])
    assert infos(near, "--store", store, new) == infos(near, new)
    verify(near, store)
    near.run(["sh", "-c", "mkdir -p /root/bin && ln -sf $(command -v nix-store) $(command -v nixoci) /root/bin"])
    store = fresh(near, "/root/archives", old)
    receive = ["nixoci", "receive", "/root/archives.delta", "--store", store]
    refused = near.run(receive, env={"PATH": "/root/bin"}, check=False)
    assert refused.returncode == 1
    assert refused.stderr == "error: gzip: program not found; install gzip and make sure that it is on PATH\n"
    assert new not in valid(near, store)


@pytest.mark.usefixtures("pair")
def test_a_missing_base_is_named(near: Machine) -> None:
    store = fresh(near, "/root/missing", None)
    done = near.run(["nixoci", "receive", "/root/delta", "--store", store], check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: /nix/store/")
    assert "this store does not have it" in done.stderr
    assert valid(near, store) == set()


def test_a_damaged_base_is_named(near: Machine, pair: tuple[str, str]) -> None:
    store = fresh(near, "/root/damaged", pair[0])
    base = near.run(["nix-store", "--query", "--references", pair[0]]).stdout.split()
    base.remove(pair[0])
    file = f"{store}{base[0]}/file7"
    near.run(["chmod", "+w", file])
    near.run(["dd", "if=/dev/zero", f"of={file}", "bs=999", "seek=9", "count=9", "conv=notrunc"])
    before = valid(near, store)
    done = near.run(["nixoci", "receive", "/root/delta", "--store", store], check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {base[0]}: damaged in this store")
    assert done.stderr.count("\n") == 1
    assert valid(near, store) == before


def test_signatures_and_content_addresses_arrive(near: Machine, pair: tuple[str, str]) -> None:
    near.run(["sh", "-c", "nix-store --generate-binary-cache-key test-1 /root/key /root/key.pub"])
    new = "nix --extra-experimental-features nix-command"
    near.run(["sh", "-c", f"{new} store sign --key-file /root/key --recursive {pair[1]}"])
    source = near.run(["nix-store", "--add", "/etc/os-release"]).stdout.strip()
    near.run(["nixoci", "send", "--from", pair[0], "--to", pair[1], "--to", source, "-o", "/root/signed"])
    store = fresh(near, "/root/signed-store", pair[0])
    near.run(["nixoci", "receive", "/root/signed", "--store", store])
    got = infos(near, "--store", store, pair[1], source)
    assert got == infos(near, pair[1], source)
    assert got[pair[1]]["signatures"]
    assert got[source]["ca"]


def test_killed_at_any_point_the_store_is_sound(near: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    pristine = fresh(near, "/root/pristine", old)
    pick, longest, killed = random.Random(4), 2.0, 0  # noqa: S311 - not a secret
    while killed < 20:
        store = linked(near, "/root/killed", pristine)
        command = near.command(["nixoci", "receive", "/root/delta", "--store", store])
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        delay = pick.uniform(0.05, longest)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        # other work of this machine makes a whole run longer or shorter
        if process.wait() == 0:
            longest = max(0.1, delay * 0.9)
        else:
            longest *= 1.05
            killed += 1
        verify(near, store)
        near.run(["nixoci", "receive", "/root/delta", "--store", store])
        assert new in valid(near, store)
    verify(near, "/root/killed")
    assert "nixoci" not in near.run(["ls", "/tmp"]).stdout  # noqa: S108


KILLED_SINCE = ("start", "path")


def tries(refused: dict[str, int]) -> Iterator[str]:
    """Give each kind eight times, and then until some of it were refused."""
    for kind in KILLED_SINCE:
        for number in range(100):
            if number < 8 or refused[kind] < 3:
                yield kind


def test_registration_killed_at_any_point_the_store_is_sound(near: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    pristine = fresh(near, "/root/unregistered", old)
    folders = ["ls", "-A", "/tmp", "/nix/store"]  # noqa: S108
    left = near.run(folders).stdout
    # another test signs the near paths after the delta was made
    made = {path: (info["narHash"], info["references"]) for path, info in infos(near, new).items()}
    pick = random.Random(5)  # noqa: S311 - not a secret
    longest = dict.fromkeys(KILLED_SINCE, 0.12)
    refused = dict.fromkeys(longest, 0)
    for since in tries(refused):
        store = linked(near, "/root/child-killed", pristine)
        near.run(["rm", "--force", f"{store}.received"])
        kill = ["sh", "-c", KILL_REGISTRATION, "sh", str(pick.uniform(0, longest[since])), since, store]
        with subprocess.Popen(near.command(kill), stdout=subprocess.PIPE, text=True) as killer:
            assert killer.stdout
            assert killer.stdout.readline() == "ready\n"
            done = near.run(["nixoci", "receive", "/root/delta", "--store", store], check=False)
            near.run(["touch", f"{store}.received"])
            killer.wait(timeout=60)
        if done.returncode == 0:
            # it came too late: other work of this machine makes registration longer or shorter
            longest[since] *= 0.9
        else:
            refused[since] += 1
            # until it registers a path, it only answers queries
            asked = (f"error: nix-store --store {store} --serve: ",) if since == "start" else ()
            assert done.stderr.startswith(("error: /nix/store/", *asked))
            assert done.stderr.count("\n") == 1
            # what was registered before the kill was deleted again
            assert new not in valid(near, store)
        verify(near, store)
        assert near.run(folders).stdout == left
        near.run(["nixoci", "receive", "/root/delta", "--store", store])
        verify(near, store)
        got = infos(near, "--store", store, new)
        assert {path: (info["narHash"], info["references"]) for path, info in got.items()} == made
        wanted = {path.removeprefix("/nix/store/") for path in valid(near, store)} | {".links"}
        there = set(near.run(["ls", "-A", f"{store}/nix/store"]).stdout.split())
        assert there - wanted == set()
    assert min(refused.values()) > 2


def test_what_a_receiver_needs_is_not_collected_meanwhile(near: Machine) -> None:
    path = near.run(["nix-store", "--add", "/etc/hostname"]).stdout.strip()
    near.run(["/opt/nixoci/bin/python3", "-c", DELETE_WHILE_SERVED, path])
    near.run(["nix-store", "--delete", path])


def test_what_a_sender_reads_is_not_collected_meanwhile(near: Machine) -> None:
    path = near.run(["nix-store", "--add", "/etc/hosts"]).stdout.strip()
    near.run(["/opt/nixoci/bin/python3", "-c", DELETE_WHILE_SENT, path])
    near.run(["nix-store", "--delete", path])


def test_roots_and_profiles(near: Machine, pair: tuple[str, str]) -> None:
    near.run(["nixoci", "receive", "/root/delta", "--gc-root", "/root/root", "--profile", "/root/profile"])
    assert near.run(["readlink", "/root/root"]).stdout.strip() == pair[1]
    assert near.run(["readlink", "-f", "/root/profile"]).stdout.strip() == pair[1]


def test_copy_to_another_machine(near: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    with Machine(binds={images_dir(): INSIDE}) as far:
        _, address = join(near, far)
        allow_ssh(far, by=near)
        far.run(["sh", "-c", "ln -sf /opt/nixoci/bin/nixoci /usr/local/bin/nixoci"])
        command = ["nix", "--extra-experimental-features", "nix-command", "copy", "--to", f"ssh://{address}"]
        near.run([*command, "--no-check-sigs", old])
        counter = f"cat /sys/class/net/{interface(near, address)}/statistics/tx_bytes"
        before = int(near.run(["sh", "-c", counter]).stdout)
        summary = json.loads(near.run(["nixoci", "copy", "--to", f"ssh://{address}", new, "--json"]).stdout)
        sent = int(near.run(["sh", "-c", counter]).stdout) - before
        assert infos(far, new) == infos(near, new)
        far.run(["nix-store", "--verify", "--check-contents"])
        assert summary["deltaSize"] <= sent < summary["deltaSize"] + 40_000
        assert sent < 200_000


def interface(machine: Machine, address: str) -> str:
    words = machine.run(["ip", "route", "get", address]).stdout.split()
    return words[words.index("dev") + 1]


def test_the_other_stream_makes_the_same_paths(near: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    near.run(["nixoci", "send", "--format", "reupnix-v1", "--from", old, "--to", new, "-o", "/root/v1"])
    store = fresh(near, "/root/v1-store", old)
    near.run(["nixoci", "receive", "--format", "reupnix-v1", "/root/v1", "--store", store])
    got, expected = infos(near, "--store", store, new), infos(near, new)
    for info in (*got.values(), *expected.values()):
        del info["deriver"]
        del info["signatures"]
    assert got == expected
    verify(near, store)


def built_delta(machine: Machine, old: str, new: str) -> str:
    """Let Nix build a delta, and return its path."""
    function = 'import /src/nix/delta.nix { system = builtins.currentSystem; nixoci = "/opt/nixoci"; }'
    paths = f"from = builtins.storePath {old}; to = builtins.storePath {new};"
    return machine.run(["nix-build", "--no-out-link", "--expr", f"({function}) {{ {paths} }}"]).stdout.strip()


def test_a_delta_that_nix_builds_has_no_signatures_and_no_derivers(near: Machine) -> None:
    """Nix tells neither to a build; `send` reads them from the store, and the receiver can copy signatures later."""
    old, new = build_pair(near, SMALL)
    near.run(["nix-store", "--generate-binary-cache-key", "test-1", "/root/key", "/root/key.pub"])
    nix_store = ["nix", "--extra-experimental-features", "nix-command", "store"]
    near.run([*nix_store, "sign", "--key-file", "/root/key", new])
    (signed,) = infos(near, new).values()
    near.run(["nixoci", "send", "--from", old, "--to", new, "-o", "/root/sent"])
    for delta, name in (("/root/sent", "from-send"), (built_delta(near, old, new), "from-build")):
        near.run(["nixoci", "receive", delta, "--store", fresh(near, f"/root/{name}", old)])
    (sent,) = infos(near, "--store", "/root/from-send", new).values()
    assert sent == signed
    assert sent["signatures"]
    (built,) = infos(near, "--store", "/root/from-build", new).values()
    assert built == signed | {"signatures": [], "deriver": None}
    copy = ["copy-sigs", "--store", "/root/from-build", "--substituter", "/root/from-send", "--recursive", new]
    near.run([*nix_store, *copy])
    (copied,) = infos(near, "--store", "/root/from-build", new).values()
    assert copied == signed | {"deriver": None}


def test_a_build_makes_the_same_delta(near: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    delta = built_delta(near, old, new)
    store = fresh(near, "/root/built", old)
    near.run(["nixoci", "receive", delta, "--store", store])
    assert new in valid(near, store)
    assert near.run(["nix-store", "--query", "--references", delta]).stdout == ""
