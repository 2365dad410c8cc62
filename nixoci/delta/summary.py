"""The figures of a delta that was made."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Totals:
    """Segments that travel in one way: their number, their bytes, and the bytes of their payloads."""

    count: int
    size: int
    payload: int


@dataclass(slots=True, kw_only=True)
class SendSummary:
    """The figures of a delta; sizes are bytes. `by` has the totals of `kept` segments and of each codec's name."""

    paths: int
    bases: int
    nar_size: int
    delta_size: int
    by: dict[str, Totals]

    def add(self, way: str, size: int, payload: int = 0) -> None:
        """Count one segment."""
        totals = self.by.setdefault(way, Totals(count=0, size=0, payload=0))
        totals.count += 1
        totals.size += size
        totals.payload += payload

    def grow(self, size: int) -> None:
        """Count bytes of the delta."""
        self.delta_size += size
