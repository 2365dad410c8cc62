"""The prediction of a new file from an old one, and the corrections that make its address map right."""

from collections.abc import Iterator

import numpy as np

from nixoci.delta.elf.address_map import AddressMap
from nixoci.delta.elf.fields import PAGE, WORD, Fields, Form, within
from nixoci.delta.elf.label_form import find_references, label_values, relative_index
from nixoci.delta.elf.layout import Bytes, Layout, Numbers
from nixoci.delta.elf.tables import find_addresses

_NONE = np.zeros(0, np.int64)
_TARGET_BITS = 32
"""Bits for the lower one of two targets in one number."""
_WORTH = 2
"""References by which a correction has to be right more often than the address map."""


class Old:
    """An old file with its references."""

    def __init__(self, data: Bytes, layout: Layout) -> None:
        self.data = data
        self.layout = layout
        found = find_references(data, layout)
        self.fields = [*found.fields, *find_addresses(data, layout)]
        self._unwind = found.unwind

    def predict(self, move: AddressMap, new: Layout) -> Bytes:
        """Return the old file in label form, its references as they are in the new file by an address map."""
        predicted = self.data.copy()
        relative_index(self._unwind, self.data, self.layout, predicted)
        for one in self._parts():
            if one.targets.min() >= 0:
                self._write(predicted, one, move, new)
                continue
            known = one.targets >= 0
            self._write(predicted, one.chosen(known), move, new)
            if one.form is Form.LABEL:
                others = one.chosen(~known).wide()
                values = others.slot.read(self.data, others.at)
                others.slot.write(predicted, others.at, label_values(others, values, move(others.bases), new.span))
        return predicted

    def correct(self, move: AddressMap, labels: Bytes, new: Layout) -> tuple[Numbers, Numbers]:
        """Return the old addresses that most references say go elsewhere, and how far from where `move` has them.

        Args:
            move: The address map from the covers alone.
            labels: The new file in label form.
            new: Its layout.
        """
        seen = (_seen(one.wide(), move, labels, new, self.layout) for one in self._parts())
        pairs = np.concatenate([_NONE, *seen])
        pairs.sort()
        first = np.flatnonzero(np.diff(pairs, prepend=-1))
        counts = np.diff(first, append=len(pairs))
        pairs = pairs[first]
        old, found = pairs >> _TARGET_BITS, pairs & (1 << _TARGET_BITS) - 1
        expected = move(old)
        order = np.lexsort((found, -counts, old))
        best = order[np.concatenate([[True], np.diff(old[order]) != 0])[: len(order)]]
        right = np.zeros(len(old), np.int64)
        right[found == expected] = counts[found == expected]
        agreeing = np.zeros(len(best), np.int64)
        np.add.at(agreeing, np.searchsorted(old[best], old), right)
        pays = (counts[best] >= agreeing + _WORTH) & (found[best] != expected[best])
        best = best[pays]
        return old[best], found[best] - expected[best]

    def _parts(self) -> Iterator[Fields]:
        return (part for one in self.fields for part in one.parts())

    def _write(self, predicted: Bytes, fields: Fields, move: AddressMap, new: Layout) -> None:
        """Write references with a target."""
        if fields.slot.width > WORD.width or fields.section or fields.unit > 1:
            fields = fields.wide()
        match fields.form:
            case Form.LABEL:
                values = fields.targets + move.shifts(fields.targets)
                if fields.unit > 1:
                    values //= fields.unit
            case Form.DISTANCE | Form.LENGTH:
                # the end of what has a length is where its last byte goes
                last = fields.targets - 1 if fields.form is Form.LENGTH else fields.targets
                changes = move.shifts(last) - move.shifts(fields.bases)
                if self.layout.apart:  # else a reference that overlaps another one is written again
                    changed = changes != 0
                    fields, changes = fields.chosen(changed), changes[changed]
                values = fields.targets - fields.bases + changes
                if fields.unit > 1:
                    values //= fields.unit
            case Form.INDEX | Form.BACKWARD:
                section = new.named(fields.section)
                if section is None:
                    return
                values, rest = np.divmod(move(fields.targets) - section.address, fields.unit)
                fits = (rest == 0) & (values >= 0)
                fields, values = fields.chosen(fits), values[fits] + (fields.form is Form.BACKWARD)
            case Form.ADDRESS | Form.LOW:
                fields = fields.wide()
                values = move(fields.targets) + (new.low if fields.form is Form.ADDRESS else 0)
        fields.slot.write(predicted, fields.at, values)


def _seen(fields: Fields, move: AddressMap, labels: Bytes, new: Layout, old: Layout) -> Numbers:
    """Return the targets of references in the old file in the high bits, and below them those in the new file."""
    exact = fields.form in {Form.DISTANCE, Form.ADDRESS, Form.LOW} or (fields.form is Form.LABEL and fields.unit < PAGE)
    if not exact:
        return _NONE
    places = move.places(fields.at, fields.slot.width)
    known = (places >= 0) & (fields.targets >= 0)
    if fields.page is not None:
        pages = move.places(fields.bases, fields.slot.width)
        known &= pages >= 0
    at, targets = places[known], fields.targets[known]
    found = fields.slot.read(labels, at) * fields.unit
    if fields.form is Form.DISTANCE:
        found += new.addresses(at) + fields.bases[known] - old.addresses(fields.at[known])
    elif fields.form is Form.ADDRESS:
        found -= new.low
    elif fields.page is not None:
        found += fields.page.read(labels, pages[known]) * PAGE
    known = within(found, new.span + 1)
    return targets[known] << _TARGET_BITS | found[known]
