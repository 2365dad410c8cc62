"""Growth: locks of many images, image stores of many images, and images of many files, links and layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.cost import run_inside
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import LockedNarHash
from tests.host.locks import write_lock
from tests.nix_language.locks import image, platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.cost import Cost
    from nixoci.lock.model import LockedImage
    from tests.host.machine import Machine

LONG = 1800.0
TOOLS = "--argstr nixoci /opt/nixoci --argstr composefs /usr --argstr erofs-utils /usr --argstr cacert /etc/ssl"

# Writes an OCI layout of one image with files, hardlinks and layers, uncompressed.
IMAGE = """
import hashlib, json, os, pathlib, sys
out, files, links, layers = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:5])
blobs = out / "blobs/sha256"
blobs.mkdir(parents=True)

def header(name, size=0, flag=b"0", target=b"", mode=0o644):
    block = bytearray(name.ljust(100, b"\\0") + b"%07o\\0" % mode + b"0000000\\0" * 2 + b"%011o\\0" % size
        + b"00000000000\\0" + b" " * 8 + flag + target.ljust(100, b"\\0") + b"ustar\\0" + b"00")
    block = block.ljust(512, b"\\0")
    block[148:156] = b"%06o\\0 " % sum(block)
    return bytes(block)

def blob(chunks):
    digest, size = hashlib.sha256(), 0
    with open(out / "new", "wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    (out / "new").rename(blobs / digest.hexdigest())
    return {"digest": f"sha256:{digest.hexdigest()}", "size": size}

def layer(number):
    for folder in range((files // layers + 999) // 1000):
        yield header(b"d%d.%d/" % (number, folder), flag=b"5", mode=0o755)
    for file in range(files // layers):
        text = b"%d %d" % (number, file)
        yield header(b"d%d.%d/file%d" % (number, file // 1000, file), len(text)) + text.ljust(512, b"\\0")
    for link in range(links // layers):
        yield header(b"link%d.%d" % (number, link), flag=b"1", target=b"d%d.%d/file%d" % (number, 0, link % 50))
    yield bytes(1024)

tar = "application/vnd.oci.image.layer.v1.tar"
made = [{"mediaType": tar, **blob(layer(number))} for number in range(layers)]
config = {"architecture": "amd64", "os": "linux", "config": {},
          "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in made]}}
config = {"mediaType": "application/vnd.oci.image.config.v1+json", **blob([json.dumps(config).encode()])}
kind = "application/vnd.oci.image.manifest.v1+json"
manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": made}
manifest = {"mediaType": kind, **blob([json.dumps(manifest).encode()])}
(out / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
(out / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
"""

# Writes image paths with one file of zeros each, of a size in bytes: OUT COUNT SIZE.
PATHS = """
import json, pathlib, subprocess, sys
out, count, size = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    made = out / str(number)
    if made.exists():
        continue
    subprocess.run(["cp", "--recursive", "/root/one", str(made)], check=True)
    document = json.loads((made / "image.json").read_text())
    document["name"], document["reference"] = f"image{number}", f"localhost/image{number}:1"
    (made / "image.json").chmod(0o644)
    (made / "image.json").write_text(json.dumps(document))
    text = (made / "metadata.dump").read_text().splitlines()
    own = [line for line in text if line.startswith("/d0.0/file0 ")][0]
    fields = own.split(" ")
    fields[1] = str(size + number)
    text[text.index(own)] = " ".join(fields)
    (made / "metadata.dump").chmod(0o644)
    (made / "metadata.dump").write_text("\\n".join(text) + "\\n")
    file = made / "rootfs/d0.0/file0"
    file.chmod(0o644)
    with file.open("wb") as opened:
        opened.truncate(size + number)
"""


@pytest.mark.parametrize("hashes", [False, True])
def test_locks(machine: Machine, report: Callable[[str], None], *, hashes: bool) -> None:
    verbs = ("list", "show app7", "verify --offline", "generate --output again.nix")
    report(
        f"lock, s, {'with' if hashes else 'without'} pinned hashes: derivations of all images, again, of one; {verbs}"
    )
    for count in (300, 1500, 5000):
        folder = f"/root/lock{count}{hashes}"
        write_lock(machine, folder, {f"app{number}": locked(number, hashes=hashes) for number in range(count)})
        commands = [
            f"nix-instantiate --quiet {TOOLS} --attr {each}" for each in ("imageStore", "imageStore", "images.app7")
        ]
        commands += [f"nixoci {verb}" for verb in verbs]
        taken = [cost(machine, ["sh", "-c", f"cd {folder}; {command} || :"]).seconds for command in commands]
        report(f"{count:6} " + " ".join(f"{seconds:6.2f}" for seconds in taken))


def locked(number: int, *, hashes: bool) -> LockedImage:
    layers = (f"base{number % 7}", *(f"{kind}{number}" for kind in "abcd"))
    entry = image(f"registry.example/app{number}:1.{number}", amd64=platform(f"config{number}", *layers))
    if not hashes:
        return entry
    nar_hash = LockedNarHash(format=FORMAT_VERSION, hash=f"sha256-{'A' * 43}=")
    return replace(entry, platforms={name: replace(each, nar_hash=nar_hash) for name, each in entry.platforms.items()})


def test_stores(machine: Machine, report: Callable[[str], None]) -> None:
    machine.run(["python3", "-c", IMAGE, "/root/layout", "10", "0", "1"])
    machine.run(["nixoci", "extract", "oci:/root/layout", "/root/one", "--name", "one"])
    for size, counts in ((500_000_000, (1, 50)), (1000, (50, 150, 500))):
        report(
            f"image store of images of {size / 1e6:.3f} MB: s of one entry, of the join, of both to that of one image"
        )
        base = 0.0
        for count in counts:
            folder = f"/root/paths{size}"
            machine.run(["mkdir", "--parents", folder, f"{folder}/entries"])
            machine.run(["python3", "-c", PATHS, folder, str(count), str(size)], timeout=LONG)
            entries = [f"{folder}/entries/{number}" for number in range(count)]
            for number, entry in enumerate(entries):
                if machine.run(["test", "-e", entry], check=False).returncode:
                    machine.run(["nixoci", "image-store", entry, f"{folder}/{number}"])
            commands = [["nixoci", "image-store", f"{folder}/again{count}.{each}", f"{folder}/0"] for each in range(3)]
            one = min(cost(machine, command).seconds for command in commands)
            commands = [["nixoci", "image-store", f"{folder}/join{count}.{each}", *entries] for each in range(3)]
            join = min(cost(machine, command).seconds for command in commands)
            both = one + join
            base = base or both
            report(f"{count:6} {one:6.2f} {join:6.2f} {both / base:6.2f}")


SHAPES = {
    "files": [(100_000, 0, 1), (300_000, 0, 1), (1_000_000, 0, 1)],
    "hardlinks": [(1000, 10_000, 1), (1000, 30_000, 1), (1000, 100_000, 1)],
    "layers": [(12_700, 0, 12), (12_700, 0, 40), (12_700, 0, 127)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_images(machine: Machine, report: Callable[[str], None], shape: str) -> None:
    report(
        f"images of many {shape}: files, hardlinks, layers; s and peak MB of extract, of the image store, and of one"
        " without mkcomposefs"
    )
    for files, links, layers in SHAPES[shape]:
        machine.run(["sh", "-c", "mkdir /mnt/growth; mount -t tmpfs -o size=16g,nr_inodes=0 tmpfs /mnt/growth"])
        numbers = [str(number) for number in (files, links, layers)]
        machine.run(["python3", "-c", IMAGE, "/mnt/growth/layout", *numbers], timeout=LONG)
        most = ["--max-entries", "2000000"]
        commands = [
            ["nixoci", "extract", "oci:/mnt/growth/layout", "/mnt/growth/image", "--name", "x", *most],
            ["nixoci", "image-store", "/mnt/growth/store", "/mnt/growth/image"],
            ["nixoci", "image-store", "--no-erofs", "/mnt/growth/plain", "/mnt/growth/image"],
        ]
        taken = [cost(machine, command) for command in commands]
        figures = " ".join(f"{each.seconds:8.2f} {each.peak / 1e6:6.0f}" for each in taken)
        report(f"{files:8} {links:7} {layers:4} {figures}")
        machine.run(["umount", "/mnt/growth"])
        machine.run(["rmdir", "/mnt/growth"])


def cost(machine: Machine, command: list[str]) -> Cost:
    return run_inside(machine, command, timeout=LONG)
