"""`send` and `receive` for users: pipes, full disks, dry runs, users whom Nix trusts and others."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.host.machine import Machine
from tests.host.test_delta import build_pair, fresh, infos, valid, verify
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator

DELTA = "/var/delta"
WHOLE = "nixoci send --store /root/both --effort fast --to"
"""Sends a closure to a receiver that has nothing: 12 MB, which take seconds to compress by the default effort."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as booted:
        yield booted


@pytest.fixture(scope="module")
def pair(machine: Machine) -> tuple[str, str]:
    """Two versions of a closure, the delta between them, and a store of its own that keeps both."""
    old, new = build_pair(machine)
    machine.run(["nix", "copy", "--no-check-sigs", "--to", "/root/both", old, new])
    machine.run(["nix-store", "--add-root", "/root/keep-old", "--realise", old])
    machine.run(["nixoci", "send", "--from", old, "--to", new, "-o", DELTA])
    return old, new


@pytest.fixture
def old_only(machine: Machine, pair: tuple[str, str]) -> str:
    """The path that the delta makes, when the main store has only what it is made from."""
    machine.run(["nix-store", "--gc"])
    assert pair[1] not in valid(machine, "daemon")
    return pair[1]


def fails(machine: Machine, script: str, *, user: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run a script that must fail with one line of error, and return that."""
    done = machine.run(["bash", "-o", "pipefail", "-c", script], user=user, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def small_disk(machine: Machine, folder: str, size: str) -> str:
    machine.run(["mkdir", folder])
    machine.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder])
    return folder


def test_through_pipes(machine: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    store = fresh(machine, "/root/piped", old)
    send = f"nixoci send --store /root/both --from {old} --to {new}"
    machine.run(["bash", "-o", "pipefail", "-c", f"{send} | nixoci receive --store {store}"])
    assert new in valid(machine, store)
    machine.run(["mkfifo", "/root/fifo"])
    machine.run(["sh", "-c", f"{send} -o /root/fifo & cmp /root/fifo {DELTA} && wait"], timeout=60)
    machine.run(["test", "-p", "/root/fifo"])
    machine.run(["sh", "-c", f"{send} -o /dev/stdout | cmp - {DELTA}"])


def test_the_commands_of_the_documentation(machine: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    send, receive = block("docs/deltas.md", "$ nixoci send").commands
    machine.run(["nix", "copy", "--no-check-sigs", "--from", "/root/both", new])
    machine.run(["mkdir", "/root/by-hand"])
    machine.run(["ln", "--symbolic", old, "/root/by-hand/old"])
    machine.run(["ln", "--symbolic", new, "/root/by-hand/new"])
    machine.run(["bash", "-c", send], cwd="/root/by-hand")
    machine.run(["nix-store", "--gc"])
    assert new not in valid(machine, "daemon")
    machine.run(["bash", "-c", receive], cwd="/root/by-hand")
    machine.run(["nix-store", "--gc"])
    assert new in valid(machine, "daemon")
    machine.run(["rm", "/root/by-hand/new"])


def test_a_reader_that_goes_away_is_one_line(machine: Machine, pair: tuple[str, str]) -> None:
    error = fails(machine, f"{WHOLE} {pair[1]} | head -c 10 > /dev/null")
    assert "standard output: cannot be written: Broken pipe" in error


def test_a_full_disk_takes_no_half_of_a_delta(machine: Machine, pair: tuple[str, str]) -> None:
    disk = small_disk(machine, "/root/small-output", "1m")
    error = fails(machine, f"{WHOLE} {pair[1]} -o {disk}/delta")
    assert f"{disk}/delta: No space left on device; free some and run again" in error
    assert machine.run(["ls", "-A", disk]).stdout == ""


def test_a_full_temporary_folder_leaves_nothing(machine: Machine, old_only: str) -> None:
    disk = small_disk(machine, "/root/small-spool", "500k")
    before = valid(machine, "daemon")
    error = fails(machine, f"nixoci receive {DELTA}", env={"TMPDIR": disk})
    assert "set TMPDIR to another directory" in error
    assert machine.run(["ls", "-A", disk]).stdout == ""
    assert valid(machine, "daemon") == before
    assert old_only not in before


def test_a_full_store_keeps_nothing_of_the_delta(machine: Machine, pair: tuple[str, str]) -> None:
    disk = small_disk(machine, "/root/small-store", "60m")
    store = fresh(machine, f"{disk}/store", pair[0])
    free = int(machine.run(["df", "--output=avail", "--block-size=1", disk]).stdout.split()[1])
    # room for the first path and half of the second
    machine.run(["fallocate", f"--length={free - 9_000_000}", f"{disk}/filled"])
    before = valid(machine, store)
    error = fails(machine, f"nixoci receive {DELTA} --store {store}")
    assert "No space left on device" in error
    assert valid(machine, store) == before
    verify(machine, store)
    machine.run(["rm", f"{disk}/filled"])
    machine.run(["nixoci", "receive", DELTA, "--store", store])
    verify(machine, store)
    assert infos(machine, "--store", store, pair[1]) == infos(machine, "--store", "/root/both", pair[1])


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(machine: Machine, old_only: str) -> None:
    before = valid(machine, "daemon")
    done = machine.run(["nixoci", "receive", DELTA, "--dry-run"])
    assert [line for line in done.stdout.splitlines() if line.endswith(old_only)] == [f"would add {old_only}"]
    report = json.loads(machine.run(["nixoci", "receive", DELTA, "--dry-run", "--json"]).stdout)
    assert len(report["added"]) == 2
    assert report["deltaSize"] == int(machine.run(["stat", "--format=%s", DELTA]).stdout)
    assert valid(machine, "daemon") == before
    missing = fails(machine, f"nixoci receive {DELTA} --dry-run --store {fresh(machine, '/root/nothing', None)}")
    assert "this store does not have it" in missing


def test_progress_on_a_terminal_only(machine: Machine, pair: tuple[str, str]) -> None:
    send = f"{WHOLE} {pair[1]} -o /root/whole"
    shown = machine.run(["script", "--quiet", "--return", "--command", send, "/dev/null"], env={"TERM": "xterm"}).stdout
    assert "making the delta" in shown
    assert "MB" in shown
    assert "making" not in machine.run(["sh", "-c", send]).stderr
    receive = f"nixoci receive {DELTA} --dry-run --store {fresh(machine, '/root/watched', pair[0])}"
    watched = ["script", "--quiet", "--return", "--command", receive, "/dev/null"]
    shown = machine.run(watched, env={"TERM": "xterm"}).stdout
    assert "rebuilding" in shown
    assert re.search(r"[0-9.]+/12\.[0-9] MB", shown), shown
    assert "rebuilding" not in machine.run(["sh", "-c", receive]).stderr


def test_a_root_is_kept_and_let_go(machine: Machine, old_only: str) -> None:
    machine.run(["nixoci", "receive", DELTA, "--gc-root", "/root/kept"])
    machine.run(["ln", "--symbolic", "--force", "--no-target-directory", "/nix/store/x-before", "/root/kept"])
    machine.run(["nixoci", "receive", DELTA, "--gc-root", "/root/kept"])
    machine.run(["nix-store", "--gc"])
    assert old_only in valid(machine, "daemon")
    machine.run(["rm", "/root/kept"])
    machine.run(["nix-store", "--gc"])
    assert old_only not in valid(machine, "daemon")


def test_a_user_whom_nix_does_not_trust_is_told(machine: Machine, old_only: str) -> None:
    before = valid(machine, "daemon")
    error = fails(machine, f"nixoci receive {DELTA}", user="alice")
    assert error.startswith("error: /nix/store/")
    assert "trusted-users" in error
    assert valid(machine, "daemon") == before
    assert old_only not in before
    dry_run = fails(machine, f"nixoci receive {DELTA} --dry-run", user="alice")
    assert dry_run.endswith(error.partition("; ")[2])
    assert "no trusted key has signed it" in dry_run
    assert "nixoci" not in machine.run(["ls", "/tmp"]).stdout  # noqa: S108


def test_a_signature_stands_for_trust_where_every_path_has_one(
    machine: Machine, old_only: str, pair: tuple[str, str]
) -> None:
    machine.run(["sh", "-c", "nix-store --generate-binary-cache-key test-1 /root/key /root/key.pub"])
    machine.run(["sh", "-c", 'echo "trusted-public-keys = $(cat /root/key.pub)" >> /etc/nix/nix.conf'])
    machine.run(["systemctl", "restart", "nix-daemon.service"])
    machine.run(["cp", "--archive", "/root/both", "/root/signs"])
    sign = ["nix", "store", "sign", "--store", "/root/signs", "--key-file", "/root/key"]
    references = machine.run(
        ["nix-store", "--store", "/root/signs", "--query", "--references", old_only]
    ).stdout.split()
    library = next(path for path in references if path != old_only)
    send = ["nixoci", "send", "--store", "/root/signs", "--from", pair[0], "--to", old_only, "-o", "/var/signed"]
    before, folder = valid(machine, "daemon"), machine.run(["ls", "/nix/store"]).stdout
    machine.run([*sign, library])
    machine.run(send)
    error = fails(machine, "nixoci receive /var/signed", user="alice")
    assert error.startswith(f"error: {old_only}: Nix does not register it: ")
    assert "trusted-users" in error
    assert library not in before
    assert valid(machine, "daemon") == before
    assert machine.run(["ls", "/nix/store"]).stdout == folder
    dry_run = fails(machine, "nixoci receive /var/signed --dry-run", user="alice")
    assert dry_run.startswith(f"error: {old_only}: Nix would not register it: no trusted key has signed it; ")
    machine.run([*sign, old_only])
    machine.run(send)
    machine.run(["nixoci", "receive", "/var/signed", "--dry-run"], user="alice")
    assert valid(machine, "daemon") == before
    machine.run(["nixoci", "receive", "/var/signed"], user="alice")
    assert {library, old_only} <= valid(machine, "daemon")
    verify(machine, "daemon")


def test_a_content_address_stands_for_trust(machine: Machine) -> None:
    """Such a path is what its name says, whoever made it: Nix asks for no signature."""
    add = "mkdir -p /root/v$0 && seq $0 >/root/v$0/data && nix-store --add /root/v$0/data"
    old, new = (machine.run(["sh", "-c", add, number]).stdout.strip() for number in ("9000", "9001"))
    machine.run(["nixoci", "send", "--from", old, "--to", new, "-o", "/var/addressed"])
    machine.run(["nix-store", "--delete", new])
    machine.run(["nixoci", "receive", "/var/addressed", "--dry-run"], user="alice")
    assert new not in valid(machine, "daemon")
    machine.run(["nixoci", "receive", "/var/addressed"], user="alice")
    assert new in valid(machine, "daemon")


def test_a_user_has_a_store_of_their_own(machine: Machine, pair: tuple[str, str]) -> None:
    machine.run(["nix", "copy", "--no-check-sigs", "--to", "/home/alice/store", pair[0]], user="alice")
    machine.run(["nixoci", "receive", DELTA, "--store", "/home/alice/store"], user="alice")
    verify(machine, "/home/alice/store")
    assert pair[1] in valid(machine, "/home/alice/store")


def test_a_user_whom_nix_trusts_receives(machine: Machine, old_only: str) -> None:
    machine.run(["sed", "-i", "s/^trusted-users.*/& alice/", "/etc/nix/nix.conf"])
    machine.run(["systemctl", "restart", "nix-daemon.service"])
    done = machine.run(["nixoci", "receive", DELTA, "--profile", "/home/alice/profile"], user="alice")
    assert done.stdout.strip() == old_only
    assert machine.run(["readlink", "-f", "/home/alice/profile"]).stdout.strip() == old_only
    assert infos(machine, old_only) == infos(machine, "--store", "/root/both", old_only)
    verify(machine, "daemon")
