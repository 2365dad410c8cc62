import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.elf.arm64 import _OFFSET_SLOT, _PAGE_SLOT, _bits
from nixoci.delta.elf.fields import LONG, WORD, Slot, reversed_backward, to_distance, to_target

words = st.integers(min_value=-(1 << 31), max_value=(1 << 31) - 1)
spans = st.integers(min_value=1, max_value=1 << 30)


@given(st.lists(words, min_size=1, max_size=20), st.data())
def test_each_target_stands_for_one_distance(values: list[int], data: st.DataObject) -> None:
    span = data.draw(spans)
    near = st.integers(min_value=-5, max_value=5)
    base = data.draw(st.integers(min_value=0, max_value=span + 9))
    edges = [edge + data.draw(near) for edge in (0, span, -base, span - base)]
    numbers = np.array(values + edges, np.int64)
    bases = np.full(len(numbers), base, np.int64)
    targets = to_target(numbers, bases, span)
    assert np.array_equal(to_distance(targets, bases, span), numbers)
    reached = (numbers + base >= 0) & (numbers + base < span)
    assert np.array_equal(targets[reached], numbers[reached] + base)
    assert np.array_equal((targets >= 0) & (targets < span), reached)


def test_a_small_range_is_changed_without_collision() -> None:
    for base in range(-12, 13):
        numbers = np.arange(-40, 40)
        targets = to_target(numbers, np.full(80, base), 10)
        assert len(set(targets.tolist())) == 80
        assert np.array_equal(to_distance(targets, np.full(80, base), 10), numbers)


@given(st.lists(words, min_size=1), st.integers(min_value=0, max_value=1 << 26))
def test_distances_back_are_reversed_and_back(values: list[int], base: int) -> None:
    numbers, bases = np.array([*values, 0, 1, base, base + 1], np.int64), np.full(len(values) + 4, base)
    changed = reversed_backward(numbers, bases)
    assert np.array_equal(reversed_backward(changed, bases), numbers)
    assert changed[-4] == 0
    assert changed[-3] == (base or 1)


@given(st.binary(min_size=64, max_size=64), st.data())
def test_slots_hold_what_was_written_and_leave_the_rest(content: bytes, data: st.DataObject) -> None:
    slots = [(WORD, 32), (LONG, 64), (_bits(0, 26), 26), (_bits(5, 19), 19), (_bits(5, 14), 14), (_PAGE_SLOT, 21)]
    slot, bits = data.draw(st.sampled_from(slots))
    values = data.draw(st.lists(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1), min_size=8, max_size=8))
    held, at = np.frombuffer(content, np.uint8).copy(), np.arange(0, 64, 8)
    slot.write(held, at, np.array(values, np.int64))
    assert slot.read(held, at).tolist() == values
    assert not np.any((held ^ np.frombuffer(content, np.uint8))[np.arange(64) % 8 >= slot.width])
    slot.write(held, at, slot.read(np.frombuffer(content, np.uint8), at))
    assert held.tobytes() == content


def test_an_instruction_of_arm64_is_read_as_the_manual_has_it() -> None:
    def one(word: int, slot: Slot) -> int:
        return int(slot.read(np.frombuffer(word.to_bytes(4, "little"), np.uint8), np.zeros(1, np.int64))[0])

    assert one(0x97FFFFFF, _bits(0, 26)) == -1  # bl .-4
    assert one(0x54000041, _bits(5, 19)) == 2  # b.ne .+8
    assert one(0x3607FFE0, _bits(5, 14)) == -1  # tbz w0, #0, .-4
    assert one(0xB0000001, _PAGE_SLOT) == 1  # adrp x1, .+0x1000
    assert one(0x90FFFFE0, _PAGE_SLOT) == -4  # adrp x0, .-0x4000
    assert one(0x91048C21, _OFFSET_SLOT) == 0x123  # add x1, x1, #0x123
    assert one(0xF9400821, _OFFSET_SLOT) == 0x10  # ldr x1, [x1, #16]
    assert one(0xB9400821, _OFFSET_SLOT) == 0x08  # ldr w1, [x1, #8]
    assert one(0x3DC00420, _OFFSET_SLOT) == 0x10  # ldr q0, [x1, #16]
    assert one(0xFD400420, _OFFSET_SLOT) == 0x08  # ldr d0, [x1, #8]
