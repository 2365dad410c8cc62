"""The header's bytes (docs/delta-format.md, Header): facts that follow from others are left out, hashes are binary."""

import base64
import binascii
from enum import IntFlag

from nixoci.delta.format.model import Base, Header, check_header
from nixoci.delta.format.numbers import Cursor, pack_text, pack_varint
from nixoci.errors import DeltaError, StoreError
from nixoci.nix_store.content_address import addressed_path, nar_address
from nixoci.nix_store.hashes import from_sri, to_sri
from nixoci.nix_store.path import (
    HASH_PART_SIZE,
    MAX_NAME,
    PathInfo,
    make_store_path,
    pack_hash_part,
    store_path_name,
)

_SHA256 = 32
_SIGNATURE = 64
_NO_HASH_PART = bytes(HASH_PART_SIZE)


class _Has(IntFlag):
    """The facts of a path that are given, and their form."""

    NAR_ADDRESS = 1
    ADDRESS = 2
    REFERENCES = 4
    DERIVER = 8
    SIGNATURES = 16


def pack_header(header: Header) -> bytes:
    """Return the bytes of a header.

    Raises:
        DeltaError: A path does not follow from its content address.
    """
    numbers: dict[str, int] = {}
    parts = [pack_varint(len(header.bases))]
    for base in header.bases:
        numbers[base.path] = len(numbers)
        addressed = _nar_addressed(base.path, base.nar_hash, ())
        name = store_path_name(base.path).encode()
        parts += [pack_varint(len(name) << 1 | addressed), name, from_sri(base.nar_hash)]
        if not addressed:
            parts.append(pack_hash_part(base.path))
    parts.append(pack_varint(len(header.paths)))
    for info, predecessor in zip(header.paths, header.predecessors, strict=True):
        numbers[info.path] = len(numbers)
        old_name = "" if predecessor is None else store_path_name(header.bases[predecessor].path)
        parts.append(_pack_path(info, 0 if predecessor is None else predecessor + 1, old_name, numbers))
    parts.append(_pack_roots([numbers[root] for root in header.roots], len(numbers)))
    return b"".join(parts)


def read_header(data: bytes, what: str) -> Header:
    """Return the header of these bytes, checked.

    Raises:
        DeltaError: They are not a header, or it contradicts itself.
    """
    try:
        return _read_header(_Reader(data, what))
    except StoreError as error:  # a malformed path or content address
        raise DeltaError(str(error)) from error


def _read_header(reader: "_Reader") -> Header:
    bases = tuple(reader.base() for _ in range(reader.count()))
    reader.known = [base.path for base in bases]
    infos, predecessors = [], []
    for _ in range(reader.count()):
        info, predecessor = reader.path(len(bases))
        infos.append(info)
        predecessors.append(predecessor)
    header = Header(roots=reader.roots(), bases=bases, paths=tuple(infos), predecessors=tuple(predecessors))
    reader.finish()
    check_header(header)
    return header


def _pack_path(info: PathInfo, predecessor: int, old_name: str, numbers: dict[str, int]) -> bytes:
    name = store_path_name(info.path)
    has, address = _Has(0), b""
    if _nar_addressed(info.path, info.nar_hash, info.references):
        has = _Has.NAR_ADDRESS if info.content_address == nar_address(info.nar_hash) else has
    if info.content_address is not None and not has:
        has, address = _Has.ADDRESS, pack_text(info.content_address.encode())
        if _addressed(info.content_address, info.path, info.references) != info.path:
            raise DeltaError(f"{info.path}: not the path of its content address {info.content_address}")
    has |= _Has.REFERENCES if info.references else 0
    has |= _Has.DERIVER if info.deriver else 0
    has |= _Has.SIGNATURES if info.signatures else 0
    parts = [pack_varint(has), pack_varint(predecessor), _pack_name(name, old_name)]
    parts += [from_sri(info.nar_hash), pack_varint(info.nar_size), address]
    if info.references:
        parts.append(pack_varint(len(info.references)))
        parts += map(pack_varint, sorted(numbers[reference] for reference in info.references))
    if info.deriver:
        parts += [pack_hash_part(info.deriver), _pack_name(store_path_name(info.deriver), name)]
    if info.signatures:
        parts.append(pack_varint(len(info.signatures)))
        parts += map(_pack_signature, info.signatures)
    if not has & (_Has.NAR_ADDRESS | _Has.ADDRESS):
        parts.append(pack_hash_part(info.path))
    return b"".join(parts)


def _pack_roots(numbers: list[int], count: int) -> bytes:
    if numbers == [count - 1]:
        return pack_varint(0)
    return pack_varint(len(numbers) + 1) + b"".join(map(pack_varint, numbers))


def _pack_name(name: str, before: str) -> bytes:
    shared = 0
    for one, other in zip(name, before, strict=False):
        if one != other:
            break
        shared += 1
    return pack_varint(shared) + pack_text(name[shared:].encode())


