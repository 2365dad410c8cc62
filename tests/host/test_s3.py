"""A bucket as the binary cache: Nix copies paths there, deltas are put beside them, machines read it without a login.

`NIXOCI_MOTO=FILE` names the program `moto_server` of moto, which stands in for S3.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.host.machine import Machine
from tests.host.test_delta import build_pair, valid
from tests.host.test_substituter import ADDRESS, closure, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

MOTO = os.environ.get("NIXOCI_MOTO", "")
BUCKET = "http://127.0.0.1:5555/bucket"
STORE = "s3://bucket?endpoint=127.0.0.1:5555&scheme=http&region=us-east-1"
ANYONE_READS = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::bucket/deltas/*"},
    ],
}

pytestmark = pytest.mark.skipif(not MOTO, reason="NIXOCI_MOTO does not name moto's program moto_server")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with a bucket on its loopback device."""
    with Machine() as booted:
        enter = ["nsenter", f"--target={booted.leader}", "--net"]
        moto = subprocess.Popen([*enter, MOTO, "-H", "127.0.0.1", "-p", "5555"], stderr=subprocess.DEVNULL)
        try:
            make = ["curl", "--silent", "--fail", "--request", "PUT", BUCKET]
            deadline = time.monotonic() + 60
            while booted.run(make, check=False).returncode and time.monotonic() < deadline:
                time.sleep(0.2)
            header = ["--header", "Content-Type: application/json"]
            put = ["--request", "PUT", *header, "--data-binary", json.dumps(ANYONE_READS), f"{BUCKET}?policy"]
            booted.run(["curl", "--silent", "--show-error", "--fail", *put])
            yield booted
        finally:
            moto.kill()
            moto.wait()


def test_an_update_from_a_bucket(machine: Machine) -> None:
    old, new = build_pair(machine)
    machine.run(["sh", "-c", "nix-store --generate-binary-cache-key test-1 /root/key /root/public"])
    login = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    options = "secret-key=/root/key&compression=zstd"
    machine.run(["nix", "copy", "--to", f"{STORE}&{options}", new], env=login, timeout=300)
    machine.run(["nix", "copy", "--to", f"file:///root/cache?{options}", new], timeout=300)
    machine.run(["nixoci", "publish", "--cache", "/root/cache", "--from", old, "--to", new])
    upload = f"for file in *.nxd index.json.zst; do curl -sSf -T $file {BUCKET}/deltas/$file; done"
    machine.run(["sh", "-c", upload], cwd="/root/cache/deltas")
    machine.run(["nix-store", "--delete", *(path for path in closure(machine, new)[::-1])])
    start = ["nixoci", "substituter", "--upstream", BUCKET]
    machine.run(["systemd-run", "--unit=substituter", "--collect", *start])
    probe = ["curl", "--silent", "--fail", "--output", "/dev/null", f"{ADDRESS}/nix-cache-info"]
    deadline = time.monotonic() + 60
    while machine.run(probe, check=False).returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    key = machine.run(["cat", "/root/public"]).stdout.strip()
    machine.run(["nix", "copy", "--from", ADDRESS, "--option", "trusted-public-keys", key, new])
    assert new in valid(machine, "daemon")
    wait_for(lambda: machine.journal("substituter.service").count(": rebuilt") == 2, 60)
