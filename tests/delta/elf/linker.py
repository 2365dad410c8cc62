"""A small linker: makes ELF files of functions and objects, whose references are known."""

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

X86_64, AARCH64 = 62, 183
_PAGE = 0x1000
_HEADERS = 64 + 2 * 56
_RELATIVE = 8
Names = Mapping[str, int]


@dataclass(frozen=True)
class Function:
    """A function: its name, bytes without references, and the functions and objects that it refers to."""

    name: str
    body: bytes
    calls: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A program: its machine, functions and objects, and the functions that its data and a jump table refer to."""

    machine: int
    functions: tuple[Function, ...]
    objects: Mapping[str, bytes]
    pointers: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    low: int = 0


def _x86_code(function: Function, at: int, names: Names) -> bytes:
    code = bytearray(b"\x55" + function.body)
    for opcode, targets in ((b"\xe8", function.calls), (b"\x48\x8d\x05", function.uses)):
        for target in targets:
            code += opcode
            code += struct.pack("<i", names[target] - (at + len(code) + 4))
    code += b"\x0f\x84"
    code += struct.pack("<i", at - (at + len(code) + 4))
    return bytes(code + b"\xc3")


def _arm64_code(function: Function, at: int, names: Names) -> bytes:
    words = list(struct.unpack(f"<{len(function.body) // 4}I", function.body[: len(function.body) // 4 * 4]))
    for target in function.calls:
        words.append(0x94000000 | (names[target] - (at + 4 * len(words))) >> 2 & 0x3FFFFFF)
    for target in function.uses:
        pages = (names[target] >> 12) - (at + 4 * len(words) >> 12)
        words.append(0x90000000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)
        words.append(0x91000000 | (names[target] & 0xFFF) << 10)
    words.append(0x54000000 | (at - (at + 4 * len(words))) >> 2 << 5 & 0xFFFFE0)
    return struct.pack(f"<{len(words) + 1}I", *words, 0xD65F03C0)


_CODE = {X86_64: _x86_code, AARCH64: _arm64_code}


def link(program: Program) -> bytes:
    """Return the ELF file; it is linked twice, since addresses depend on sizes."""
    names = dict.fromkeys([function.name for function in program.functions], 0)
    names |= dict.fromkeys(program.objects, 0) | {"table": 0, "hdr": 0}
    sections: dict[str, tuple[int, bytes]] = {}
    for _ in range(3):
        sections = dict(_sections(program, names))
    return _file(program, sections)


def _sections(program: Program, names: dict[str, int]) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Yield the sections with their addresses, and write the addresses of all names."""
    at = program.low + _HEADERS
    strings = b"\0" + b"".join(function.name.encode() + b"\0" for function in program.functions)
    symbols = bytes(24)
    for function in program.functions:
        name_at = strings.index(b"\0" + function.name.encode() + b"\0") + 1
        symbols += struct.pack("<IBBHQQ", name_at, 0x12, 0, 5, names[function.name], 16)
    yield ".dynsym", (at, symbols)
    yield ".dynstr", (at := at + len(symbols), strings)
    data_at = names.get(".data", 0)
    relocations = b"".join(
        struct.pack("<QQQ", data_at + 8 * number, _RELATIVE, names[target])
        for number, target in enumerate(program.pointers)
    )
    yield ".rela.dyn", (at := at + len(strings), relocations)
    at = start = at + len(relocations) + -(at + len(relocations)) % 16
    text = b""
    for function in program.functions:
        names[function.name] = start + len(text)
        code = _CODE[program.machine](function, start + len(text), names)
        names[f"{function.name} end"] = start + len(text) + len(code)
        text += code + b"\x90" * (-len(code) % 16)
    yield ".text", (start, text)
    at = start + len(text)
    rodata = b""
    for name, content in program.objects.items():
        names[name] = at + len(rodata)
        rodata += content + bytes(-len(content) % 4)
    names["table"] = at + len(rodata)
    rodata += b"".join(struct.pack("<i", names[target] - names["table"]) for target in program.table) + bytes(4)
    yield ".rodata", (at, rodata)
    index_at = at + len(rodata)
    frames_at = index_at + 12 + 8 * len(program.functions)
    frames = struct.pack("<IIB3sBBBBB", 16, 0, 1, b"zR\0", 1, 0x78, 16, 1, 0x1B) + bytes(3)
    index = []
    for function in program.functions:
        here = frames_at + len(frames)
        begin, length = names[function.name], names[f"{function.name} end"] - names[function.name]
        frames += struct.pack("<IIiII", 16, len(frames) + 4, begin - (here + 8), length, 0)
        index.append((begin - index_at, here - index_at))
    head = struct.pack("<BBBBiI", 1, 0x1B, 3, 0x3B, frames_at - index_at - 4, len(index))
    yield ".eh_frame_hdr", (index_at, head + b"".join(struct.pack("<ii", *pair) for pair in sorted(index)))
    yield ".eh_frame", (frames_at, frames + bytes(4))
    at = frames_at + len(frames) + 4 + _PAGE
    names[".data"] = at = at + -at % 8
    yield ".data", (at, b"".join(struct.pack("<Q", names[target]) for target in program.pointers) + bytes(8))


