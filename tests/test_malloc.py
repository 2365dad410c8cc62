import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nixoci.malloc import return_free_memory


def resident() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library has no malloc_trim")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_free_goes_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    size = 96 << 10  # less than what the C library always gives back
    blocks = [library.malloc(size) for _ in range(600)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[:-1]:  # the last one keeps the others from being the end of the heap
        library.free(block)
    before = resident()
    return_free_memory()
    assert resident() < before - (40 << 20)
    library.free(blocks[-1])


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    return_free_memory()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_blocks_keep_their_pages() -> None:
    """In a process of its own, because it cannot be undone."""
    program = """
import resource, sys
from nixoci.malloc import keep_free_memory
if sys.argv[1:]:
    keep_free_memory()
for number in range(100):
    if number == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(b"x") * (1 << 20) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(*arguments: str) -> int:
        done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
        return int(done.stdout)

    # with large pages, as in Debian 13, these are a few thousand
    assert faults("keep") < faults() / 100
