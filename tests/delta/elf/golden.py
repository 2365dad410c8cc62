"""The files of the golden payloads, which every later nixoci must be able to read.

`python -m tests.delta.elf.golden` writes them anew, which is right only for a new codec.
"""

import random
from pathlib import Path

from nixoci.delta.codecs.elf import refine
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.source import Held
from tests.delta.elf.linker import AARCH64, X86_64, changed_program, link, random_program, shuffled_program

FILES = {machine: Path(__file__).with_name(f"golden-{machine}.payload") for machine in (X86_64, AARCH64)}


def files(machine: int) -> tuple[bytes, bytes]:
    """Return the old and the new file of a golden payload."""
    rng = random.Random(machine)
    program = random_program(rng, machine, 40, low=0x400000)
    return link(program), link(changed_program(rng, shuffled_program(rng, program)))


def write() -> None:
    for machine, file in FILES.items():
        old, new = files(machine)
        payload = refine(Held(old), Held(new), patch(old, new))
        assert payload is not None
        file.write_bytes(payload)


if __name__ == "__main__":
    write()
