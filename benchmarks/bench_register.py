"""`nixoci register docker` of 200 images: all of them new, and again without a change."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from tests.engines.docker.place import Place, write_large_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT = 200
ROUNDS = 10


def test_register(tmp_path: Path, report: Callable[[str], None]) -> None:
    store = tmp_path / "store"
    write_large_store(store, COUNT)
    taken: dict[str, list[float]] = {"new": [], "again": []}
    for number in range(ROUNDS):
        place = Place(tmp_path / str(number), tmp_path)
        place.make()
        for times in taken.values():
            before = time.perf_counter()
            place.register(store)
            times.append(time.perf_counter() - before)
    report(f"{'200 images, s':14} {'best':>6} {'median':>7} {'ratio':>6}")
    for name, times in taken.items():
        report(f"{name:14} {min(times):6.3f} {median(times):7.3f} {median(times) / median(taken['new']):6.2f}")
