"""The receiver's half of the ELF codec once more, in plain Python, written from docs/delta-format.md alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Move = Callable[[int], int]


def _every(text: str) -> set[int]:
    """Return the numbers of ranges such as `08-0B 63`."""
    found: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        found |= set(range(int(first, 16), int(last or first, 16) + 1))
    return found


OPCODES = _every(
    "00-03 08-0B 10-13 18-1B 20-23 28-2B 30-33 38-3B 63 69 6B 80 81 83-8B 8D C0 C1 C6 C7 D0-D3 D8-DF F6 F7 FE FF"
)
ABSOLUTE = _every("01-03 09-0B 11 13 19 1B 21 23 29 2B 31 33 38-3B 63 69 6B 80 81 83-86 88-8B 8D C6 C7 F6 F7 FF")
IMMEDIATE = _every("05 0D 15 1D 25 2D 35 3D 68 A9 B8-BF")
ENDS_IN_NUMBER = _every("70-73 A4 AC BA C2 C4-C6")
BRANCHES = (
    (0xFC000000, 0x14000000, 0, 26),
    (0xFF000010, 0x54000000, 5, 19),
    (0x7E000000, 0x34000000, 5, 19),
    (0x7E000000, 0x36000000, 5, 14),
    (0x3B000000, 0x18000000, 5, 19),
)


def word(data: bytes | bytearray, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")


def signed(value: int, bits: int) -> int:
    return (value & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)


@dataclass
class Field:
    form: str
    at: int
    value: int
    target: int | None
    base: int = 0
    unit: int = 1
    bits: tuple[int, int] = (0, 32)
    section: str = ""
    size: int = 4

    def write(self, data: bytearray, value: int) -> None:
        first, bits = self.bits
        held = word(data, self.at, self.size)
        if first < 0:  # ADRP
            held = held & 0x9F00001F | (value & 3) << 29 | (value >> 2 & 0x7FFFF) << 5
        else:
            mask = (1 << bits) - 1 << first
            held = held & ~mask | value << first & mask
        data[self.at : self.at + self.size] = held.to_bytes(self.size, "little")


@dataclass
class Section:
    number: int
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class File:
    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)
        kind, self.machine = struct.unpack_from("<HH", data, 16)
        programs, table = struct.unpack_from("<QQ", data, 32)
        count, _, sections, names = struct.unpack_from("<HHHH", data, 56)
        loaded = [struct.unpack_from("<IIQQQQQQ", data, programs + 56 * number) for number in range(count)]
        loaded_segments = sorted((one[3], one[2], one[5], one[6]) for one in loaded if one[0] == 1 and one[6])
        if kind == 1:
            loaded_segments = [(0, 0, len(data), len(data))]
        self.fixed, self.low = kind == 2, loaded_segments[0][0]
        self.segments: list[tuple[int, int, int, int]] = [
            (address - self.low, offset, held, memory) for address, offset, held, memory in loaded_segments
        ]
        self.span = self.segments[-1][0] + self.segments[-1][3]
        self.file_end = self.segments[-1][0] + self.segments[-1][2]
        raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * number) for number in range(sections)]
        start, end = raw[names][4], raw[names][4] + raw[names][5]
        self.headers = [(0, 64), (programs, programs + 56 * count), (table, table + 64 * sections), (start, end)]
        self.sections = [
            Section(
                number,
                data[start + one[0] : end].split(b"\0")[0].decode(),
                one[1],
                one[2],
                one[4] if kind == 1 else one[3] - self.low,
                one[4],
                one[5],
                one[6],
            )
            for number, one in enumerate(raw)
            if one[1] not in {0, 8} and one[5] and one[4] + one[5] <= len(data)
        ]
        self.code = [one for one in self.sections if one.kind == 1 and one.flags & 4]

    def named(self, name: str) -> Section | None:
        return next((one for one in self.sections if one.name == name), None)

    def offset(self, address: int) -> int | None:
        before = [one for one in self.segments if one[0] <= address]
        if before and address < before[-1][0] + before[-1][2]:
            return address - before[-1][0] + before[-1][1]
        return None

    def address(self, offset: int) -> int | None:
        by_offset = sorted((one[1], one[2], one[0]) for one in self.segments)
        before = [one for one in by_offset if one[0] <= offset]
        return offset - before[-1][0] + before[-1][2] if before and offset < before[-1][0] + before[-1][1] else None


def target_of(file: File, value: int, base: int, unit: int, *, labels: bool) -> int | None:
    target = value * unit if labels else (value + base // unit) * unit
    return target if 0 <= target < file.span else None


def to_label(value: int, base: int, size: int) -> int:
    if 0 <= value + base < size:
        return value + base
    if 0 <= value < size and base:
        return value - max(size, base) if base > 0 else value + max(size, -base)
    return value


def from_label(value: int, base: int, size: int) -> int:
    if 0 <= value < size:
        return value - base
    if 0 <= value + base < size and base:
        return value + max(size, base) if base > 0 else value - max(size, -base)
    return value


def x86(file: File, *, labels: bool, skip: set[int]) -> list[Field]:
    groups: dict[str, list[Field]] = {"call": [], "jump": [], "operand": [], "address": []}
    data = file.data
    for section in file.code:
        end = 0
        moved = section.address - section.offset
        for start in range(section.offset, section.offset + section.size - 12):
            found = instruction(data, start, fixed=file.fixed)
            if found is None:
                continue
            kind, at, after = found
            base = at + 4 + after + moved
            value = signed(word(data, at), 32)
            if kind == "address":
                target: int | None = word(data, at) - file.low
                field = Field("address", at, word(data, at), target)
                counts = 0 <= word(data, at) - file.low < file.span
            else:
                label = kind != "jump"
                target = target_of(file, value, base, 1, labels=labels and label)
                field = Field("label" if label else "distance", at, value, target, base)
                other = value + base if labels else value
                counts = target is not None or (label and 0 <= other < file.span)
            if counts and start >= end and start not in skip:
                groups[kind].append(field)
                end = at + 4
    return [field for group in groups.values() for field in group]


def instruction(data: bytes, at: int, *, fixed: bool) -> tuple[str, int, int] | None:
    """Return the kind of a reference, the offset of its field, and the bytes after that in the instruction."""
    first, second = data[at], data[at + 1]

    def rip(place: int) -> bool:
        return data[at + place] & 0xC7 == 0x05

    if first in {0xE8, 0xE9}:
        return ("call" if first == 0xE8 else "jump"), at + 1, 0
    if first == 0x0F and 0x80 <= second < 0x90:
        return "jump", at + 2, 0
    place = {0x0F: 3 if second in {0x38, 0x3A} else 2, 0xC5: 3, 0xC4: 4, 0x62: 5}.get(first)
    if place is not None:
        after = first == 0x0F and (second == 0x3A or second in ENDS_IN_NUMBER)
        return ("operand", at + place + 1, int(after)) if rip(place) else None
    if first in OPCODES and rip(1):
        test = second in {0x05, 0x0D}
        after4 = first in {0x69, 0x81, 0xC7} or (first == 0xF7 and test)
        after1 = first in {0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6} or (first == 0xF6 and test)
        return "operand", at + 2, 4 * after4 + after1
    if not fixed:
        return None
    if first in IMMEDIATE:
        return "address", at + 1, 0
    if first in ABSOLUTE and second & 0xC7 == 0x04:
        return ("address", at + 3, 0) if data[at + 2] & 7 == 5 else None
    if first in ABSOLUTE and second >> 6 == 2:
        return "address", at + (3 if second & 7 == 4 else 2), 0
    return ("address", at + 2, 0) if first in {0x81, 0xC7} and second >= 0xC0 else None


def arm64(file: File, *, labels: bool) -> Iterator[Field]:
    if file.span >= 1 << 27 or file.low % 4096:
        return
    for section in file.code:
        first = section.offset - section.address % 4 + (4 if section.address % 4 else 0)
        places = range(first, section.offset + section.size - 3, 4)
        words = [word(file.data, at) for at in places]
        moved = section.address - section.offset
        for at, w in zip(places, words, strict=True):
            if w & 0xFC000000 == 0x94000000:
                value = signed(w, 26)
                target = target_of(file, value, at + moved, 4, labels=labels)
                yield Field("label", at, value, target, at + moved, 4, (0, 26))
        pages: dict[int, Field] = {}
        for number, (at, w) in enumerate(zip(places, words, strict=True)):
            if w & 0x9F000000 == 0x90000000:
                value, base = signed(w >> 29 & 3 | (w >> 5 & 0x7FFFF) << 2, 21), (at + moved) // 4096 * 4096
                target = target_of(file, value, base, 4096, labels=labels)
                pages[number] = Field("label", at, value, target, base, 4096, (-1, 21))
        lows = []
        starts = {number: page.target for number, page in pages.items()}
        complete = set()
        for number, (at, w) in enumerate(zip(places, words, strict=True)):
            add, load = w & 0xFFC00000 == 0x91000000, w & 0x3B000000 == 0x39000000
            scale = 0 if add else 4 if w >> 26 & 1 and w >> 23 & 1 else w >> 30
            value = (w >> 10 & 0xFFF) << scale
            if not (add or load) or value >= 4096:
                continue
            before = [one for one in range(number - 1, number - 17, -1) if one in pages]
            page = next((one for one in before if words[one] & 31 == w >> 5 & 31), None)
            if page is not None:
                start = starts[page]
                target = None if start is None else start + value
                lows.append(Field("low", at, value, target, unit=1 << scale, bits=(10, 12)))
                if page not in complete:
                    complete.add(page)
                    pages[page].target = target
        yield from pages.values()
        yield from lows
        for mask, pattern, bit, bits in BRANCHES:
            for at, w in zip(places, words, strict=True):
                if w & mask == pattern:
                    value = signed(w >> bit, bits)
                    target = at + moved + 4 * value if 0 <= at + moved + 4 * value < file.span else None
                    yield Field("distance", at, value, target, at + moved, 4, (bit, bits))


def jump_tables(file: File, labelled: Iterable[Field], *, labels: bool) -> Iterator[Field]:
    section = file.named(".rodata")
    if section is None or not file.code:
        return
    low, high = min(one.address for one in file.code), max(one.address + one.size for one in file.code)
    end = section.address + section.size
    targets = {one.target for one in labelled if one.form == "label" and one.target is not None}
    starts = sorted(target for target in targets if section.address <= target < end and target % 4 == 0)
    for start, stop in pairwise([*starts, end]):
        for address in range(start, min(stop, end - 3), 4):
            at = address - section.address + section.offset
            value = signed(word(file.data, at), 32)
            yield Field("label", at, value, target_of(file, value, start, 1, labels=labels), start)
            if not low <= (value if labels else value + start) < high:
                break


def records(file: File) -> list[int]:
    section = file.named(".eh_frame")
    found: list[int] = []
    at, end = (section.offset, section.offset + section.size) if section else (0, 0)
    while at + 20 <= end and word(file.data, at) >= 8 and at + 4 + word(file.data, at) <= end:
        if word(file.data, at) >= 16 and word(file.data, at + 4):
            found.append(at)
        at += 4 + word(file.data, at)
    return found


def unwind(file: File, *, labels: bool) -> Iterator[Field]:
    section = file.named(".eh_frame")
    if section is None:
        return
    moved = section.address - section.offset
    found = records(file)
    handlers = [at + 17 for at in found if word(file.data, at) > 20 and file.data[at + 16] == 4]
    functions = {}
    for at in [*(record + 8 for record in found), *handlers]:
        value = signed(word(file.data, at), 32)
        functions[at] = target_of(file, value, at + moved, 1, labels=labels)
        yield Field("label", at, value, functions[at], at + moved)
    for record in found:
        length, function = signed(word(file.data, record + 12), 32), functions[record + 8]
        target = function + length if function is not None and length > 0 else None
        yield Field("length", record + 12, length, target, function or 0)
    for record in found:
        back, most = signed(word(file.data, record + 4), 32), record + 4 - section.offset
        target = section.address + (back - 1 if labels else most - back) if 1 <= back <= most else None
        yield Field("backward", record + 4, back, target, most)


def addresses(file: File) -> Iterator[Field]:
    linked = {one.number: one for one in file.sections if one.flags & 2}

    def longs(places: Iterable[int]) -> Iterator[Field]:
        for at in places:
            value = signed(word(file.data, at, 8), 64)
            if value >= 512 and 0 <= value - file.low <= file.span:
                yield Field("address", at, value, value - file.low, bits=(0, 64), size=8)

    def indices(places: Iterable[int], section: Section | None, unit: int) -> Iterator[Field]:
        for at in places if section is not None else ():
            assert section is not None
            value = signed(word(file.data, at), 32)
            if 1 <= value <= section.size // unit:
                yield Field("index", at, value, section.address + unit * value, unit=unit, section=section.name)

    for one in file.sections:
        start, end, link = one.offset, one.offset + one.size, linked.get(one.link)
        if one.kind == 4:
            yield from longs(range(start, end - 23, 24))
            yield from longs(range(start + 16, end - 7, 24))
            yield from indices(range(start + 12, end - 11, 24), link, 24)
        elif one.kind in {2, 11}:
            yield from longs(range(start + 8, end - 15, 24))
            yield from indices(range(start, end - 23, 24), link, 1)
        elif one.kind == 6:
            yield from longs(range(start + 8, end - 7, 16))
        elif one.kind == 0x6FFFFFF6 and one.size >= 16:
            count, bloom = word(file.data, start), word(file.data, start + 8)
            first = start + 16 + 8 * bloom
            yield from indices(range(first, min(first + 4 * count, end) - 3, 4), link, 24)
        elif one.kind in {14, 15, 16, 19} or (one.kind == 1 and one.flags & 5 == 1):
            yield from longs(range(start + -start % 8, end - 7, 8))


def index(file: File, data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the places in the index of unwind records, and what is expected there."""
    section, frames = file.named(".eh_frame_hdr"), file.named(".eh_frame")
    if section is None or frames is None:
        return
    moved = frames.address - frames.offset
    pairs = sorted((signed(word(data, at + 8), 32) + at + 8 + moved, at + moved) for at in records(file))
    numbers = [number - section.address for pair in pairs for number in pair]
    yield from zip(range(section.offset + 12, section.offset + section.size - 3, 4), numbers)  # noqa: B905 - either may be longer


