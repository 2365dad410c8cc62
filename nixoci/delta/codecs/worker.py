"""The program of the worker process, which decodes contents for the process that reads them (`delta/worker.py`).

It answers requests on its standard input, a socket. With each come two descriptors: a file in memory that holds the
payload and the old segment, and later the content; and a pipe for the answer. It ends with the socket.
"""

import os
import resource
import select
import signal
import socket
import struct
from contextlib import suppress
from importlib import import_module

from nixoci.delta.codecs.elf import ELF
from nixoci.delta.codecs.model import corruption_named
from nixoci.errors import DeltaError
from nixoci.malloc import return_free_memory
from nixoci.openat import read_range

READY = b"+"
"""The byte that it writes to its standard output once it can decode."""
REQUEST = struct.Struct("<QQ")
"""The bytes of the payload, and the largest size of the content."""
CODEC = ELF
"""The codec of all payloads. To load the others too would take a quarter of the time to get ready."""
DONE, FAILED = b"+", b"-"
"""The first byte of an answer; after `FAILED` comes the text of the error."""
MAX_ANSWER = 1 << 11
"""Bytes of an answer, which a pipe takes as a whole."""

_IDLE = 1.0
"""Seconds without a request after which free memory goes back to the system."""


def main(memory: str) -> None:
    """Answer requests until the socket is closed.

    Args:
        memory: Bytes of private memory that the process may have (setrlimit(2), RLIMIT_DATA); 0 for no bound.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the reader ends this process in its own time
    if int(memory):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = int(memory) if hard == resource.RLIM_INFINITY else min(int(memory), hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    import_module("nixoci.delta.elf.codec")  # else the first content would wait for it
    os.write(1, READY)
    with socket.socket(fileno=0) as requests:
        while True:
            if not select.select([requests], [], [], _IDLE)[0]:
                return_free_memory()
            request, descriptors, _, _ = socket.recv_fds(requests, REQUEST.size, 2)
            if not request:
                return
            content, to = descriptors
            with suppress(BrokenPipeError):  # nobody wants it any more
                os.write(to, _answer(request, content))
            for descriptor in descriptors:
                os.close(descriptor)


def _answer(request: bytes, file: int) -> bytes:
    """Put a content in the place of its payload and its old segment, and return the answer."""
    size, limit = REQUEST.unpack(request)
    try:
        payload, old = read_range(file, 0, size), read_range(file, size, os.fstat(file).st_size - size)
        os.ftruncate(file, 0)
        with corruption_named():
            put(file, CODEC.decode(payload, old, limit))
    except DeltaError as error:
        text = str(error)
    except Exception as error:  # noqa: BLE001 - its reader raises it
        text = f"a patch does not apply ({error!r})"
    else:
        return DONE
    return FAILED + text.encode("utf-8", "replace")[: MAX_ANSWER - len(FAILED)]


def put(file: int, *parts: bytes) -> None:
    """Write some parts from the start of a file on; both processes have one offset in it, which stays as it is."""
    at = 0
    for part in parts:
        rest = memoryview(part)
        while rest:
            count = os.pwrite(file, rest, at)
            at, rest = at + count, rest[count:]
