"""The constants of the tar format that its reader and its writer share (POSIX.1-2017 pax, ustar; GNU tar manual, D)."""

from zlib import adler32

from nixoci.tree.model import Kind

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
END_OF_ARCHIVE = bytes(2 * BLOCK)

HARDLINK_FLAG = b"1"
PAX_FLAG = b"x"
KIND_FLAGS = {
    Kind.REGULAR: b"0",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
"""The type flag of each kind of file."""

XATTR = b"SCHILY.xattr."
"""The prefix of a PAX record that holds an xattr."""

LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
"""The prefix of libarchive's PAX record of an xattr: its name is percent-encoded, its value base64."""


def sum_of_bytes(block: bytes) -> int:
    """Return the sum of the bytes of a header block.

    The lower half of the Adler-32 of at most 256 bytes is one more than their sum, and much faster than a loop.
    """
    half = BLOCK // 2
    return (adler32(block[:half]) & 0xFFFF) + (adler32(block[half:]) & 0xFFFF) - 2


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of `size` bytes of content."""
    return bytes(-size % BLOCK)


def show(name: bytes) -> str:
    """Return a name for a message: quoted, printable, and shortened."""
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 200 else text[:199] + "…")
