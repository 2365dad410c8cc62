import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.elf.layout import Layout, Section
from nixoci.delta.elf.unwind import read_unwind
from tests.delta.elf import plain

records = st.lists(
    st.tuples(st.integers(min_value=0, max_value=45), st.integers(min_value=0, max_value=2), st.binary(max_size=45)),
    max_size=8,
)


@given(before=st.integers(min_value=0, max_value=9), parts=records, cut=st.integers(min_value=0, max_value=30))
def test_records_of_all_lengths_are_those_of_the_text(
    before: int, parts: list[tuple[int, int, bytes]], cut: int
) -> None:
    joined = b"".join(struct.pack("<II", length, cie) + body[: max(0, length - 4)] for length, cie, body in parts)
    held = joined[: len(joined) - min(cut, len(joined))]
    section = Section(b".eh_frame", 1, 2, 1000, before, len(held), 0)
    data = np.frombuffer(bytes(before) + held + b"after", np.uint8)
    layout = Layout(machine=0, fixed=False, low=0, segments=(), sections={0: section}, headers=())
    file = plain.File.__new__(plain.File)
    file.data = data.tobytes()
    file.sections = [plain.Section(0, ".eh_frame", 1, 2, 1000, before, len(held), 0)]
    found = read_unwind(data, layout)
    assert found.records.tolist() == plain.records(file)
    handlers = [at + 17 for at in plain.records(file) if plain.word(file.data, at) > 20 and file.data[at + 16] == 4]
    assert found.handlers.tolist() == handlers


def test_a_file_without_records_has_none() -> None:
    layout = Layout(machine=0, fixed=False, low=0, segments=(), sections={}, headers=())
    assert not len(read_unwind(np.zeros(40, np.uint8), layout).records)
