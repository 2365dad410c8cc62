import lzma
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.choose import _REFINERS, START, estimated_size, needed_memory
from nixoci.delta.codecs.choose import encode as choose
from nixoci.delta.codecs.elf import ELF, is_promising, refine
from nixoci.delta.codecs.hdiff import HDIFF, patch, patch_covers
from nixoci.delta.codecs.registry import decode as decode_any
from nixoci.delta.codecs.source import Held
from nixoci.delta.effort import Effort
from nixoci.delta.elf.codec import decode
from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.label_form import from_labels, to_labels
from nixoci.delta.elf.layout import read_layout
from nixoci.errors import DeltaError
from tests.delta.elf.linker import (
    AARCH64,
    X86_64,
    Function,
    Program,
    changed_program,
    link,
    overlapping_code,
    random_program,
    shuffled_program,
)

machines = st.sampled_from([X86_64, AARCH64])


def packed(data: bytes) -> int:
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "pb": 0}]))


def payload(old: bytes, new: bytes) -> bytes | None:
    return refine(Held(old), Held(new), patch(old, new))


def pair(seed: int, machine: int = X86_64, count: int = 60) -> tuple[bytes, bytes]:
    rng = random.Random(seed)
    program = random_program(rng, machine, count)
    return link(program), link(changed_program(rng, program))


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
@pytest.mark.parametrize("low", [0, 0x400000])
def test_code_that_moved_costs_little(machine: int, low: int) -> None:
    rng = random.Random(5)
    program = random_program(rng, machine, 200, low=low)
    old, new = link(program), link(changed_program(rng, program))
    made = payload(old, new)
    assert made is not None
    assert decode(made, old, len(new)) == new
    assert packed(made) < 0.25 * packed(patch(old, new))


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_functions_that_look_alike_are_told_apart(machine: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a table of procedure linkage: its entries look the same, and a new linker has them in another order."""
    rng = random.Random(4)
    stubs = [Function(f"stub_{number}", b"\x90" * 12) for number in range(41)]
    names = [stub.name for stub in stubs[1:]]
    callers = [Function(f"caller_{number}", rng.randbytes(40), tuple(rng.choices(names, k=6))) for number in range(400)]
    old = link(Program(machine, (*callers, *stubs[1:]), {}))
    new = link(Program(machine, (*callers, *rng.sample(stubs, k=41)), {}))
    made = payload(old, new)
    assert made is not None
    assert decode(made, old, len(new)) == new
    monkeypatch.setattr("nixoci.delta.elf.prediction._WORTH", 1 << 30)
    uncorrected = payload(old, new)
    assert uncorrected is not None
    assert packed(made) < 0.6 * packed(uncorrected)
    assert packed(made) < 0.5 * packed(patch(old, new))


def test_the_sender_chooses_it_where_it_is_smaller() -> None:
    old, new = pair(1)
    chosen = choose(new, old, Effort.DEFAULT)
    assert chosen.codec is ELF
    assert decode_any(chosen.codec.number, chosen.payload, old, len(new)) == new


@given(st.integers(min_value=0, max_value=999), machines, st.sampled_from([0, 0x400000]), st.integers(2, 30))
@settings(deadline=None, max_examples=60)
def test_what_was_coded_is_decoded(seed: int, machine: int, low: int, count: int) -> None:
    rng = random.Random(seed)
    program = random_program(rng, machine, count, low=low)
    change = rng.choice((changed_program, shuffled_program))
    old, new = link(program), link(change(rng, program))
    made = payload(old, new)
    if made is None:
        assert len(patch(old, new)) <= 256
        return
    assert decode(made, old, len(new)) == new
    with pytest.raises(ValueError, match="at most"):
        decode(made, old, len(new) - 1)


@given(st.integers(min_value=0, max_value=999), machines, st.binary(min_size=1, max_size=400))
@settings(deadline=None, max_examples=60)
def test_label_form_is_undone_whatever_the_code_is(seed: int, machine: int, code: bytes) -> None:
    rng = random.Random(seed)
    file = bytearray(link(random_program(rng, machine, 20)))
    layout = read_layout(bytes(file))
    assert layout is not None
    (text,) = layout.code()
    body = (code + overlapping_code(rng, text.size))[: text.size]
    file[text.offset : text.offset + text.size] = body
    data = np.frombuffer(bytes(file), np.uint8)
    labels, skip = to_labels(data, layout)
    from_labels(labels, layout, skip)
    assert np.array_equal(labels, data)


def test_opcodes_that_label_form_would_add_are_skipped() -> None:
    skipped = 0
    for seed in range(30):
        rng = random.Random(seed)
        file = bytearray(link(random_program(rng, X86_64, 40)))
        layout = read_layout(bytes(file))
        assert layout is not None
        (text,) = layout.code()
        file[text.offset : text.offset + text.size] = overlapping_code(rng, text.size)
        data = np.frombuffer(bytes(file), np.uint8)
        labels, skip = to_labels(data, layout)
        from_labels(labels, layout, skip)
        assert np.array_equal(labels, data)
        skipped += len(skip)
    assert skipped


def test_files_that_it_does_not_know_are_left_to_others() -> None:
    old, new = pair(1)
    assert payload(old, b"\x7fELF" + new[4:50] + random.Random(1).randbytes(3000)) is None
    assert payload(random.Random(1).randbytes(3000), new) is None
    assert payload(old, link(random_program(random.Random(1), AARCH64, 60))) is None


def test_it_is_not_tried_where_it_can_save_little() -> None:
    old, new = pair(1)
    relocatable = new[:16] + b"\1\0" + new[18:]
    assert is_promising(Held(old), Held(new), bytes(3000))
    assert not is_promising(Held(old), Held(new), bytes(500))
    assert not is_promising(Held(old), Held(new + bytes(4 << 20)), bytes(3000))
    assert not is_promising(Held(old), Held(relocatable), bytes(3000))
    assert is_promising(Held(old), Held(relocatable), bytes(30_000))


def test_it_is_not_chosen_where_it_saves_less_than_its_decoding_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair(1)
    saved = estimated_size(patch(old, new)) - estimated_size(payload(old, new) or b"")
    for cost, chosen in ((saved, ELF), (saved + 1, HDIFF)):
        monkeypatch.setattr("nixoci.delta.codecs.choose._REFINERS", (_REFINERS[0]._replace(cost=lambda _: cost),))  # noqa: B023
        assert choose(new, old, Effort.DEFAULT).codec is chosen


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_it_takes_no_more_memory_than_is_counted(machine: int) -> None:
    old, new = pair(3, machine, 4000)
    patched = patch(old, new)
    assert payload(*pair(1, machine)) is not None  # tables are made once
    tracemalloc.start()
    try:
        assert refine(Held(old), Held(new), patched) is not None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    both = len(old) + len(new)
    assert both + peak < needed_memory(new[:START], len(old), len(new), Effort.DEFAULT)


def test_covers_are_those_of_the_patch() -> None:
    old, new = pair(2)
    covers = Covers.of(patch_covers(patch(old, new)))
    assert int(covers.length.sum()) > len(new) // 2
    same = sum(
        a == b
        for start, at, length in zip(covers.old.tolist(), covers.new.tolist(), covers.length.tolist(), strict=True)
        for a, b in zip(old[start : start + length], new[at : at + length], strict=True)
    )
    assert same > 0.7 * int(covers.length.sum())
    assert np.all(covers.new[1:] >= (covers.new + covers.length)[:-1])


OLD, NEW = pair(7, count=12)
PAYLOAD = payload(OLD, NEW) or b""


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5), st.integers(0, 400))
@settings(deadline=None, max_examples=200)
def test_a_damaged_payload_is_refused_or_makes_something_else(changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(PAYLOAD[: len(PAYLOAD) - cut] if cut % 2 else PAYLOAD)
    for at, byte in changes:
        if at < len(damaged):
            damaged[at] = byte
    made = refused(bytes(damaged), OLD)
    assert len(made) <= len(NEW) + 99


@given(st.lists(st.tuples(st.integers(0, len(OLD) - 1), st.integers(0, 255)), max_size=5))
@settings(deadline=None, max_examples=100)
def test_another_old_file_makes_something_else(changes: list[tuple[int, int]]) -> None:
    other = bytearray(OLD)
    for at, byte in changes:
        other[at] = byte
    refused(PAYLOAD, bytes(other))


def refused(data: bytes, old: bytes) -> bytes:
    made, refusal = b"", ""
    try:
        made = decode_any(ELF.number, data, old, len(NEW) + 99)
    except DeltaError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return made
