"""`nixoci register docker` and `containerd` of 200 images: all of them new, and again without a change."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.bench_growth import IMAGE, LONG, PATHS, cost
from tests.engines.docker.place import Place, write_large_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.machine import Machine

COUNT = 200
ROUNDS = 10


def test_docker(tmp_path: Path, report: Callable[[str], None]) -> None:
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
    show(report, "docker", taken)


def test_containerd(machine: Machine, report: Callable[[str], None]) -> None:
    folder = "/home/register"
    machine.run(["python3", "-c", IMAGE, f"{folder}/layout", "10", "0", "1"])
    machine.run(["nixoci", "extract", f"oci:{folder}/layout", "/root/one", "--name", "one"])
    machine.run(["mkdir", f"{folder}/paths"])
    machine.run(["python3", "-c", PATHS, f"{folder}/paths", str(COUNT), "100"], timeout=LONG)
    paths = [f"{folder}/paths/{number}" for number in range(COUNT)]
    machine.run(["nixoci", "image-store", f"{folder}/store", *paths], timeout=LONG)
    machine.run(["systemctl", "start", "containerd"])
    taken: dict[str, list[float]] = {"new": [], "again": []}
    for number in range(2):
        register = ["nixoci", "register", "containerd", f"{folder}/store", "--namespace", f"round{number}"]
        for count, times in zip((1, ROUNDS // 2), taken.values(), strict=True):
            times += [cost(machine, register).seconds for _ in range(count)]
    show(report, "containerd", taken)


def show(report: Callable[[str], None], engine: str, taken: dict[str, list[float]]) -> None:
    report(f"{f'{engine}, {COUNT} images, s':24} {'best':>6} {'median':>7} {'ratio':>6}")
    for name, times in taken.items():
        report(f"{name:24} {min(times):6.3f} {median(times):7.3f} {median(times) / median(taken['new']):6.2f}")
