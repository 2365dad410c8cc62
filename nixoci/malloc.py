"""The C library's memory."""

from contextlib import suppress


def return_free_memory() -> None:
    """Give memory that is free back to the system, on C libraries that can.

    glibc keeps freed blocks of up to 32 MiB for later ones, in each of the threads that freed them.
    """
    import ctypes  # noqa: PLC0415 - it takes a while, and not all need it

    with suppress(AttributeError):  # of musl and macOS
        ctypes.CDLL(None).malloc_trim(0)


def keep_free_memory() -> None:
    """Let the C library keep what is freed for later blocks, so that these have pages already; up to some 60 MiB.

    glibc gives free memory back at once, until a large block is freed: that such blocks come and go is its sign to keep
    them (mallopt(3), M_MMAP_THRESHOLD). For a process that ends with its work.
    """
    block = bytes(31 << 20)  # the largest that counts has 32 MiB; its pages are not touched
    del block
