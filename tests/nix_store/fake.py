"""A stand-in for `nix-store --serve` and `nix-store --delete`, with a log of requests, and for questions to `nix`."""

import json
import os
import sys
from pathlib import Path

import pytest

from nixoci.nix_store.hashes import from_sri
from nixoci.nix_store.path import PathInfo

WIRE = """
import struct, sys

def number(): return struct.unpack("<Q", sys.stdin.buffer.read(8))[0]
def text():
    size = number()
    return sys.stdin.buffer.read(size + -size % 8)[:size].decode()
def say(*answers):
    for each in answers:
        if isinstance(each, str):
            say(len(each))
            sys.stdout.buffer.write(each.encode() + bytes(-len(each) % 8))
        else:
            sys.stdout.buffer.write(struct.pack("<Q", each))
    sys.stdout.buffer.flush()
"""
"""Numbers and texts on standard input and output, as programs of Nix read and write them."""

SERVER = (
    WIRE
    + """
import json, os

def log(*words):
    with open(os.environ["LOG"], "a") as file:
        print(*words, file=file)

words = sys.argv[1:]
if os.path.basename(sys.argv[0]) == "nix":
    if "info" in words and os.environ["OLD"] or "show" in words and os.environ["OLD"]:
        sys.exit(f"error: '{words[3]}' is not a recognised command")
    if "info" in words or "ping" in words:
        print(json.dumps({"url": words[words.index("--store") + 1], **json.loads(os.environ["TRUST"])}))
    elif "require-sigs" in words:
        print(os.environ["REQUIRE_SIGS"])
    else:
        assert (words[3:5], words[-2:]) == (["store", "verify"], ["--no-contents", "--all"])
        cache = words[words.index("--store") + 1].removeprefix("file://")
        bad = 0
        for file in sorted(name for name in os.listdir(cache) if name.endswith(".narinfo")):
            described = dict(line.rstrip("\\n").split(": ", 1) for line in open(f"{cache}/{file}") if ": " in line)
            path = described["StorePath"]
            assert os.path.basename(path)[:32] + ".narinfo" == file
            if "CA" not in described and described.get("Sig") != "trusted-1:signature":
                print(f"path '{path}' is untrusted", file=sys.stderr)
                bad = 2
        sys.exit(bad)
    sys.exit()
if "--delete" in sys.argv:
    log("delete", sys.argv[-1])
    tries = open(os.environ["LOG"]).read().splitlines().count(f"delete {sys.argv[-1]}")
    if tries <= int(os.environ["BUSY"]):
        sys.exit(f"error: Cannot delete path '{sys.argv[-1]}' since it is still alive.")
    os.rename(os.environ["REAL"] + "/" + os.path.basename(sys.argv[-1]), os.environ["LOG"] + ".gone")
    sys.exit()
assert sys.argv[1:4] == ["--store", f"local?real={os.environ['REAL']}", "--serve"]
assert " ".join(sys.argv[4:]) in os.environ["WRITE"].split(",")
assert (number(), number() >> 8) == (0x390c9deb, 2)
say(0x5452eecb, int(os.environ["VERSION"], 16))
known = {path: tuple(facts) for path, facts in json.loads(os.environ["KNOWN"]).items()}
while command := sys.stdin.buffer.read(8):
    command = struct.unpack("<Q", command)[0]
    if command == 1:
        assert (number(), number()) == (1, 0)
        found = sorted(known.keys() & {text() for _ in range(number())})
        say(len(found), *found)
        continue
    if command == 2:
        for path in [text() for _ in range(number())]:
            say(path, "", 0, 0, known[path][0], "sha256:" + known[path][1], "", 0)
        say("")
        continue
    assert command == 9
    path, deriver, digest = text(), text(), text()
    references = [text() for _ in range(number())]
    when, size, ultimate = number(), number(), number()
    signatures = [text() for _ in range(number())]
    address = text()
    place = os.environ["REAL"] + "/" + os.path.basename(path)
    for file in (place, place + ".lock"):
        open(file, "w").close()
    nar = sys.stdin.buffer.read(size)
    if len(nar) < size:
        sys.exit("error: unexpected end-of-file")
    if path == os.environ["REFUSE"]:
        sys.exit(f"error: cannot add path '{path}' because it lacks a signature by a trusted key")
    os.remove(place + ".lock")
    known[path] = size, digest
    log("add", path, digest[:4], *references, size, len(nar))
    say(1)
"""
)
"""Nix's end of the protocol, as serve-protocol.hh and opServe of nix-store.cc have it."""


class Fake:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.real = folder / "store"
        self.store = f"local?real={self.real}"
        self.monkeypatch = monkeypatch
        for name in ("bin", "store"):
            (folder / name).mkdir()
        for name in ("nix", "nix-store"):
            program = folder / "bin" / name
            program.write_text(f"#!{sys.executable}\n{SERVER}", encoding="utf-8")
            program.chmod(0o755)
        self.set(PATH=f"{folder}/bin:{os.environ['PATH']}", LOG=f"{folder}/log", REAL=str(self.real))
        self.set(REFUSE="", VERSION="205", KNOWN="{}", WRITE="--write", BUSY="0")
        self.set(TRUST='{"trusted": true}', REQUIRE_SIGS="true", OLD="")

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)

    def know(self, *infos: PathInfo) -> None:
        """Let these paths be valid from the start."""
        known = {info.path: (info.nar_size, from_sri(info.nar_hash).hex()) for info in infos}
        self.set(KNOWN=json.dumps(known))

    @property
    def log(self) -> list[str]:
        """The deletions and registrations so far."""
        file = self.folder / "log"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
