"""Counts of what was fetched and of what deltas saved, in Prometheus' text format, version 0.0.4."""

from collections import Counter
from enum import Enum
from threading import Lock

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Way(Enum):
    """A way in which Nix got a NAR."""

    REBUILT = "rebuilt"
    """Made from a delta and paths that are here."""
    WHOLE = "whole"
    """Fetched, because it could not be rebuilt, or too little of the delta was wanted."""
    PASSED = "passed"
    """Passed on as the cache has it; no delta makes it."""


class Kind(Enum):
    """A kind of file of the cache."""

    INDEX = "index"
    DELTA = "delta"
    NARINFO = "narinfo"
    NAR = "nar"
    OTHER = "other"

    @classmethod
    def of(cls, path: str) -> "Kind":
        """Return the kind of a file by its path in the cache."""
        file = path.partition("?")[0]
        for kind, ends in _ENDS.items():
            if file.endswith(ends):
                return kind
        return cls.NAR if file.startswith("nar/") else cls.OTHER


_ENDS = {
    Kind.INDEX: ("deltas/index.json.zst",),
    Kind.DELTA: (".nxd",),
    Kind.NARINFO: (".narinfo", ".narinfos.zst"),
}

_NARS = "nixoci_substituter_nars_total"
_FETCHED = "nixoci_substituter_fetched_bytes_total"
_REPLACED = "nixoci_substituter_replaced_bytes_total"
_FAILED = "nixoci_substituter_failed_deltas_total"
_HELP = {
    _NARS: "NARs that Nix got, by the way: rebuilt, whole (rebuilding failed, or did not pay) or passed (in no delta).",
    _FETCHED: "Bytes of files that were fetched from the cache, by their kind.",
    _REPLACED: "Bytes of NARs, as the cache has them compressed, that were rebuilt and not fetched.",
    _FAILED: "Deltas that were damaged, could not be fetched or made a wrong NAR.",
}


class Metrics:
    """The counts since the start; several threads may count."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        for way in Way:
            self._add(_NARS, 0, way=way.value)
        for kind in Kind:
            self._add(_FETCHED, 0, kind=kind.value)
        self._add(_REPLACED, 0)
        self._add(_FAILED, 0)

    def nar(self, way: Way, *, replaced: int = 0) -> None:
        """Count a NAR that Nix got, and the bytes that were not fetched for it."""
        self._add(_NARS, 1, way=way.value)
        self._add(_REPLACED, replaced)

    def fetched(self, kind: Kind, size: int) -> None:
        """Count bytes of a file of the cache."""
        self._add(_FETCHED, size, kind=kind.value)

    def failed_delta(self) -> None:
        """Count a delta that failed."""
        self._add(_FAILED, 1)

    def render(self) -> str:
        """Return all counts as text."""
        with self._lock:
            counts = list(self._counts.items())
        lines = []
        for name, text in _HELP.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
            lines += [f"{name}{labels} {count}" for (each, labels), count in counts if each == name]
        return "".join(f"{line}\n" for line in lines)

    def _add(self, name: str, count: int, **labels: str) -> None:
        shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
        with self._lock:
            self._counts[name, f"{{{shown}}}" if shown else ""] += count
