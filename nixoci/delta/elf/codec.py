"""Both directions of the codec."""

from collections.abc import Callable, Iterable

import numpy as np

from nixoci.delta.elf.address_map import AddressMap
from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.label_form import from_labels, to_labels
from nixoci.delta.elf.layout import Bytes, Layout, read_layout
from nixoci.delta.elf.payload import MAX_FILE, Payload, difference
from nixoci.delta.elf.prediction import Old

Match = tuple[int, int, int]
"""A part of an old file that a part of a new one is made from: its offset in either, and its length."""


def encode(
    old: bytes, new: bytes, first: Iterable[Match], match: Callable[[bytes, bytes], Iterable[Match]]
) -> bytes | None:
    """Return the payload of `new`, or None if one of the files is no ELF file that the codec knows.

    Args:
        old: The old file.
        new: The new file.
        first: The parts of the old file that the new one is made from, where the search begins.
        match: Finds such parts in two other files.
    """
    if max(len(old), len(new)) > MAX_FILE:
        return None
    old_layout, new_layout = read_layout(old), read_layout(new)
    if old_layout is None or new_layout is None or old_layout.machine != new_layout.machine:
        return None
    before = Old(np.frombuffer(old, np.uint8), old_layout)
    try:
        labels, skip = to_labels(np.frombuffer(new, np.uint8), new_layout)
    except ValueError:
        return None
    held = labels.tobytes()
    labels = np.frombuffer(held, np.uint8)
    move = _map(before, labels, new_layout, Covers.of(first))
    covers = Covers.of(match(before.predict(move, new_layout).tobytes(), held))
    move = _map(before, labels, new_layout, covers)
    differences, rest = difference(covers, before.data, before.predict(move, new_layout), labels, new_layout)
    parts = Payload(size=len(new), skip=skip, exact=move.exact, covers=covers, differences=differences, rest=rest)
    payload = parts.pack()
    made = _labels(Payload.unpack(payload, len(old), len(new)), before)
    return payload if made is not None and made[1] == new_layout and np.array_equal(made[0], labels) else None


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
    labels, layout = made
    return from_labels(labels, layout, parts.skip).tobytes()


def _map(before: Old, labels: Bytes, new: Layout, covers: Covers) -> AddressMap:
    """Return the address map of covers, corrected."""
    move = AddressMap(covers, before.layout, new)
    move.exact = before.correct(move, labels, new)
    return move


def _labels(parts: Payload, before: Old) -> tuple[Bytes, Layout] | None:
    """Return the new file in label form, and its layout; None if it has none."""
    raw = parts.apply(before.data)
    layout = read_layout(raw.tobytes())
    if layout is None:
        return None
    move = AddressMap(parts.covers, before.layout, layout)
    move.exact = parts.exact
    labels = parts.apply(before.predict(move, layout))
    for start, end in layout.headers:
        labels[start:end] = raw[start:end]
    return labels, layout
