"""A cache of measured figures, keyed by what was measured: the store paths, the method and its program's version.

Store paths name their content, so a figure stays true as long as the program and its options are the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Row = dict[str, Any]
"""The figures of one method for one pair, as JSON."""


def remembered(folder: Path | None, parts: Sequence[str], measure: Callable[[], Row]) -> Row:
    """Return the row that an earlier run measured for the same parts, else measure it and keep it in the folder."""
    if folder is None:
        return measure()
    file = folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"
    if file.exists():
        row: Row = json.loads(file.read_text(encoding="utf-8"))
        return row
    row = measure() | {"measured": time.strftime("%Y-%m-%d", time.gmtime())}
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(row), encoding="utf-8")
    partial.rename(file)
    return row
