"""Deltas that are attacked: each target writes one random stream and returns the step that reads it."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from nixoci.delta import reupnix
from nixoci.delta.cds import codec as cds
from nixoci.delta.codecs.elf import ELF, refine
from nixoci.delta.codecs.formats import CDS, JIMAGE
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.source import Held
from nixoci.delta.effort import Effort
from nixoci.delta.jimage import codec as jimage
from nixoci.delta.recompress import codec as recompress
from tests.delta.cds.samples import archive, names
from tests.delta.elf.linker import AARCH64, X86_64, changed_program, link, random_program
from tests.delta.forgery import Forger, frames, seal
from tests.delta.jimage.samples import modules, resources
from tests.delta.recompress.samples import gzip_file, text, zip_archive
from tests.delta.test_reupnix import read
from tests.delta.trees import Spec, closure, delta, rebuild, store_path
from tests.fuzz.step import Step
from tests.fuzz.values import changed_bytes

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from nixoci.delta.codecs.model import Codec


def deltas(random: Random, folder: Path) -> list[Step]:
    """Deltas with changed frames, headers, recipes and contents, whose checksums are right again."""
    old, new = store_path("app-1.0", "a"), store_path("app-1.1", "b")
    text = b"".join(b"line %d\n" % number for number in range(900))
    base = closure(folder, {old: {b"file": b"content", b"text": text, b"out": ("l", b"/etc")}})
    if random.random() < 0.6:
        forger = Forger(base.paths[old], new)
        parts = forger.header_parts()
        header, body = b"".join(parts.values()), forger.body()
        if random.random() < 0.5:
            part = random.choice(list(parts))
            header = b"".join((parts | {part: changed_bytes(random, parts[part])}).values())
        else:
            body = changed_bytes(random, body)
        stream = forger.of_header(header, body)
    else:
        (folder / "new").mkdir()
        goal = closure(folder / "new", {new: {b"file": b"changed", b"text": text.replace(b"7", b"seven")}})
        stream, _ = delta(base, goal, Effort.FAST)
        bodies = [frame[:-8] for frame in frames(stream)]
        at = random.randrange(len(bodies))
        bodies[at] = changed_bytes(random, bodies[at])
        stream = seal(bodies) if random.random() < 0.7 else changed_bytes(random, stream)
    (folder / "delta").write_bytes(stream)
    (folder / "spool").mkdir()
    return [Step(run=lambda: _rebuild(stream, folder), makes=["spool"])]


def deflate_payloads(random: Random, folder: Path) -> list[Step]:
    """Payloads of the codec deflate with changed bytes, also on another old content than their own."""
    size = random.choice((500, 9000))
    old, new = (zip_archive({"a": text(seed, size), "b": text(seed, size // 2)}) for seed in (1, 2))
    if random.random() < 0.3:
        old, new = (gzip_file(text(seed, size), level=6) for seed in (1, 2))
    payload = recompress.encode(old, new) or b"z\x06\0\0"
    limit = random.choice((100, 10_000, 1 << 20))
    return _attack(random, folder, recompress.DEFLATE, payload, old, limit=limit)


def cds_payloads(random: Random, folder: Path) -> list[Step]:
    """Payloads of the codec cds with changed bytes, also on another old content than their own."""
    count = random.choice((100, 300))
    old = archive(names(count), buckets=70, objects=200)
    new = archive(names(count, more=random.randrange(9)), buckets=random.choice((70, 90)), objects=200)
    payload = cds.encode(old, new) or b""
    limit = random.choice((100, len(new)))
    return _attack(random, folder, CDS, payload, old, limit=limit)


def jimage_payloads(random: Random, folder: Path) -> list[Step]:
    """Payloads of the codec jimage with changed bytes, also on another old content than their own."""
    old, new = (modules(resources(60, grown=grown)) for grown in (0, random.randrange(1, 50)))
    payload = jimage.encode(Held(old), Held(new)) or b""
    limit = random.choice((100, len(new)))
    return _attack(random, folder, JIMAGE, payload, old, limit=limit)


def _attack(random: Random, folder: Path, codec: Codec, payload: bytes, old: bytes, *, limit: int) -> list[Step]:
    """Decode a payload with changed bytes, at times on another old content than its own."""
    if random.random() < 0.3:
        old = changed_bytes(random, old)
    for _ in range(random.choice((0, 1, 1, 3))):
        payload = changed_bytes(random, payload) or b"\0"
    (folder / "payload").write_bytes(payload)
    return [Step(run=lambda: _decode(payload, old, limit, codec))]


def _rebuild(stream: bytes, folder: Path) -> None:
    rebuild(stream, folder, folder / "spool")


def elf_patches(random: Random, folder: Path) -> list[Step]:
    """Patches of ELF files with a changed patch or a changed old file."""
    program = random_program(random, random.choice((X86_64, AARCH64)), random.randrange(3, 20))
    old, new = link(program), link(changed_program(random, program))
    payload = refine(Held(old), Held(new), patch(old, new)) or b""
    if random.random() < 0.7:
        payload = changed_bytes(random, payload)
    else:
        old = changed_bytes(random, old)
    (folder / "old").write_bytes(old)
    (folder / "payload").write_bytes(payload)
    return [Step(run=lambda: _decode(payload, old, 1 << 20, ELF))]


def _decode(payload: bytes, old: bytes, limit: int, codec: Codec) -> None:
    made = decode(codec.number, payload, old, limit)
    if len(made) > limit:
        raise AssertionError(f"{len(made)} bytes of at most {limit}, crc {zlib.crc32(made)}")


def reupnix_streams(random: Random, folder: Path) -> list[Step]:
    """Streams of reUpNix's format with a changed member, whose size is right again, or with changed bytes."""
    old, new = store_path("app-1.0", "a"), store_path("app-1.1", "b")
    files: dict[bytes, Spec] = {b"same": b"kept", b"out": ("l", b"/etc")}
    base = closure(folder, {old: files})
    (folder / "new").mkdir()
    out = io.BytesIO()
    reupnix.write(base, closure(folder / "new", {new: files | {b"new": ("x", b"made"), b"dir": {b"a": b""}}}), out)
    members: list[tuple[list[bytes], bytes]] = []
    rest = out.getvalue()
    while rest:
        head, _, rest = rest.partition(b"\n")
        size = int(head.split(b" ")[2])
        members.append((head.split(b" ")[:2], rest[:size]))
        rest = rest[size + 1 :]
    at = random.randrange(len(members))
    (name, flags), content = members[at]
    kind = random.randrange(5)
    if kind == 0:
        members.insert(random.randrange(len(members)), members[at])
    elif kind == 1:
        members[at] = ([name, random.choice((b"-", b"x", b"l", b""))], content)
    else:
        members[at] = ([name, flags], changed_bytes(random, content or b"x\0"))
    stream = b"".join(b"%s %d\n%s\n" % (b" ".join(head), len(text), text) for head, text in members)
    if random.random() < 0.2:
        stream = changed_bytes(random, stream)
    (folder / "spool").mkdir()
    return [Step(run=lambda: discard(read(stream, folder, folder / "spool")), makes=["spool"])]


def discard(_: object) -> None:
    """Do nothing with a result."""
