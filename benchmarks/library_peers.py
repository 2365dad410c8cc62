"""Peers that are Python libraries: detools, and the method of DeltaNAR.

    python -m benchmarks.library_peers PACKAGE --had PATH... --paths PATH...

Runs with the packages of the dependency group `benchmarks` and prints the bytes of what a receiver with the old paths
needs for the new ones. DeltaNAR's own dependencies are not packaged, so its method is measured by a stand-in: FastCDC
with the sizes that it uses (2, 8 and 64 KiB), per file, the chunks that no old file has, then xz. It lacks the list of
the chunks, which makes the figure a lower bound, and DeltaNAR's deltas of chunks, which came in May 2026.
"""

from __future__ import annotations

import argparse
import io
import lzma
import sys
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import detools
import fastcdc

from benchmarks.file_pairs import differing, regular_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALLEST, AVERAGE, LARGEST = 2048, 8192, 65536


def chunks(file: Path) -> Iterator[bytes]:
    """Yield the content of a file in chunks."""
    data = file.read_bytes()
    for chunk in fastcdc.fastcdc(data, SMALLEST, AVERAGE, LARGEST):
        yield data[chunk.offset : chunk.offset + chunk.length]


def new_chunks(had: list[str], paths: list[str]) -> int:
    """Return the size of the chunks that no old file has, as one xz stream."""
    digests = {digest(chunk) for root in had for file in regular_files(Path(root)) for chunk in chunks(file)}
    compressor, size = lzma.LZMACompressor(), 0
    for root in paths:
        for file in regular_files(Path(root)):
            for chunk in chunks(file):
                if (name := digest(chunk)) not in digests:
                    digests.add(name)
                    size += len(compressor.compress(chunk))
    return size + len(compressor.flush())


def digest(chunk: bytes) -> bytes:
    return blake2b(chunk, digest_size=16).digest()


def patches(had: list[str], paths: list[str]) -> int:
    """Return the size of detools' sequential patches with LZMA of all files that differ, from nothing if need be."""
    size = 0
    for before, file in differing(had, paths):
        old, patch = before.read_bytes() if before else b"", io.BytesIO()
        detools.create_patch(io.BytesIO(old), io.BytesIO(file.read_bytes()), patch, use_mmap=False)
        size += len(patch.getvalue())
    return size


METHODS: dict[str, Callable[[list[str], list[str]], int]] = {"fastcdc": new_chunks, "detools": patches}
"""The peers by the package that they need."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=METHODS)
    parser.add_argument("--had", nargs="+", required=True)
    parser.add_argument("--paths", nargs="+", required=True)
    options = parser.parse_args()
    sys.stdout.write(f"{METHODS[options.package](options.had, options.paths)}\n")


if __name__ == "__main__":
    main()
