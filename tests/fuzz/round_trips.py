"""Round trips: what the sender makes of any two contents, the receiver has to make the content of again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nixoci.delta.cds import codec as cds
from nixoci.delta.codecs.choose import encode, encode_large
from nixoci.delta.codecs.elf import ELF, refine
from nixoci.delta.codecs.formats import CDS, JIMAGE
from nixoci.delta.codecs.hdiff import HDIFF, patch
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.source import Held
from nixoci.delta.effort import Effort
from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.delta.jimage import codec as jimage
from nixoci.delta.recompress import codec as recompress
from tests.delta.cds.samples import archive, names
from tests.delta.elf.linker import (
    AARCH64,
    X86_64,
    Function,
    changed_program,
    link,
    overlapping_code,
    random_program,
    shuffled_program,
)
from tests.delta.jimage.samples import NoHashError, modules, resources
from tests.delta.recompress.samples import gzip_file, text, zip_archive
from tests.fuzz.step import Step
from tests.fuzz.values import changed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from nixoci.delta.codecs.model import Codec


def round_trips(random: Random, folder: Path) -> list[Step]:
    """Pairs of contents, each through the codecs that take it: as they are made, and with changed bytes."""
    pair = random.choice((_noise, _texts, _programs, _programs, _programs, _archives, _class_data, _modules))
    old, new = pair(random)
    for _ in range(random.choice((0, 0, 1, 3))):
        old = changed_bytes(random, old) if random.random() < 0.5 else old
        new = changed_bytes(random, new)
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    return [Step(run=lambda: _check(old, new))]


def _check(old: bytes, new: bytes) -> None:
    for codec, payload in _payloads(old, new):
        made = decode(codec.number, payload, old, SEGMENT_SIZE)
        if made != new:
            raise AssertionError(f"{codec.name}: a payload of {len(payload)} bytes makes another content")


def _payloads(old: bytes, new: bytes) -> Iterator[tuple[Codec, bytes]]:
    for effort in Effort:
        yield encode(new, old, effort)
        if new and old:
            yield encode_large(Held(new), Held(old), effort, incompressible=False)
    patched = patch(old, new)
    yield HDIFF, patched
    for codec, payload in (
        (ELF, refine(Held(old), Held(new), patched)),
        (CDS, cds.encode(old, new)),
        (JIMAGE, jimage.encode(Held(old), Held(new))),
        (recompress.DEFLATE, recompress.encode(old, new)),
    ):
        if payload is not None:
            yield codec, payload


def _noise(random: Random) -> tuple[bytes, bytes]:
    old = random.randbytes(random.randrange(2000))
    return old, random.choice((old, random.randbytes(random.randrange(2000)), old[::-1], old * 3, b""))


def _texts(random: Random) -> tuple[bytes, bytes]:
    size = random.randrange(1, 9000)
    return text(random.randrange(9), size), text(random.randrange(9), size)


def _programs(random: Random) -> tuple[bytes, bytes]:
    low = random.choice((0, 0, 0x400000))
    program = random_program(random, random.choice((X86_64, AARCH64)), random.randrange(2, 30), low=low)
    if random.random() < 0.3:
        program = replace(program, functions=(*program.functions, Function("odd", overlapping_code(random, 400))))
    new = random.choice((changed_program, changed_program, shuffled_program))(random, program)
    return link(program), link(new)


def _archives(random: Random) -> tuple[bytes, bytes]:
    seeds, size = [random.randrange(9) for _ in range(4)], random.randrange(1, 9000)
    if random.random() < 0.2:
        level = random.randrange(1, 10)
        one, other = (gzip_file(text(seed, size), level=level, by_zlib=random.random() < 0.7) for seed in seeds[:2])
        return one, other
    old, new = ({"a": text(one, size), "b": text(two, size)} for one, two in (seeds[:2], seeds[2:]))
    return zip_archive(old, random.randrange(1, 10)), zip_archive(new, random.randrange(1, 10))


def _class_data(random: Random) -> tuple[bytes, bytes]:
    count, objects = random.randrange(80, 300), random.randrange(9, 200)
    old = archive(names(count), buckets=random.choice((70, 90)), objects=objects)
    return old, archive(names(count, more=random.randrange(9)), buckets=70, objects=objects)


def _modules(random: Random) -> tuple[bytes, bytes]:
    return _runtime(random), _runtime(random)


def _runtime(random: Random) -> bytes:
    while True:
        with suppress(NoHashError):
            return modules(resources(random.randrange(1, 60), grown=random.randrange(50)))
