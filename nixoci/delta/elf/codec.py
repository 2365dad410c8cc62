"""Both directions of the codec."""

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np

from nixoci.delta.codecs.source import Held, Source
from nixoci.delta.elf.address_map import AddressMap
from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.fields import are_equal
from nixoci.delta.elf.label_form import from_labels, to_labels
from nixoci.delta.elf.layout import Bytes, Layout, read_layout, read_layout_by
from nixoci.delta.elf.payload import MAX_FILE, Payload, difference, write_headers
from nixoci.delta.elf.prediction import Old

Match = tuple[int, int, int]
"""A part of an old file that a part of a new one is made from: its offset in either, and its length."""


def encode(
    old: Source, new: Source, first: Iterable[Match], match: Callable[[Source, Source], Iterable[Match]]
) -> bytes | None:
    """Return the payload of `new`, or None if one of the files is no ELF file that the codec knows.

    Args:
        old: The old file.
        new: The new file.
        first: The parts of the old file that the new one is made from, where the search begins.
        match: Finds such parts in two other files.
    """
    if max(old.size, new.size) > MAX_FILE:
        return None
    labels, layout = _read(new)
    if layout is None:
        return None
    try:
        labels, skip = to_labels(labels, layout)
    except ValueError:
        return None
    data, old_layout = _read(old)  # only now: each file may take 32 MiB
    if old_layout is None or old_layout.machine != layout.machine:
        return None
    before = Old(data, old_layout)
    move = _map(before, labels, layout, Covers.of(first))
    covers = Covers.of(match(Held(before.predict(move, layout).data), Held(labels.data)))
    move = _map(before, labels, layout, covers)
    differences, rest = difference(covers, before.data, before.predict(move, layout), labels, layout)
    parts = Payload(size=new.size, skip=skip, exact=move.exact, covers=covers, differences=differences, rest=rest)
    payload = parts.pack()
    made = _labels(Payload.unpack(payload, old.size, new.size), before)
    same = made is not None and made[1] == layout and are_equal(made[0], labels)
    return payload if same else None


def _read(source: Source) -> tuple[Bytes, Layout | None]:
    """Return a file and its layout."""
    data = source.read(0, source.size)
    return np.frombuffer(data, np.uint8), read_layout(data)


def decode(payload: bytes, old: bytes, limit: int) -> bytes:
    """Return the new file.

    Args:
        payload: The payload.
        old: The old file.
        limit: The largest size of the new file.

    Raises:
        ValueError: The payload is damaged, or does not belong to the old file.
    """
    parts = Payload.unpack(payload, len(old), limit)
    layout = read_layout(old)
    made = None if layout is None else _labels(parts, Old(np.frombuffer(old, np.uint8), layout))
    if made is None:
        raise ValueError("a patch of an ELF file that is none")
    new, layout = made
    from_labels(new, layout, parts.skip)
    return new.tobytes()


def _map(before: Old, labels: Bytes, new: Layout, covers: Covers) -> AddressMap:
    """Return the address map of covers, corrected."""
    move = AddressMap(covers, before.layout, new)
    move.exact = before.correct(move, labels, new)
    return move


def _labels(parts: Payload, before: Old) -> tuple[Bytes, Layout] | None:
    """Return the new file in label form, and its layout; None if it has none."""

    @cache
    def read(start: int, stop: int) -> bytes:
        return parts.part(before.data, start, stop)

    layout = read_layout_by(parts.size, read)
    if layout is None:
        return None
    headers = [np.frombuffer(read(start, stop), np.uint8) for start, stop in layout.headers]
    move = AddressMap(parts.covers, before.layout, layout)
    move.exact = parts.exact
    labels = parts.apply(before.predict(move, layout))
    write_headers(labels, layout, headers)
    return labels, layout
