import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.elf import x86
from nixoci.delta.elf.layout import EXECUTABLE, PROGRAM, X86_64, Layout, Section
from tests.delta.elf import plain

OPCODES = bytes.fromhex("e8e8e9e90f0f84848b0505010102c5c462c70425 0f380f3a 8180f6f76869b8c384 94 90")


@given(
    seed=st.integers(min_value=0, max_value=1 << 32),
    gaps=st.lists(st.tuples(st.integers(-20, 90), st.integers(0, 120)), min_size=1, max_size=4),
    moved=st.sampled_from([0, 0x1000, -0x200, 1 << 24, 1 << 31, -(1 << 40)]),
    elsewhere=st.booleans(),
    fixed=st.booleans(),
    low=st.sampled_from([0, 0x400000, 0xFFFF80, 0xFFFFFF80, 1 << 33]),
    span=st.sampled_from([1, 90, 0x1200, 0x1FFFFFF, 1 << 30]),
    part=st.sampled_from([(1, 1), (7, 20), (64, 64), (1 << 17, 1 << 20)]),
    labels=st.booleans(),
)
@settings(deadline=None)
def test_references_are_those_of_the_text(
    *,
    seed: int,
    gaps: list[tuple[int, int]],
    moved: int,
    elsewhere: bool,
    fixed: bool,
    low: int,
    span: int,
    part: tuple[int, int],
    labels: bool,
) -> None:
    """Also where sections overlap, or lie far from the addresses that the file has in memory."""
    rng = random.Random(seed)
    sections, at = {}, 64
    for number, (gap, size) in enumerate(gaps):
        at = max(0, at + gap)
        by = moved + (0x2000 * number if elsewhere else 0)
        sections[number] = Section(b"code", PROGRAM, EXECUTABLE, at + by, at, size, 0)
        at += size
    most = max(one.offset + one.size for one in sections.values())
    near = rng.choice((b"\0\0\0\xff", b"\0\0\1\2", b"\0\xff\xff\x40"))
    data = bytes(rng.choices(OPCODES + near * (len(OPCODES) // 4), k=most))
    skip = np.array(sorted(rng.sample(range(most), k=min(most, 9))), np.int64)
    layout = Layout(X86_64, fixed, low, ((0, 0, most, span),), sections, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(x86, "_BLOCK", part[0])
        patch.setattr(x86, "_PART", part[1])
        fields, opcodes = x86.find_code(np.frombuffer(data, np.uint8), layout, labels=labels, skip=skip)
    found = [
        (one.form.name.lower(), at, target, base)
        for one in fields
        for at, target, base in zip(one.at.tolist(), one.targets.tolist(), one.bases.tolist(), strict=True)
    ]
    file = SimpleNamespace(data=data, code=list(sections.values()), fixed=fixed, low=low, span=span)
    every = plain.x86(file, labels=labels, skip=set(skip.tolist()))  # type: ignore[arg-type]
    expected = [
        (one.form, one.at, -1 if one.target is None else one.target, one.base)
        for one in every
        if one.form == "label" or not labels
    ]
    # the text has no base of addresses
    assert [one[:3] for one in found] == [one[:3] for one in expected]
    assert [one[3] for one in found if one[0] != "address"] == [one[3] for one in expected if one[0] != "address"]
    assert len(opcodes) == len(every)


def test_sections_that_follow_each_other_are_searched_together() -> None:
    sections = {
        number: Section(b"code", PROGRAM, EXECUTABLE, address, offset, size, 0)
        for number, (address, offset, size) in enumerate(
            [(100, 100, 40), (140, 140, 8), (160, 160, 50), (400, 400, 50), (1450, 450, 50)]
        )
    }
    layout = Layout(X86_64, False, 0, ((0, 0, 1000, 1500),), sections, ())
    assert [(run.start, run.stop) for run in x86._runs(layout)] == [(100, 198), (400, 438), (450, 488)]
