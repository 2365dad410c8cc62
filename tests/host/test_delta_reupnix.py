"""Our streams and reUpNix's own scripts, from a checkout that `REUPNIX` names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.host.machine import Machine
from tests.host.test_delta import MAKE, build_pair, fresh, infos, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = os.environ.get("REUPNIX")

pytestmark = pytest.mark.skipif(
    not CHECKOUT,
    reason="not run: reUpNix's nix-store-recv on our stream, and ours on that of its nix-store-send; "
    "let REUPNIX name a checkout",
)

ARGUMENTS = """
generic-arg-parse() {
    declare -gA args=( ) ; declare -ga argv=( ) ; local word
    for word in "$@" ; do
        if [[ $word == --* ]] ; then args[${word#--}]=1 ; else argv+=( "$word" ) ; fi
    done
}
generic-arg-help() { : ; }
generic-arg-verify() { : ; }
"""
"""Stands in for the argument parser that reUpNix takes from another project."""

TOOLS = {
    "shell": "/bin/bash",
    "unshare": "unshare",
    "xargs": "xargs",
    "nix": "nix --extra-experimental-features nix-command",
    "narHash": "nix-hash --type sha256 --base32",
    "generic_arg_parse": "/root/arguments",
    "generic_arg_help": "/root/arguments",
    "generic_arg_verify": "/root/arguments",
}


def script(machine: Machine, name: str) -> str:
    """Install one of the scripts, with its tools filled in."""
    text = (Path(CHECKOUT or "") / "overlays" / f"nix-store-{name}.sh").read_text(encoding="utf-8")
    for tool, value in TOOLS.items():
        text = text.replace(f"@{tool}@", value)
    assert not re.search("@[a-zA-Z_]+@", text)
    machine.run(["tee", TOOLS["generic_arg_parse"]], input=ARGUMENTS)
    path = f"/root/{name}"
    machine.run(["tee", path], input=text)
    machine.run(["chmod", "+x", path])
    return path


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as booted:
        yield booted


@pytest.fixture(scope="module")
def pair(machine: Machine) -> tuple[str, str]:
    return build_pair(machine)


@pytest.fixture(scope="module")
def plain_pair(machine: Machine) -> tuple[str, str]:
    """As `pair`, without the name that its sender, a shell script, takes for two."""
    expression = "\n".join(
        line for line in MAKE.splitlines() if "name" not in line or "inherit" in line or "path =" in line
    )
    return build_pair(machine, expression)


def test_its_receiver_applies_our_stream(machine: Machine, pair: tuple[str, str]) -> None:
    old, new = pair
    machine.run(["nixoci", "send", "--format", "reupnix-v1", "--from", old, "--to", new, "-o", "/root/v1"])
    closure = machine.run(["nix-store", "--query", "--requisites", old]).stdout.split()
    machine.run(["mkdir", "/root/real"])
    machine.run(["cp", "--archive", *closure, "/root/real"])
    made = machine.run(["nix-store", "--query", "--requisites", new]).stdout.split()
    apply = f"mount --bind /root/real /nix/store && {script(machine, 'recv')} --no-remount < /root/v1"
    machine.run(["unshare", "--mount", "--propagation=private", "sh", "-c", apply])
    assert sorted(machine.run(["ls", "/root/real"]).stdout.split()) == sorted(Path(path).name for path in made)
    for path in made:
        hashes = machine.run(["nix-hash", "--type", "sha256", path, f"/root/real/{Path(path).name}"]).stdout.split()
        assert hashes[0] == hashes[1]


def test_we_receive_its_senders_stream(machine: Machine, plain_pair: tuple[str, str]) -> None:
    old, new = plain_pair
    machine.run(["sh", "-c", f"{script(machine, 'send')} {old} {new} > /root/theirs"])
    store = fresh(machine, "/root/theirs-store", old)
    done = machine.run(["nixoci", "receive", "--format", "reupnix-v1", "/root/theirs", "--store", store], check=False)
    assert done.returncode == 0, done.stderr
    got, expected = infos(machine, "--store", store, new), infos(machine, new)
    assert {path: info["references"] for path, info in got.items()} == {
        path: info["references"] for path, info in expected.items()
    }
    verify(machine, store)
