"""The C library's memory."""

import ctypes
from contextlib import suppress


def return_free_memory() -> None:
    """Give memory that is free back to the system, on C libraries that can.

    glibc keeps freed blocks of up to 32 MiB for later ones, in each of the threads that freed them.
    """
    with suppress(AttributeError):  # of musl and macOS
        ctypes.CDLL(None).malloc_trim(0)
