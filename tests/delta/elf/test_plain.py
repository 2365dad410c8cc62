import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.elf import refine
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.source import Held
from tests.delta.elf import plain
from tests.delta.elf.linker import (
    AARCH64,
    X86_64,
    changed_program,
    link,
    overlapping_code,
    random_program,
    shuffled_program,
)


@given(
    st.integers(min_value=0, max_value=999),
    st.sampled_from([X86_64, AARCH64, 243]),
    st.sampled_from([0, 0x400000]),
    st.integers(min_value=3, max_value=20),
)
@example(seed=537, machine=X86_64, low=0, count=3)  # no jump table
@settings(deadline=None, max_examples=40)
def test_a_receiver_that_is_written_from_the_text_makes_the_same(seed: int, machine: int, low: int, count: int) -> None:
    rng = random.Random(seed)
    program = random_program(rng, X86_64 if machine == 243 else machine, count, low=low)
    change = rng.choice((changed_program, shuffled_program))
    old, new = bytearray(link(program)), bytearray(link(change(rng, program)))
    for data in (old, new):
        data[18:20] = machine.to_bytes(2, "little")
    made = refine(Held(bytes(old)), Held(bytes(new)), patch(bytes(old), bytes(new)))
    if made is not None:
        assert plain.apply(made, bytes(old)) == new


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_it_does_so_for_code_of_any_bytes(machine: int) -> None:
    rng = random.Random(machine)
    for _ in range(5):
        body = overlapping_code(rng, 600)
        program = random_program(rng, machine, 8, low=rng.choice((0, 0x400000)))
        old = bytearray(link(program))
        new = bytearray(link(changed_program(rng, program)))
        for data, shift in ((old, 0), (new, 40)):
            at = data.index(program.functions[0].body) + shift
            data[at : at + 300 - shift] = body[: 300 - shift]
        made = refine(Held(bytes(old)), Held(bytes(new)), patch(bytes(old), bytes(new)))
        assert made is not None
        assert plain.apply(made, bytes(old)) == new