def references(file: File, *, labels: bool = False, skip: set[int] | None = None) -> list[Field]:
    fields: list[Field] = []
    if file.machine == 62:
        fields += x86(file, labels=labels, skip=skip or set())
        fields += jump_tables(file, fields, labels=labels)
    elif file.machine == 183:
        fields += arm64(file, labels=labels)
    return [*fields, *unwind(file, labels=labels)]


class Payload:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self.size = self._number()
        texts = []
        for _ in range(9):
            length = self._number()
            texts.append(data[self._at : self._at + length])
            self._at += length
        columns = [self._column(text) for text in texts[:8]]
        self.rest = data[self._at :]
        self.skip = set(running(columns[0]))
        self.corrections = dict(reversed(list(zip(running(columns[1]), map(unfold, columns[2]), strict=True))))
        self.covers: list[tuple[int, int, int]] = []
        self.differences: list[int] = []
        end = 0
        for shift, gap, length in zip(running(map(unfold, columns[3])), columns[4], columns[5], strict=True):
            self.covers.append((end + gap + shift, end + gap, length))
            end += gap + length
        end = 0
        for gap, length in zip(columns[6], columns[7], strict=True):
            self.differences += range(end + gap, end + gap + length + 1)
            end += gap + length + 1
        self.values = texts[8]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    @staticmethod
    def _column(text: bytes) -> list[int]:
        numbers, value, shift = [], 0, 0
        for byte in text:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                numbers.append(value)
                value = shift = 0
        return numbers

    def patch(self, old: bytes) -> bytearray:
        new, covered = bytearray(self.size), bytearray(self.size)
        for start, at, length in self.covers:
            new[at : at + length] = old[start : start + length]
            covered[at : at + length] = b"\1" * length
        for at, value in zip(self.differences, self.values, strict=True):
            new[at] = new[at] + value & 255
        rest = iter(self.rest)
        return bytearray(new[at] if covered[at] else next(rest) for at in range(self.size))


