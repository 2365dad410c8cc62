"""Extraction gives the same store contents to root, to a user and in Nix's sandbox, and a full disk leaves nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nixoci.tree.dump import read_dump, write_dump
from tests.support.layers import description, directory, file, hardlink, header, layer, merge, pax, symlink

if TYPE_CHECKING:
    from tests.host.images import Image, Pair
    from tests.host.machine import Machine

NIXOCI = "/opt/nixoci/bin/nixoci"

SANDBOXED = """
{{ }}:
derivation {{
  name = "extracted";
  system = builtins.currentSystem;
  builder = "{nixoci}";
  args = [ "extract" "oci:${{{layout}}}:{tag}" (placeholder "out") "--name" "app" ];
}}
"""


@pytest.fixture(scope="module")
def image(images: dict[str, Pair]) -> Image:
    return images["redis"].old


def nar_hash(machine: Machine, path: str) -> str:
    return machine.run(["nix", "hash", "path", path]).stdout.strip()


def test_root_a_user_and_the_sandbox_get_the_same(machine: Machine, image: Image) -> None:
    extract = ["nixoci", "extract", image.inside]
    machine.run([*extract, "/root/extracted", "--name", "app"], timeout=300)
    strict = ["sh", "-c", 'umask 077 && exec "$@"', "sh"]
    machine.run([*strict, *extract, "/home/alice/extracted", "--name", "app"], user="alice", timeout=300)
    layout, _, tag = image.inside.removeprefix("oci:").rpartition(":")
    expression = SANDBOXED.format(nixoci=NIXOCI, layout=layout, tag=tag)
    (machine.root / "root/extracted.nix").write_text(expression, encoding="utf-8")
    built = machine.run(["nix-build", "/root/extracted.nix", "--no-out-link"], timeout=600).stdout.strip()
    machine.run(["nix-build", "/root/extracted.nix", "--no-out-link", "--check"], timeout=600)
    hashes = {path: nar_hash(machine, path) for path in ("/root/extracted", "/home/alice/extracted", built)}
    assert len(set(hashes.values())) == 1, hashes


def test_a_full_disk_is_one_line_and_leaves_nothing(machine: Machine, image: Image) -> None:
    machine.run(["mkdir", "/mnt/small"])
    machine.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", "/mnt/small"])
    try:
        done = machine.run(["nixoci", "extract", image.inside, "/mnt/small/out"], check=False, timeout=300)
        assert done.returncode == 1
        assert done.stdout == ""
        line = done.stderr.removesuffix("\n")
        assert line.startswith("error: ")
        assert "\n" not in line
        assert "No space left on device" in line
        assert machine.run(["ls", "-A", "/mnt/small"]).stdout == ""
    finally:
        machine.run(["umount", "/mnt/small"])


def test_composefs_reads_every_field_of_the_dump(machine: Machine) -> None:
    xattrs = {
        b"LIBARCHIVE.xattr.user.a%3D": b"",
        b"LIBARCHIVE.xattr.user.%5C%0A%20%3D": b"PVw=",
        b"SCHILY.xattr.user.b": b"-",
        b"SCHILY.xattr.security.any": b"\0=\n \xff",
    }
    names = (b"-", b"a b", b"a=b", b"back\\slash", b"\xff\xfe", b"new\nline", b"caf\xc3\xa9", b"n" * 255)
    root = merge(
        layer(
            directory(b"./", mode=0o1777, uid=100_000, mtime=5),
            pax({**xattrs, b"mtime": b"-1.5", b"uid": b"4294967294"}) + file(b"d/f", b"data", mode=0o6755),
            hardlink(b"e", b"d/f"),
            *(pax({b"path": name}) + file(b"x", b"data") for name in names),
            *(pax({b"path": b"s" + name[:254], b"linkpath": name}) + symlink(b"x", b"") for name in names),
            header(b"null", b"3", device=(1, 3), mode=0o666),
            header(b"disk", b"4", device=(4095, 1048575)),
            header(b"pipe", b"6"),
            file(b"empty"),
        )
    )
    (machine.root / "root/dump").write_bytes(b"".join(write_dump(root)))
    machine.run(["mkcomposefs", "--from-file", "/root/dump", "/root/image.erofs"])
    machine.run(["sh", "-c", "composefs-info dump /root/image.erofs > /root/dumped"])
    again = read_dump(map(own_payload, (machine.root / "root/dumped").read_bytes().splitlines(keepends=True)))
    assert description(again) == description(root)


def own_payload(line: bytes) -> bytes:
    """Give a file's line the payload that the dump had: composefs-info prints bytes that follow it in the image."""
    fields = line.split(b" ")
    if fields[2].startswith(b"10") and fields[8] != b"-" and len(fields[2]) == 6:
        fields[8] = b"\\x2d" if fields[0] == b"/-" else fields[0][1:]
    return b" ".join(fields)


def test_the_document_names_the_image(machine: Machine, image: Image) -> None:
    done = machine.run(["nixoci", "extract", image.inside, "/root/named", "--json"], timeout=300)
    printed = json.loads(done.stdout)
    assert printed == json.loads(machine.run(["cat", "/root/named/image.json"]).stdout)
    assert done.stderr == ""
