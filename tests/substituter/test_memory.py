"""The bound of the memory that requests use at a time."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from nixoci.substituter.body import START, TooLateError, Waiting
from nixoci.substituter.memory import Memory
from tests.substituter.test_body import Out, body_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def waiting(pause: float = 5.0) -> Waiting:
    return Waiting(body_of(START + b"x", Out()), pause=pause)


def test_no_more_is_held_than_there_is() -> None:
    memory = Memory(100)
    held = 0
    most = 0
    lock = threading.Lock()

    def work(size: int) -> None:
        nonlocal held, most
        with memory.reserve(size, waiting()):
            with lock:
                held += size
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= size

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, [random.Random(number).randint(1, 60) for number in range(200)]))
    assert 50 < most <= 100
    with memory.reserve(100, waiting()):
        pass


def test_more_than_all_is_all() -> None:
    with Memory(100).reserve(1000, waiting()):
        pass


def test_the_first_to_ask_is_the_first_to_get_it() -> None:
    """A large request is not overtaken for ever by little ones."""
    memory = Memory(100)
    order: list[str] = []

    def ask(name: str, size: int) -> Iterator[None]:
        with memory.reserve(size, waiting()):
            order.append(name)
            yield

    first = ask("first", 60)
    next(first)
    threads = []
    for name, size in (("large", 100), ("little", 1)):
        threads.append(threading.Thread(target=list, args=(ask(name, size),)))
        threads[-1].start()
        time.sleep(0.05)
    assert order == ["first"]
    list(first)
    for thread in threads:
        thread.join()
    assert order == ["first", "large", "little"]


def test_who_waits_too_long_gives_up_and_is_forgotten() -> None:
    memory = Memory(100)
    with memory.reserve(60, waiting()):
        with pytest.raises(TooLateError), memory.reserve(60, waiting(0.001)):
            pass
        with memory.reserve(40, waiting()):
            pass
