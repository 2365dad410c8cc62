"""The part of an image path that follows from the image alone: its tree and the metadata of that.

The third part, image.json, also has the names that a lock gives the image. A delta of an image has the two parts as
paths of their own, so that it serves every lock that pins the image; each lock's owner writes image.json again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nixoci.delta.closure import Closure
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.rebuild import Rebuilder
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError
from nixoci.image_delta.bounds import too_large
from nixoci.image_path import DOCUMENT, METADATA, ROOTFS, ImagePath
from nixoci.nix_store.content_address import addressed_path, nar_address
from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.nar import NAR_MAGIC, NarWriter
from nixoci.nix_store.path import PathInfo, store_path_name
from nixoci.openat import open_below
from nixoci.streams import Data, NullSink, Sink

PARTS = (METADATA, ROOTFS)
"""The names of the parts, in the order of a NAR; image.json comes before them."""

_UNLIMITED = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContents(Closure):
    """The parts of an image path as two paths without references, each at the address of its content."""

    image: Path

    @classmethod
    def of(cls, image: ImagePath) -> "ImageContents":
        """Hash the parts of an image path."""
        infos = [_part_info(image.path, name) for name in PARTS]
        return cls(
            roots=tuple(info.path for info in infos), paths={info.path: info for info in infos}, image=image.path
        )

    def on_disk(self, path: str) -> Path:
        """Return a part on this machine."""
        return self.image / store_path_name(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an image path that is to be written: the size of its NAR, and a function that writes its NAR."""

    nar_size: int
    write: Callable[[Sink], object]


def rebuilt_parts(
    reader: DeltaReader, base: Path, folder: Path, *, largest: int, worker: DecodeWorker | None = None
) -> list[Part]:
    """Read a delta of an image to its end, and return the parts of the new image path.

    Args:
        reader: The delta.
        base: The image path of its base.
        folder: A directory for the payloads.
        largest: Bytes of the new parts, and of the payloads, that are believed.
        worker: Decodes the contents that take long; by default, threads of this process do.

    Raises:
        DeltaError: The delta is damaged, too large, or not one of an image.
        StoreError: The base lacks what the delta takes from it.
    """
    header = reader.header()
    names = [store_path_name(each.path) for each in header.bases]
    if not set(names) <= set(PARTS) or sorted(map(store_path_name, header.roots)) != sorted(PARTS):
        raise DeltaError(f"{reader.what}: its paths are not the parts of an image; it is no delta of one")
    if sum(info.nar_size for info in header.paths) > largest:
        raise too_large(largest, what=reader.what)
    bases = [base / name for name in names]
    rebuilder = Rebuilder(reader, header, bases, folder, most_payloads=largest, worker=worker)
    made = {store_path_name(info.path): info for info in header.paths}
    return [
        Part(nar_size=made[name].nar_size, write=partial(rebuilder.write, made[name]))
        if name in made
        else _kept_part(base, name)
        for name in PARTS
    ]


def _kept_part(image: Path, name: str) -> Part:
    return Part(nar_size=_dump(image, name, NullSink()), write=lambda out: _dump(image, name, out))


def image_nar_size(document: bytes, parts: Sequence[Part]) -> int:
    """Return the bytes of the NAR of an image path."""
    return _write_nar(NullSink(), document, parts, lambda part, nar: nar.skip(part.nar_size - len(NAR_MAGIC)))


def write_image_nar(
    out: Sink, document: bytes, parts: Sequence[Part], *, nar_hashes: Sequence[str] | None = None, what: str
) -> None:
    """Write the NAR of an image path: its image.json, and its parts in the order of `PARTS`.

    Args:
        out: Takes the NAR.
        document: The image.json.
        parts: The parts.
        nar_hashes: The hash that each part must have, as SRI; by default the hash of the whole is left to the reader.
        what: Names the delta in errors.

    Raises:
        DeltaError: A part has another hash; the NAR is not complete then.
    """
    if nar_hashes is None:
        _write_nar(out, document, parts, lambda part, nar: part.write(_WithoutMagic(nar)))
        return
    expected = iter(zip(PARTS, nar_hashes, strict=True))

    def write_checked(part: Part, nar: NarWriter) -> None:
        hashed = HashingSink(_WithoutMagic(nar))
        part.write(hashed)
        name, nar_hash = next(expected)
        if hashed.sri != nar_hash:
            raise DeltaError(f"{what}: it makes {name} with narHash {hashed.sri}, its signature is of {nar_hash}")

    _write_nar(out, document, parts, write_checked)


def _write_nar(out: Sink, document: bytes, parts: Sequence[Part], node: Callable[[Part, NarWriter], object]) -> int:
    nar = NarWriter(out, limit=_UNLIMITED, what="the image path")
    nar.begin_directory()
    nar.begin_entry(DOCUMENT.encode())
    nar.begin_regular(len(document), executable=False)
    nar.write(document)
    nar.end_regular(len(document))
    nar.end_entry()
    for name, part in zip(PARTS, parts, strict=True):
        nar.begin_entry(name.encode())
        node(part, nar)
        nar.end_entry()
    nar.end_directory()
    return nar.size


class _WithoutMagic:
    """A sink that takes the NAR of a path and passes on its node, to be part of another NAR."""

    def __init__(self, nar: NarWriter) -> None:
        self._nar = nar
        self._left = len(NAR_MAGIC)

    def write(self, data: Data, /) -> None:
        skipped = min(self._left, len(data))
        self._left -= skipped
        self._nar.write(data[skipped:])


def _part_info(image: Path, name: str) -> PathInfo:
    hashed = HashingSink()
    size = _dump(image, name, hashed)
    address = nar_address(hashed.sri)
    path = addressed_path(address, name=name, references=(), to_itself=False)
    return PathInfo(path=path, nar_hash=hashed.sri, nar_size=size, content_address=address)


def _dump(image: Path, name: str, out: Sink) -> int:
    nar = NarWriter(out, limit=_UNLIMITED, what=str(image / name))
    open_below(image, name.encode(), nar.dump)
    return nar.size