def unfold(number: int) -> int:
    return -1 - number // 2 if number % 2 else number // 2


def running(numbers: Iterable[int]) -> list[int]:
    total, found = 0, []
    for number in numbers:
        total += number
        found.append(total)
    return found


def address_map(payload: Payload, old: File, new: File) -> Move:
    pieces: list[tuple[int, int, int]] = []
    for start, at, length in sorted(payload.covers, key=lambda one: (one[0], -one[2], one[1])):
        first = max(start, pieces[-1][1]) if pieces else start
        if first < start + length:
            pieces.append((first, start + length, at - start))

    def move(address: int) -> int:
        offset, found = old.offset(address), None
        if offset is not None and pieces:
            before = [one for one in pieces if one[0] <= offset] or pieces[:1]
            after = [one for one in pieces if one[0] > offset]
            closer = bool(after) and after[0][0] - offset < offset - before[-1][1]
            found = new.address(offset + (after[0] if closer else before[-1])[2])
        if found is None:
            found = address + (new.file_end - old.file_end if address >= old.file_end else 0)
        return found + payload.corrections.get(address, 0)

    return move


def predicted(old: File, new: File, move: Move) -> bytes:
    made = bytearray(old.data)
    for at, expected in index(old, old.data):
        made[at : at + 4] = (word(old.data, at) - expected & 0xFFFFFFFF).to_bytes(4, "little")
    for field in [*references(old), *addresses(old)]:
        value, target, unit = field.value, field.target, field.unit
        section = new.named(field.section) if field.section else None
        if field.form == "label" and target is None:
            value = to_label(value, move(field.base) // unit, -(-new.span // unit))
        elif target is None:
            pass
        elif field.form == "label":
            value = move(target) // unit
        elif field.form == "distance":
            value = (move(target) - move(field.base)) // unit
        elif field.form == "address":
            value = move(target) + new.low
        elif field.form == "length":
            value = move(target - 1) + 1 - move(field.base)
        elif field.form == "low":
            value = move(target) % 4096
        elif field.form == "backward":
            frames = new.named(".eh_frame")
            if frames is not None and move(target) >= frames.address:
                value = move(target) - frames.address + 1
        elif section is not None and (move(target) - section.address) % unit == 0 and move(target) >= section.address:
            value = (move(target) - section.address) // unit
        field.write(made, value // unit if field.form == "low" else value)
    return bytes(made)


def apply(data: bytes, old_data: bytes) -> bytes:
    """Return the new file of a payload."""
    payload, old = Payload(data), File(old_data)
    raw = payload.patch(old_data)
    new = File(bytes(raw))
    labels = payload.patch(predicted(old, new, address_map(payload, old, new)))
    for start, end in new.headers:
        labels[start:end] = raw[start:end]
    file, made = File(bytes(labels)), bytearray(labels)
    for field in references(file, labels=True, skip=payload.skip):
        if field.form == "label":
            base = field.base // field.unit
            field.write(made, from_label(field.value, base, -(-file.span // field.unit)))
        elif field.form == "backward" and 1 <= field.value <= field.base:
            field.write(made, field.base + 1 - field.value)
    for at, expected in index(file, bytes(made)):
        made[at : at + 4] = (word(file.data, at) + expected & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(made)
