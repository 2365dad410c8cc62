"""The bound of the memory that requests use at a time."""

from __future__ import annotations

import platform
import random
import subprocess
import sys
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
    for queued, (name, size) in enumerate((("large", 100), ("little", 1)), 1):
        threads.append(threading.Thread(target=list, args=(ask(name, size),)))
        threads[-1].start()
        deadline = time.monotonic() + 60
        while len(memory._queue) < queued and time.monotonic() < deadline:
            time.sleep(0.001)
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


# Prints the pages that were given anew for 100 buffers one after another, and the bytes that stay of 64 at a time.
BUFFERS = """
import ctypes, resource
from pathlib import Path
from nixoci.substituter.memory import return_freed_memory

return_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def buffer(size):
    block = library.malloc(size)
    ctypes.memset(block, 1, size)
    return block

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

library.free(buffer(SIZE))
before = faults()
for _ in range(100):
    library.free(buffer(SIZE))
again = faults() - before
before = resident()
for block in [buffer(SIZE) for _ in range(64)]:
    library.free(block)
print(again, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("size", [512 << 10, 1 << 20])
def test_the_buffers_of_a_codec_are_used_again_and_given_back_if_they_are_many(size: int) -> None:
    program = [sys.executable, "-c", BUFFERS.replace("SIZE", str(size))]
    again, stays = map(int, subprocess.run(program, check=True, capture_output=True, text=True).stdout.split())
    assert again < 1000  # of 12 800 or more pages
    assert stays < 12 << 20  # of 32 MiB or more
