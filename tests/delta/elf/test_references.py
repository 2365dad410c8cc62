import random

import numpy as np
import pytest

from nixoci.delta.elf.fields import Fields, Form
from nixoci.delta.elf.label_form import find_references
from nixoci.delta.elf.layout import Layout, read_layout
from nixoci.delta.elf.tables import find_addresses
from nixoci.delta.elf.x86 import find_code
from tests.delta.elf.linker import AARCH64, X86_64, Function, Program, link, overlapping_code, random_program

CALLER = Function("caller", b"\x90" * 8, ("callee", "caller"), ("object",))
CALLEE = Function("callee", b"\x90" * 20)
LAST = Function("last", b"\x90" * 24)
PROGRAM = Program(
    X86_64, (CALLER, CALLEE, LAST), {"object": b"content."}, ("callee", "caller"), ("callee", "caller", "callee")
)


def read(program: Program) -> tuple[bytes, Layout, list[Fields]]:
    data = link(program)
    layout = read_layout(data)
    assert layout is not None
    array = np.frombuffer(data, np.uint8)
    return data, layout, [*find_references(array, layout).fields, *find_addresses(array, layout)]


def found(fields: list[Fields], form: Form, *, first: int = 0, end: int = 1 << 62) -> dict[int, int]:
    """Return the targets of the references of a form by their offsets, in a part of the file."""
    return {
        at: target
        for one in fields
        if one.form is form
        for at, target in zip(one.at.tolist(), one.targets.tolist(), strict=True)
        if first <= at < end and target >= 0
    }


@pytest.mark.parametrize("low", [0, 0x400000])
def test_the_references_of_x86_64_are_found(low: int) -> None:
    data, layout, fields = read(Program(**{**vars(PROGRAM), "low": low}))
    (text,), rodata = layout.code(), layout.named(b".rodata")
    assert rodata is not None
    calls = text.offset + 1 + 8 + 1  # after push, the body and the opcode of the first call
    callee = text.address + data.index(b"\x55" + b"\x90" * 20) - text.offset
    labels = found(fields, Form.LABEL, first=text.offset, end=text.offset + text.size)
    assert labels == {calls: callee, calls + 5: text.address, calls + 5 + 7: rodata.address}
    jumps = found(fields, Form.DISTANCE)
    # that of the last function is in the last bytes of the section, where none is looked for
    assert jumps == {calls + 5 + 7 + 6: text.address, data.index(b"\x0f\x84", calls + 30) + 2: callee}
    # no instruction refers to the table, so it counts as a part of the object, and that is no table
    assert found(fields, Form.LABEL, first=rodata.offset, end=rodata.offset + rodata.size) == {}


def test_a_jump_table_is_found_where_an_operand_refers_to_it() -> None:
    caller = Function("caller", b"\x90" * 8, (), ("object", "table"))
    data, layout, fields = read(Program(X86_64, (caller, CALLEE, LAST), PROGRAM.objects, (), PROGRAM.table))
    rodata, (text,) = layout.named(b".rodata"), layout.code()
    assert rodata is not None
    callee = text.address + data.index(b"\x55" + b"\x90" * 20) - text.offset
    table = found(fields, Form.LABEL, first=rodata.offset, end=rodata.offset + rodata.size)
    at = rodata.offset + len(b"content.")
    assert table == {at: callee, at + 4: text.address, at + 8: callee, at + 12: at}  # the last: zero


def test_absolute_addresses_count_in_a_file_with_fixed_addresses_only() -> None:
    for low, expected in ((0x400000, True), (0, False)):
        code = (
            b"\x90\xbf" + (low + 0xB0).to_bytes(4, "little") + b"\x48\xc7\x04\xc5" + (low + 0xB8).to_bytes(4, "little")
        )
        _, layout, fields = read(Program(X86_64, (Function("f", code),), {}, low=low))
        (text,) = layout.code()
        addresses = found(fields, Form.ADDRESS, first=text.offset, end=text.offset + text.size)
        assert addresses == ({text.offset + 3: 0xB0, text.offset + 11: 0xB8} if expected else {})


