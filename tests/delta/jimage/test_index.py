from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nixoci.delta.jimage.index import HEAD, index_size, restore, shorten
from tests.delta.jimage.samples import NoHashError, full_name, modules, resources

names = st.text(st.sampled_from("abc.$/-"), max_size=4)


def _name(each: tuple[str, str, str, str, int, bytes]) -> bytes:
    return full_name(*each[:4])


found = st.lists(
    st.tuples(names, names, names, names, st.integers(0, 1), st.binary(max_size=9)),
    min_size=1,
    max_size=20,
    unique_by=_name,
)


@given(found)
@settings(deadline=None)
def test_an_index_is_made_again(found: list[tuple[str, str, str, str, int, bytes]]) -> None:
    try:
        content = modules([(*each[:4], len(each[5]) * each[4], each[5]) for each in found])
    except NoHashError:
        assume(False)
    end = index_size(content[:HEAD])
    assert restore(shorten(content)) == content[:end]
    assert content[end:] == b"".join(each[5] for each in found)


def test_a_short_form_differs_in_little_where_the_index_differs_in_all() -> None:
    old, new = (modules(resources(300, grown=grown)) for grown in (0, 1))
    old_short, short, end = shorten(old), shorten(new), index_size(old[:HEAD])
    assert sum(one != other for one, other in zip(old_short, short, strict=True)) <= 8
    assert sum(one != other for one, other in zip(old[:end], new[:end], strict=False)) > 300


SOUND = modules(resources(50))
SHORT, END = shorten(SOUND), index_size(SOUND[:HEAD])


def _changed(content: bytes, number: int, value: int) -> bytes:
    """Return a content with another word."""
    return content[: 4 * number] + struct.pack("<I", value) + content[4 * number + 4 :]


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", "an index of 0 bytes"),
        (_changed(SOUND, 0, 7), "an index of 52 resources in 52 slots"),
        (_changed(SOUND, 3, 51), "an index of 51 resources in 52 slots"),
        (_changed(SOUND, 4, 1 << 31), f"an index of 52 resources in {1 << 31} slots"),
        (_changed(SOUND, 5, 1 << 31), "an index of [0-9]+ bytes in"),
        (_changed(SOUND, 6, 1 << 20), "an index of [0-9]+ bytes in"),
        (SOUND[: END - 1], "an index of [0-9]+ bytes in"),
        (_changed(SOUND, 7 + 52, 1 << 31), "a location with an attribute of kind 8"),
        (SOUND[: 28 + 8 * 52 + 1] + b"\x80" + SOUND[28 + 8 * 52 + 2 :], "a location with an attribute of kind 16"),
        (SOUND[: 28 + 8 * 52 + 1] + b"\x0f" + b"\xff" * 8 + SOUND[28 + 8 * 52 + 10 :], "a string at byte"),
        (SOUND[: 28 + 8 * 52 + 1] + b"\x3f" + b"\xff" * 8 + b"\0" + SOUND[28 + 8 * 52 + 11 :], "a resource of"),
    ],
)
def test_what_has_no_such_index_is_refused(content: bytes, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        shorten(content)


@pytest.mark.parametrize(
    ("short", "refusal"),
    [
        (b"", "an index of 0 bytes"),
        (SHORT[:-1], "with 208 names and 103 sizes"),
        (SHORT.replace(b"packages\0", b"packages", 1), r"with [0-9]+ names and"),
        (SHORT.replace(b"\0packages\0", b"\0packagex\0", 1), "an index without the string b'packages'"),
        (_changed(SHORT, 5, 9), "locations of [0-9]+ bytes, expected 9"),
        (_changed(SHORT, 7, 1 << 31), r"an index with (slot 2147483647 of 52|two resources)"),
        (SHORT[:28] + struct.pack("<52i", *[-1] * 52) + SHORT[28 + 4 * 52 :], "an index with two resources in slot 0"),
    ],
)
def test_what_is_no_short_form_is_refused(short: bytes, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        restore(short)


def _short_form(strings: bytes, names: bytes) -> bytes:
    """Return the short form of an index of one resource."""
    head = struct.pack("<8I", 0xCAFEDADA, 1 << 16, 0, 1, 1, 64, len(strings), 0)
    return head + strings + struct.pack("<I", len(names)) + names + bytes(8)


def test_the_first_of_equal_strings_counts() -> None:
    index = restore(_short_form(b"\0p\0b\0m\0b\0e", b"m\0p\0b\0e\0"))
    assert index[36:46] == b"\0" + b"\x08\x05" + b"\x10\x01" + b"\x18\x03" + b"\x20\x09" + b"\0"


@pytest.mark.parametrize(
    ("strings", "names", "refusal"),
    [
        (b"".join(b"%05x\0" % number for number in range(1 << 17)), b"x\0" * 4, "without the string"),
        (b"x\0", b"xy\0" * (1 << 18), "with 262144 names"),
    ],
)
def test_many_strings_or_names_take_little_memory(strings: bytes, names: bytes, refusal: str) -> None:
    short = _short_form(strings, names)
    tracemalloc.start()
    with pytest.raises(ValueError, match=refusal):
        restore(short)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(short)


@given(st.lists(st.tuples(st.integers(0, len(SHORT) - 1), st.integers(0, 255)), max_size=3))
@settings(deadline=None)
def test_a_changed_form_is_made_or_refused(changes: list[tuple[int, int]]) -> None:
    short, content = bytearray(SHORT), bytearray(SOUND)
    for at, byte in changes:
        short[at] = byte
        content[at] = byte
    for make, data in ((restore, short), (shorten, content)):
        try:
            make(bytes(data))
        except ValueError as error:
            text = str(error)
            assert "\n" not in text