_KINDS = {".dynsym": (11, 2, 2), ".dynstr": (3, 2, 0), ".rela.dyn": (4, 2, 1), ".text": (1, 6, 0), ".data": (1, 3, 0)}


def _file(program: Program, sections: Mapping[str, tuple[int, bytes]]) -> bytes:
    shared = [*sections, ".shstrtab"]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in shared)
    body = bytearray(_HEADERS)
    headers = bytes(64)
    for name, (address, content) in sections.items():
        offset = address - program.low - (_PAGE if name == ".data" else 0)
        body += bytes(offset - len(body)) + content
        kind, flags, linked = _KINDS.get(name, (1, 2, 0))
        at = strings.index(b"\0" + name.encode() + b"\0") + 1
        headers += struct.pack("<IIQQQQIIQQ", at, kind, flags, address, offset, len(content), linked, 0, 1, 0)
    at = strings.index(b"\0.shstrtab\0") + 1
    headers += struct.pack("<IIQQQQIIQQ", at, 3, 0, 0, len(body), len(strings), 0, 0, 1, 0)
    body += strings + bytes(-(len(body) + len(strings)) % 8)
    table = len(body)
    body += headers
    address, content = sections[".data"]
    data_offset = address - program.low - _PAGE
    struct.pack_into(
        "<4sBBB9xHHIQQQIHHHHHH", body, 0,
        b"\x7fELF", 2, 1, 1, 2 if program.low else 3, program.machine, 1, 0, 64, table, 0, 64, 56, 2, 64,
        len(shared) + 1, len(shared),
    )  # fmt: skip
    struct.pack_into("<IIQQQQQQ", body, 64, 1, 5, 0, program.low, program.low, data_offset, data_offset, _PAGE)
    size = len(content)
    struct.pack_into("<IIQQQQQQ", body, 120, 1, 6, data_offset, address, address, size, size + 64, _PAGE)
    return bytes(body)


def random_program(rng: random.Random, machine: int, count: int = 40, *, low: int = 0) -> Program:
    """Return a program of functions that call each other."""
    names = [f"function_{number}" for number in range(count)]
    objects = {f"object_{number}": rng.randbytes(rng.randrange(4, 60)) for number in range(10)}
    functions = [
        Function(
            name,
            rng.randbytes(4 * rng.randrange(2, 30)),
            tuple(rng.choices(names, k=rng.randrange(4))),
            tuple(rng.choices([*objects, "table"], k=rng.randrange(3))),
        )
        for name in names
    ]
    return Program(
        machine, tuple(functions), objects, tuple(rng.choices(names, k=12)), tuple(rng.choices(names, k=9)), low
    )


def changed_program(rng: random.Random, program: Program) -> Program:
    """Return a program with a new function, a longer one, and an object that grew: all behind them moves."""
    functions = list(program.functions)
    at = rng.randrange(len(functions))
    functions[at] = replace(functions[at], body=functions[at].body + rng.randbytes(8))
    functions.insert(rng.randrange(len(functions)), Function("function_new", rng.randbytes(40), (functions[at].name,)))
    objects = dict(program.objects)
    objects[rng.choice(list(objects))] += rng.randbytes(9)
    return replace(program, functions=tuple(functions), objects=objects)


def shuffled_program(rng: random.Random, program: Program) -> Program:
    """Return a program whose functions are in another order."""
    functions: Sequence[Function] = rng.sample(program.functions, k=len(program.functions))
    return replace(program, functions=tuple(functions))


def overlapping_code(rng: random.Random, size: int) -> bytes:
    """Return bytes in which many opcodes with a near target overlap."""
    opcodes = bytes.fromhex("e8e8e9e90f0f84848b0505010102c5c462c70425 94 90")
    return bytes(rng.choices(opcodes + bytes(2 * len(opcodes)), k=size))
