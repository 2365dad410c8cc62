"""Patches by HDiffPatch whose payload is large: they are applied in pieces."""

import random
import subprocess
import sys

import pytest

from nixoci.delta.codecs import hdiff
from nixoci.delta.codecs.hdiff import HDIFF, patch
from nixoci.delta.codecs.registry import decode
from nixoci.errors import DeltaError

OLD = random.Random(4).randbytes(4000)
NEW = OLD[1000:2500] + bytes(byte + 1 & 0xFF for byte in OLD[2500:]) + bytes(999) + OLD[:1200]

# Decodes the payload on its standard input, with as much more memory as the argument says.
DECODE = """
import resource, sys
import hdiffpatch
from nixoci.delta.codecs.hdiff import HDIFF
old, payload = b"old" * 1000, sys.stdin.buffer.read()
with open("/proc/self/status") as status:
    (held,) = (int(line.split()[1]) << 10 for line in status if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (held + int(sys.argv[1]), resource.RLIM_INFINITY))
sys.stdout.write(str(len(HDIFF.decode(payload, old, 64 << 20))))
"""


@pytest.fixture
def payload(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(hdiff, "_LARGE_PAYLOAD", 0)
    monkeypatch.setattr(hdiff, "_PIECE", 300)
    return patch(OLD, NEW)


def test_the_result_is_the_same(payload: bytes) -> None:
    assert HDIFF.decode(payload, OLD, len(NEW)) == NEW


def test_one_that_takes_long_to_divide_is_applied_as_a_whole(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdiff, "_MOST_DIVIDED", 1)
    monkeypatch.setattr(hdiff, "pack_patch", None)
    assert HDIFF.decode(payload, OLD, len(NEW)) == NEW


def test_damage_is_refused_or_makes_other_bytes(payload: bytes) -> None:
    refused = 0
    for at in range(len(payload)):
        for damaged in (payload[:at], payload[:at] + bytes([payload[at] ^ 0xFF]) + payload[at + 1 :]):
            try:
                assert len(decode(HDIFF.number, damaged, OLD, 1 << 20)) <= 1 << 20
            except DeltaError:
                refused += 1
    assert refused > len(payload)  # of those that are cut short, all


def test_the_memory_is_little_more_than_that_of_the_result() -> None:
    size = 24 << 20
    made = patch(b"old" * 1000, random.Random(5).randbytes(size))
    decoding = [sys.executable, "-c", DECODE, str(size * 7 // 3)]
    done = subprocess.run(decoding, input=made, capture_output=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (str(size).encode(), b"")
