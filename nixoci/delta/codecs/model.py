"""The interface of a codec."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nixoci.errors import DeltaError

Decode = Callable[[bytes, bytes, int], bytes]
"""Takes a payload, an old segment and the largest allowed size, and returns the content. It may cut a larger content to
one byte more than that size, or raise. A damaged payload raises CorruptPayloadError, ValueError, EOFError or
MemoryError."""


class OldData:
    """An old segment that a codec may free before it has decoded: nobody else has it once it is taken."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)

    def __len__(self) -> int:
        """Return its bytes, also after it was taken."""
        return self._size

    def take(self) -> bytes:
        """Return it, once."""
        data, self._data = self._data, b""
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A form of payloads. The sender's half is a function of the codec's own module, called by `choose.encode`.

    Attributes:
        number: Its number in the format.
        name: Its name in summaries.
        version: The first version of the format that has it.
        uses_old: Whether decoding takes an old segment.
        declared: Returns the size that a payload declares for its content, which decoding does not exceed. A codec has
            it if decoding takes so long that it is worth a second thread; None for others.
        require: Checks that programs of this machine make the bytes that a payload relies on. A codec has it if they
            could make others, which decoding does not notice. A damaged payload raises what it raises in decoding.
        decode: The receiver's half.
    """

    number: int
    name: str
    version: int = 1
    uses_old: bool = True
    declared: Callable[[bytes], int] | None = None
    require: Callable[[bytes], None] | None = None
    decode: Decode


class CorruptPayloadError(Exception):
    """A payload is damaged, or does not belong to its old segment; the text says why."""


@contextmanager
def corruption_named() -> Iterator[None]:
    """Raise DeltaError for a damaged payload, in place of what a codec raises; it names neither path nor content."""
    try:
        yield
    except CorruptPayloadError as error:
        raise DeltaError(str(error)) from error
    except (EOFError, ValueError, MemoryError) as error:
        raise DeltaError(f"a patch does not apply ({error})") from error