@pytest.mark.parametrize("block", [1, 7, 50])
@pytest.mark.parametrize("low", [0, 0x400000])
def test_code_is_read_block_by_block(block: int, low: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(block + low)
    file = bytearray(link(Program(X86_64, (Function("f", b"\x90" * 3000),), {}, low=low)))
    at = file.index(b"\x90" * 3000)
    file[at : at + 3000] = overlapping_code(rng, 3000)
    data, layout = np.frombuffer(bytes(file), np.uint8), read_layout(bytes(file))
    assert layout is not None
    skip = np.array([at + 100, at + 700])

    def read() -> list[list[int]]:
        fields, starts = find_code(data, layout, labels=False, skip=skip)
        return [starts.tolist(), *(column.tolist() for one in fields for column in (one.at, one.targets, one.bases))]

    whole = read()
    assert len(whole[0]) > 50
    assert not {at + 100, at + 700} & set(whole[0])
    monkeypatch.setattr("nixoci.delta.elf.x86._BLOCK", block)
    monkeypatch.setattr("nixoci.delta.elf.x86._PART", block)
    assert read() == whole


def test_the_references_of_arm64_are_found() -> None:
    data, layout, fields = read(Program(**{**vars(PROGRAM), "machine": AARCH64}))
    (text,), rodata = layout.code(), layout.named(b".rodata")
    assert rodata is not None
    callee = text.address + data.index(b"\x90" * 20) - text.offset
    at = text.offset + 8
    labels = found(fields, Form.LABEL, first=text.offset, end=text.offset + text.size)
    assert labels == {at: callee, at + 4: text.address, at + 8: rodata.address}
    assert found(fields, Form.LOW) == {at + 12: rodata.address}
    assert found(fields, Form.DISTANCE) == {at + 16: text.address, callee + 20: callee, callee + 32 + 24: callee + 32}


@pytest.mark.parametrize("machine", [X86_64, AARCH64, 243])
@pytest.mark.parametrize("low", [0, 0x400000])
def test_the_references_of_tables_are_found(machine: int, low: int) -> None:
    program = random_program(random.Random(3), AARCH64 if machine == 243 else machine, 9, low=low)
    data = bytearray(link(program))
    data[18:20] = machine.to_bytes(2, "little")
    layout = read_layout(bytes(data))
    assert layout is not None
    array = np.frombuffer(bytes(data), np.uint8)
    fields = [*find_references(array, layout).fields, *find_addresses(array, layout)]
    sections = {section.name: section for section in layout.sections.values()}
    text, frames = sections[b".text"], sections[b".eh_frame"]
    relocations, symbols = sections[b".rela.dyn"], sections[b".dynsym"]
    inside = range(text.address, text.address + text.size)
    functions = found(fields, Form.LABEL, first=frames.offset, end=frames.offset + frames.size)
    values = found(fields, Form.ADDRESS, first=symbols.offset, end=symbols.offset + symbols.size)
    assert sorted(functions.values()) == sorted(values.values())
    assert len(functions) == 9
    assert set(found(fields, Form.BACKWARD).values()) == {frames.address}
    lengths = found(fields, Form.LENGTH)
    assert all(functions[at - 4] < end <= inside.stop for at, end in lengths.items())
    assert len(lengths) == 9
    entries = found(fields, Form.ADDRESS, first=relocations.offset, end=relocations.offset + relocations.size)
    assert [target in inside for _, target in sorted(entries.items())] == [False, True] * 12
    names = found(fields, Form.INDEX)
    assert [symbols.offset + 24 * number for number in range(1, 10)] == sorted(names)
    held = sections[b".dynstr"]
    assert bytes(data[(first := held.offset + names[symbols.offset + 24] - held.address) : first + 9]) == b"function_"
