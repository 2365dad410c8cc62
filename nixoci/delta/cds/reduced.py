"""Archives without what follows from the rest: the reduced form, which is of the same size, and the way back."""

from dataclasses import dataclass

from nixoci.delta.cds.bitmap import Bitmap, find_bitmap, flip_bitmap
from nixoci.delta.cds.symbols import SymbolTable, blank_table, fill_table, find_table


@dataclass(frozen=True, slots=True)
class Derived:
    """The parts of an archive that follow from the rest; None for those that are not there or do not follow.

    Attributes:
        table: The table of symbols.
        bitmap: The bitmap of pointers.
    """

    table: SymbolTable | None = None
    bitmap: Bitmap | None = None


def find_derived(content: bytes, address: int) -> Derived:
    """Return the parts of an archive that follow from the rest."""
    found = Derived(find_table(content), find_bitmap(content, address))
    try:
        if restore(reduce(content, found, address), found, address) == content:
            return found
    except ValueError:
        pass
    return Derived()


def reduce(content: bytes, derived: Derived, address: int) -> bytes:
    """Return the reduced form of an archive.

    Raises:
        ValueError: It has no such parts.
    """
    reduced = bytearray(content)
    if derived.bitmap is not None:
        flip_bitmap(reduced, derived.bitmap, address)
    if derived.table is not None:
        blank_table(reduced, derived.table)
    return bytes(reduced)


def restore(reduced: bytes, derived: Derived, address: int) -> bytes:
    """Undo `reduce`.

    Raises:
        ValueError: It has no such parts.
    """
    content = bytearray(reduced)
    if derived.table is not None:
        fill_table(content, derived.table)
    if derived.bitmap is not None:
        flip_bitmap(content, derived.bitmap, address)
    return bytes(content)
