"""Deltas whose bytes have to be the same wherever they are made.

`python -m tests.delta.alike [UID]` writes their hashes, with the version of numpy and the user who made them, as JSON.
"""

import hashlib
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import hdiffpatch  # noqa: F401 - as the codec below
import numpy as np

import nixoci.delta.elf.codec  # noqa: F401 - loaded before the user changes, who may not be able to read it
from nixoci.delta.effort import Effort
from tests.delta.cds.samples import archive, names
from tests.delta.elf.linker import AARCH64, X86_64, changed_program, link, random_program, shuffled_program
from tests.delta.jimage.samples import modules, resources
from tests.delta.recompress.samples import gzip_file, text, zip_archive
from tests.delta.trees import Spec, closure, delta, store_path

_PROGRAMS = 4


def hashes() -> dict[str, str]:
    """Return the SHA-256 of each delta."""
    old: dict[bytes, Spec] = {
        b"words": text(1, 40_000),
        b"app.jar": zip_archive({"a": text(1, 30_000), "b": text(2, 9000)}),
        b"doc.gz": gzip_file(text(3, 30_000)),
        b"classes.jsa": archive(names(300)),
        b"modules": modules(resources(60)),
    }
    new: dict[bytes, Spec] = {
        b"words": text(4, 40_000),
        b"app.jar": zip_archive({"a": text(5, 30_000), "b": text(2, 9000)}),
        b"doc.gz": gzip_file(text(6, 30_000)),
        b"classes.jsa": archive(names(300, more=5), buckets=90),
        b"modules": modules(resources(60, grown=7)),
    }
    rng = random.Random(1)
    for number in range(_PROGRAMS):
        for machine in (X86_64, AARCH64):
            program = random_program(rng, machine, 90, low=0x400000 * (number % 2))
            changed = changed_program(rng, program if number % 3 else shuffled_program(rng, program))
            old[b"lib%d.%d" % (number, machine)] = link(program)
            new[b"lib%d.%d" % (number, machine)] = link(changed)
    with tempfile.TemporaryDirectory() as folder:
        before = closure(Path(folder), {store_path("app-1.0", "a"): dict(sorted(old.items()))})
        after = closure(Path(folder), {store_path("app-1.1", "b"): dict(sorted(new.items()))})
        found = {}
        for effort in Effort:
            stream, summary = delta(before, after, effort)
            if effort is Effort.DEFAULT and not {"elf", "deflate", "cds", "jimage"} <= summary.by.keys():
                raise AssertionError(f"made by {sorted(summary.by)} only")
            found[effort.value] = hashlib.sha256(stream).hexdigest()
        return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.setgroups([])
        os.setgid(int(sys.argv[1]))
        os.setuid(int(sys.argv[1]))
    json.dump({"numpy": np.__version__, "user": os.getuid(), "deltas": hashes()}, sys.stdout)
