"""Files read by blocks that fit into a processor's cache, all into one buffer."""

import os
from collections.abc import Iterator

from nixoci.delta.rewrite import Rewriter

_SIZE = 1 << 18


class BlockReader:
    """Reads files; a block that it yields is gone when the next is asked for."""

    def __init__(self) -> None:
        self._buffer = bytearray(_SIZE)
        self._view = memoryview(self._buffer)

    def read(self, handle: int, start: int, end: int, rewrite: Rewriter | None = None) -> Iterator[memoryview]:
        """Yield the bytes of an open file from `start` to `end`, their references rewritten; less where it ends early.

        With `rewrite`, what lies across `start` or `end` stays as it is.
        """
        view = self._view
        kept = 0
        while start < end and (count := os.preadv(handle, [view[kept : kept + end - start]], start)):
            start += count
            filled = kept + count
            final = rewrite.settle(self._buffer, filled, last=start == end) if rewrite else filled
            yield view[:final]
            kept = filled - final
            view[:kept] = view[final:filled]
