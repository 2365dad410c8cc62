"""Sections of the page, from figures that are made up."""

from __future__ import annotations

import pytest

from benchmarks.evaluation import bandwidth, limits, storage
from benchmarks.evaluation.conclusions import conclusions
from benchmarks.evaluation.model import Evaluation, Result, Row
from benchmarks.evaluation.mounts_driver import LAYERS, READ_ONLY, TITLES, WRITABLE
from benchmarks.evaluation.page import render_page

MACHINE = {"processors": "2 x fast", "memory": "8 GB", "kernel": "6.18"}
EROFS = "EROFS over the store"


def made(*rows: tuple[str, str, str, str, tuple[float, ...]]) -> Result:
    found = tuple(
        Row(table=table, subject=subject, variant=variant, unit=unit, samples=samples, command="c")
        for table, subject, variant, unit, samples in rows
    )
    return Result(measured="2026-11-29 12:00", seconds=60, machine=MACHINE, rows=found)


def stored() -> Result:
    sizes = {
        storage.STORAGE: (100, 400, 800, 420),
        "containers-storage, no base shared": (100, 900, 1800, 920),
        storage.NIX_STORE: (90, 800, 1600, 820),
        storage.OPTIMISED: (90, 300, 400, 310),
        storage.OBJECTS: (80, 250, 300, 260),
    }
    subjects = ("1 image", "11 images", "11 images and their updates", "the updates, after garbage collection")
    host = [
        ("host", subject, way, unit, (sizes[way][number] * scale,))
        for number, subject in enumerate(subjects)
        for way in sizes
        for unit, scale in (("B", 1e6), ("inodes", 1))
    ]
    memory = [("memory", "11 containers of as many images", way, "B", (5e6,)) for way in sizes]
    return made(*host, *memory)


def sent() -> Result:
    methods = {
        bandwidth.PULL: (80e6, 2.0),
        bandwidth.OURS: (0.2e6, 3.0),
        bandwidth.FAST: (2e6, 1.0),
        bandwidth.COPY: (40e6, 1.0),
    }
    rows = [("update", "nginx", method, "B", (size,)) for method, (size, _) in methods.items()]
    rows.append(("update", "nginx", bandwidth.FILES, "B", (10e6,)))
    rows += [("receive, processor", "nginx", method, "s", (seconds,)) for method, (_, seconds) in methods.items()]
    return made(*rows)


def ran() -> Result:
    operations = [
        ("operations", f"{operation}, {state}, {way}", variant, "s", (2e-6, 3e-6))
        for operation in ("stat", "open")
        for state in ("cold", "warm")
        for way, variants in (("read-only", READ_ONLY), ("writable", WRITABLE))
        for variant in variants
    ]
    work = [("work", f"{TITLES['python']}, warm", LAYERS, "s", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))]
    work.append(("work", f"{TITLES['python']}, warm", EROFS, "s", (1.1, 1.9, 3.3, 3.9, 5.5, 6.1)))
    work.append(("work", f"{TITLES['node']}, warm", LAYERS, "s", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)))
    work.append(("work", f"{TITLES['node']}, warm", EROFS, "s", (2.0, 4.0, 6.0, 8.0, 10.0, 12.0)))
    return made(
        *operations, *work, ("start", "start", "podman", "s", (0.1,)), ("start", "start", "bundle", "s", (0.05,))
    )


def probed(*, true: bool) -> Result:
    first = limits.PROBES[0]
    return made(("probe", first.about, first.says, "true", (float(true),)))


def test_the_page_of_all_parts_has_their_sections_and_pictures() -> None:
    parts = {"storage": stored(), "bandwidth": sent(), "runtime": ran(), "limits": probed(true=True)}
    page = render_page(Evaluation(parts=parts))
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## What follows", "## Storage and memory", "## Bandwidth", "## Run time", "## Limits"]
    for picture in ("storage", "bandwidth", "runtime"):
        assert f"(evaluation/{picture}.svg)" in page


def test_storage_is_compared_with_what_reupnix_published() -> None:
    text = conclusions(Evaluation(parts={"storage": stored()}))
    assert "25 % less for 11 images on one base" in text
    assert "50 % less for 11 images and their updates" in text
    assert "67 % less for 11 images that share no layer" in text
    assert "That holds here for 11 images on one base." in text


def test_garbage_collection_is_the_difference_of_both_states() -> None:
    text = conclusions(Evaluation(parts={"storage": stored()}))
    assert "gives back 380 MB of containers-storage and 90 MB of the optimised store" in text


def test_a_delta_is_worth_it_below_a_rate() -> None:
    lines = bandwidth.report(sent()).splitlines()
    # 39.8 MB less, two seconds more than nix copy; 79.8 MB and one second against a pull
    assert "| nginx | 638 | 159 | never | never |" in lines
    assert "| 20 | 34.00 | 3.08 | 1.80 | 17.00 |" in lines


def test_work_within_the_spread_is_called_so() -> None:
    text = conclusions(Evaluation(parts={"runtime": ran()}))
    assert f"{TITLES['python']}, warm: within the spread (0.95–1.10)" in text  # noqa: RUF001  # a range
    assert f"{TITLES['node']}, warm: 2.00 times (2.00–2.00)" in text  # noqa: RUF001


def test_few_samples_establish_no_difference() -> None:
    rows = [("work", f"{TITLES['gcc']}, warm", variant, "s", (s, s, s)) for variant, s in ((LAYERS, 1.0), (EROFS, 2.0))]
    text = conclusions(Evaluation(parts={"runtime": made(*rows)}))
    assert "2.00 times in 3 samples, too few to tell" in text


@pytest.mark.parametrize("true", [True, False])
def test_a_statement_that_is_not_true_is_named(true: bool) -> None:
    assert ("NOT TRUE HERE" in limits.report(probed(true=true))) != true


def test_peers_are_all_methods_that_were_measured() -> None:
    rows = list(bandwidth.read_peers(None))  # type: ignore[arg-type]  # needs no machine
    assert {"tree, tar-diff", "tree, ostree static delta", "files, FastCDC chunks, xz"} <= {row.variant for row in rows}
    assert len({row.subject for row in rows}) >= 10
