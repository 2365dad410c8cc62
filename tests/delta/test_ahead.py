import threading

import pytest

from nixoci.delta import ahead
from nixoci.delta.ahead import DecodeAhead
from nixoci.errors import DeltaError


def nothing(_number: int, _payload: bytes) -> int:
    return 0


class Contents:
    """Contents of which each is its number; notes what is read and decoded."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.read: list[int] = []
        self.decoded: list[tuple[int, bool]] = []

    def reads(self, number: int) -> tuple[bytes, bytes]:
        self.read.append(number)
        return b"p" * self.size, b"%d" % number

    def decodes(self, number: int, payload: bytes, old: bytes) -> bytes:
        assert payload == b"p" * self.size
        self.decoded.append((number, threading.current_thread() is threading.main_thread()))
        return old

    def ahead(self, order: list[int]) -> DecodeAhead[bytes]:
        return DecodeAhead(order, (), self.reads, self.decodes, nothing)


def test_those_in_order_are_decoded_on_another_thread_and_others_at_once() -> None:
    contents = Contents()
    with contents.ahead([3, 1, 4]) as decoded:
        assert [decoded.content(number) for number in (3, 9, 1, 4, 3)] == [b"3", b"9", b"1", b"4", b"3"]
    assert sorted(contents.decoded) == [(1, False), (3, False), (3, True), (4, False), (9, True)]


def test_those_that_are_repeated_are_decoded_once_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_KEPT", 3)
    contents = Contents()
    with DecodeAhead([10, 1, 4, 30], {10, 1, 30}, contents.reads, contents.decodes, nothing) as decoded:
        for number in (10, 1, 10, 1, 4, 30, 1, 30, 10, 4):
            assert decoded.content(number) == b"%d" % number
    numbers = [number for number, _ in contents.decoded]
    assert {number: numbers.count(number) for number in numbers} == {10: 2, 1: 1, 4: 2, 30: 1}


def test_little_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_BYTES", 200)
    contents = Contents(99)
    with contents.ahead(list(range(50))) as decoded:
        for number in range(50):
            assert decoded.content(number) == b"%d" % number
            assert len(contents.read) <= number + 3


def test_little_waits_of_contents_that_are_larger_than_their_payloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_BYTES", 2000)
    contents = Contents()
    with DecodeAhead(range(50), (), contents.reads, contents.decodes, lambda *_: 990) as decoded:
        for number in range(50):
            assert decoded.content(number) == b"%d" % number
            assert len(contents.read) <= number + 4


def test_a_content_that_is_large_itself_is_decoded_alone() -> None:
    contents = Contents()
    with DecodeAhead(range(3), (), contents.reads, contents.decodes, lambda *_: 17 << 20) as decoded:
        assert [decoded.content(number) for number in range(3)] == [b"0", b"1", b"2"]
    assert contents.decoded == [(0, True), (1, True), (2, True)]


def test_a_large_content_is_decoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_BYTES", 200)
    busy = threading.Lock()
    sizes = {0: 9, 1: 1000, 2: 9, 3: 9, 7: 1000}

    def decode(number: int, payload: bytes, _old: bytes) -> bytes:
        if sizes[number] > 200:
            assert busy.acquire(blocking=False)
            assert threading.current_thread() is threading.main_thread()
            busy.release()
            return payload
        with busy:
            threading.Event().wait(0.02)
        return payload

    with DecodeAhead([0, 1, 2, 3], (), lambda number: (b"p" * sizes[number], b""), decode, nothing) as decoded:
        for number in (0, 1, 2, 7, 3):
            assert len(decoded.content(number)) == sizes[number]


def test_an_error_is_raised_for_the_content_that_is_damaged() -> None:
    def decode(number: int, _payload: bytes, _old: bytes) -> bytes:
        if number == 1:
            raise DeltaError("content 1 is damaged")
        return b""

    with DecodeAhead([0, 1, 2], (), Contents().reads, decode, nothing) as decoded:
        assert decoded.content(0) == b""
        with pytest.raises(DeltaError, match="content 1 is damaged"):
            decoded.content(1)
        assert decoded.content(2) == b""


def test_nothing_more_is_decoded_after_the_end() -> None:
    begun, free = threading.Event(), threading.Event()
    contents = Contents()

    def decode(number: int, payload: bytes, old: bytes) -> bytes:
        begun.set()
        free.wait(60)
        return contents.decodes(number, payload, old)

    with DecodeAhead(list(range(9)), (), contents.reads, decode, nothing) as decoded:
        begun.wait(60)
        waiting = [future for _, future in decoded._started.values()][1:]
        assert waiting
        waiting[-1].add_done_callback(lambda _: free.set())  # when the end has cancelled them
    assert len(contents.decoded) == 1