def _pack_signature(line: str) -> bytes:
    key, _, text = line.partition(":")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if key and len(raw) == _SIGNATURE and _signature(key, raw) == line:
        return pack_text(key.encode()) + raw
    return pack_text(b"") + pack_text(line.encode())


def _signature(key: str, raw: bytes) -> str:
    return f"{key}:{base64.b64encode(raw).decode()}"


class _Reader(Cursor):
    """Reads the parts of a header; `known` are the paths that numbers refer to."""

    def __init__(self, data: bytes, what: str) -> None:
        super().__init__(data, 0, f"{what}: damaged delta: its header")
        self.known: list[str] = []

    def base(self) -> Base:
        """Read a base."""
        length = self._number()
        name = self._short(length >> 1)
        nar_hash = self._nar_hash()
        path = _addressed(nar_address(nar_hash), make_store_path(_NO_HASH_PART, name), ()) if length & 1 else None
        return Base(path=path or make_store_path(self._bytes(HASH_PART_SIZE), name), nar_hash=nar_hash)

    def path(self, bases: int) -> tuple[PathInfo, int | None]:
        """Read a new path and the number of its predecessor."""
        flags = self._number()
        if flags >= 2 * _Has.SIGNATURES or flags & 3 == 3:
            raise self._broken(f"flags {flags}")
        has, predecessor = _Has(flags), self._number()
        if predecessor > bases:
            raise self._broken(f"base {predecessor - 1} of {bases}")
        name = self._name(store_path_name(self.known[predecessor - 1]) if predecessor else "")
        nar_hash, nar_size = self._nar_hash(), self._number()
        address = self._text(self._number()) if has & _Has.ADDRESS else None
        address = nar_address(nar_hash) if has & _Has.NAR_ADDRESS else address
        numbers = [self._number() for _ in range(self._number())] if has & _Has.REFERENCES else []
        if any(number > len(self.known) for number in numbers):
            raise self._broken(f"a reference to path {max(numbers)} of {len(self.known) + 1}")
        itself = len(self.known) in numbers
        references = [self.known[number] for number in numbers if number < len(self.known)]
        deriver = make_store_path(self._bytes(HASH_PART_SIZE), self._name(name)) if has & _Has.DERIVER else None
        signatures = [self._signature() for _ in range(self._number())] if has & _Has.SIGNATURES else []
        if address is None:
            path = make_store_path(self._bytes(HASH_PART_SIZE), name)
        else:
            path = _addressed(address, make_store_path(_NO_HASH_PART, name), references, to_itself=itself)
        self.known.append(path)
        info = PathInfo(
            path=path,
            nar_hash=nar_hash,
            nar_size=nar_size,
            references=tuple(sorted([*references, path] if itself else references)),
            deriver=deriver,
            signatures=tuple(signatures),
            content_address=address,
        )
        return info, predecessor - 1 if predecessor else None

    def roots(self) -> tuple[str, ...]:
        """Read the roots; without a list, the last path is the only root."""
        count = self._number()
        numbers = [self._number() for _ in range(count - 1)] if count else [len(self.known) - 1]
        if any(not 0 <= number < len(self.known) for number in numbers):
            raise self._broken(f"root {max(numbers)} of {len(self.known)} paths")
        return tuple(self.known[number] for number in numbers)

    def finish(self) -> None:
        """Check that the header ends here."""
        if self._left:
            raise self._broken("bytes after its roots")

    def count(self) -> int:
        """Read a count."""
        return self._number()

    def _name(self, before: str) -> str:
        shared = self._number()
        if shared > len(before):
            raise self._broken(f"a name that shares {shared} bytes with {before!r}")
        return before[:shared] + self._short(self._number())

    def _signature(self) -> str:
        key = self._text(self._number())
        return _signature(key, self._bytes(_SIGNATURE)) if key else self._text(self._number())

    def _nar_hash(self) -> str:
        return to_sri(self._bytes(_SHA256))

    def _short(self, count: int) -> str:
        if count > MAX_NAME:
            raise self._broken(f"a name of {count} bytes; at most {MAX_NAME} are allowed")
        return self._text(count)

    def _text(self, count: int) -> str:
        data = self._bytes(count)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self._broken(f"{data[:60]!r} for a text") from error


def _nar_addressed(path: str, nar_hash: str, references: tuple[str, ...]) -> bool:
    return _addressed(nar_address(nar_hash), path, references) == path


def _addressed(address: str, path: str, references: "tuple[str, ...] | list[str]", *, to_itself: bool = False) -> str:
    """Return the path of a content address with the name of `path`."""
    others = [reference for reference in references if reference != path]
    return addressed_path(
        address,
        name=store_path_name(path),
        references=others,
        to_itself=to_itself or len(others) < len(references),
    )
