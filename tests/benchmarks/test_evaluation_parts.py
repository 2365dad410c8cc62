"""Sections of the page, from figures that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.evaluation import bandwidth, limits, links, storage
from benchmarks.evaluation.conclusions import conclusions
from benchmarks.evaluation.model import Evaluation, Result, Row
from benchmarks.evaluation.mounts_driver import EROFS, LAYERS, READ_ONLY, TITLES, TWO_OVERLAYS, WRITABLE
from benchmarks.evaluation.page import render_page
from benchmarks.evaluation.statements import Outcome

Figure = tuple[str, str, str, str, tuple[float, ...]]
"""The table, subject, variant, unit and samples of a row."""

MACHINE = {"processors": "2 x fast", "memory": "8 GB", "kernel": "6.18"}


def made(*rows: Figure) -> Result:
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


def installed() -> list[Figure]:
    """Rows of first installs, and of one image over a link of 100 Mbit/s without a limit and with it."""
    costs = {
        links.PULL: (50e6, 2.0, 6.5),
        links.REGISTRY: (50e6, 3.0, 0),
        links.COPY: (40e6, 1.0, 4.2),
        links.DELTA: (20e6, 1.5, 3.1),
    }
    rows = []
    for way, (size, seconds, limited) in costs.items():
        rows += [("install", "nginx", way, "B", (size,)), ("install", "nginx", way, "s", (seconds, seconds))]
        rows.append(("install", "nginx", way, "processor s", (seconds / 2, seconds / 2)))
        if limited:
            rows += [("links", "first install", way, "B", (size,)), ("links", "first install", way, "s", (9.0,))]
            rows.append(("links", "first install", way, "processor s", (seconds,)))
            rows.append(("links", "first install, 100 Mbit/s", way, "s", (limited,)))
    return rows


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


def test_memory_is_compared_with_that_of_layers() -> None:
    result = stored()
    less = tuple(
        replace(row, samples=(4e6,)) if (row.table, row.variant) == ("memory", storage.OPTIMISED) else row
        for row in result.rows
    )
    text = conclusions(Evaluation(parts={"storage": replace(result, rows=less)}))
    assert "equal files of different images are one file: 20 % less than from layers" in text


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


def test_what_was_computed_stands_beside_what_was_measured() -> None:
    result = made(*installed())
    lines = links.report(result)
    # 50 MB take 4 s, and then two more
    assert links.computed(result)["first install, 100 Mbit/s", links.PULL] == (6.0, 6.5)
    assert "| first install, 100 Mbit/s | 6.00 | 6.50 | 4.20 | 4.20 | 3.10 | 3.10 |" in lines


def test_first_installs_are_compared_with_a_pull() -> None:
    text = conclusions(Evaluation(parts={"bandwidth": replace(sent(), rows=sent().rows + made(*installed()).rows)}))
    assert "nix copy, zstd 0.80 times the bytes and 0.50 times the seconds" in text
    assert "nixoci delta 0.40 times the bytes and 0.75 times the seconds" in text
    assert "Over links of 100 Mbit/s, installs and updates" in text
    assert "took 1.00 to 1.08 times what bytes and work add up to" in text


def test_a_part_without_first_installs_says_nothing_of_them() -> None:
    assert links.report(sent()) == []
    assert "First install" not in conclusions(Evaluation(parts={"bandwidth": sent()}))


def test_the_rate_above_which_copies_are_faster_is_said() -> None:
    text = conclusions(Evaluation(parts={"bandwidth": sent()}))
    assert "Above 159 Mbit/s, by image, `nix copy` of whole paths is faster" in text


def test_a_host_names_its_images_and_their_builders() -> None:
    listed = [
        ("images", name, how, unit, samples)
        for name, how in (("nginx", "buildah, upon one base"), ("caddy", "mmdebstrap, without a base"))
        for unit, samples in (("B", (77e6, 78e6)), ("layers", (3.0, 3.0)))
    ]
    result = stored()
    result = replace(result, rows=made(*listed).rows + result.rows)
    assert storage.on_one_base(result) == 1
    assert "| caddy | mmdebstrap, without a base | 3 | 77.0 | 78.0 |" in storage.report(result).splitlines()
    text = conclusions(Evaluation(parts={"storage": result}))
    assert "10 % less for 1 image on one base, 25 % less for 11 images of several builders" in text


def test_operations_that_take_longer_are_said() -> None:
    rows = [
        ("operations", "open, warm, writable", variant, "s", tuple(seconds * factor for factor in (1, 1.01, 1.02) * 2))
        for variant, seconds in ((LAYERS, 2.0), (EROFS, 2.0), (TWO_OVERLAYS, 3.0))
    ]
    text = conclusions(Evaluation(parts={"runtime": made(*rows)}))
    assert "in a container of units of systemd and bundles, warm open 1.50 times." in text
    assert "in a container of podman" not in text


def test_operations_that_take_less_or_differ_with_a_cold_cache_are_said_too() -> None:
    rows = [
        (
            "operations",
            f"{operation}, cold, writable",
            variant,
            "s",
            tuple(seconds * factor for factor in (1, 1.01, 1.02) * 2),
        )
        for operation, ours in (("stat", 50.0), ("open and read", 200.0))
        for variant, seconds in ((LAYERS, 100.0), (EROFS, ours), (TWO_OVERLAYS, 100.0))
    ]
    text = conclusions(Evaluation(parts={"runtime": made(*rows)}))
    assert "in a container of podman, cold open and read 2.00 times, stat 0.50 times." in text


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        ((1.0, 2.1, 2.9), "With a cold cache: all within the spread."),
        ((2.0, 4.0, 6.0), "imports its library 2.00 times in 3 samples, too few to tell (2.00–2.00)."),  # noqa: RUF001
    ],
)
def test_work_with_a_cold_cache_is_said_where_it_differs(ours: tuple[float, ...], says: str) -> None:
    subject = f"{TITLES['python']}, cold"
    rows = [("work", subject, LAYERS, "s", (1.0, 2.0, 3.0)), ("work", subject, EROFS, "s", ours)]
    assert says in conclusions(Evaluation(parts={"runtime": made(*rows)}))


def test_starts_are_compared_with_podman() -> None:
    assert "podman takes 100 ms, bundle 50 ms (0.50 times)." in conclusions(Evaluation(parts={"runtime": ran()}))


def test_statements_are_counted_by_what_they_say() -> None:
    failing = next(probe for probe in limits.PROBES if probe.outcome is Outcome.FAILS)
    text = conclusions(Evaluation(parts={"limits": made(("probe", failing.about, failing.says, "true", (1.0,)))}))
    assert f"With podman these fail: {failing.about}." in text


@pytest.mark.parametrize("true", [True, False])
def test_a_statement_that_is_not_true_is_named(true: bool) -> None:
    assert ("NOT TRUE HERE" in limits.report(probed(true=true))) != true


def test_peers_are_all_methods_that_were_measured() -> None:
    rows = list(bandwidth.read_peers(None))  # type: ignore[arg-type]  # needs no machine
    assert {"tree, tar-diff", "tree, ostree static delta", "files, FastCDC chunks, xz"} <= {row.variant for row in rows}
    assert len({row.subject for row in rows}) >= 10


def test_every_table_of_updates_has_its_commands() -> None:
    tables = [f"{end}{what}" for end in ("receive", "send") for what in ("", ", processor", ", memory")]
    methods = (bandwidth.PULL, bandwidth.OURS, bandwidth.FAST)
    rows: list[Figure] = [(each, "nginx", method, "s", (1.0, 2.0)) for each in tables for method in methods]
    rows += [("update", "nginx", method, "B", (1e6,)) for method in methods]
    summaries = [line for line in bandwidth.report(made(*rows)).splitlines() if line.startswith("<details>")]
    for each in ["update", *tables]:
        assert any(f"`{each}`" in line for line in summaries), each
    assert sum("samples of each figure: 2<" in line for line in summaries) == 3


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        ({"nginx": (1.8, 2.1), "redis": (2.0, 2.4)}, "seconds within the spread (0.90–1.20)"),  # noqa: RUF001
        ({"nginx": (1.8, 2.1), "redis": (3.0, 3.0)}, "seconds within the spread for nginx, 1.50 times for redis"),
        ({"nginx": (4.0, 4.0), "redis": (3.0, 3.0)}, "1.50 to 2.00 times the seconds"),
    ],
)
def test_seconds_of_an_install_within_the_spread_are_called_so(ours: dict[str, tuple[float, ...]], says: str) -> None:
    rows: list[Figure] = []
    for name, seconds in ours.items():
        for way in (links.PULL, links.REGISTRY, links.COPY, links.DELTA):
            rows += [("install", name, way, "B", (1e6,))]
            rows += [("install", name, way, "s", seconds if way == links.DELTA else (2.0, 2.0))]
    text = conclusions(Evaluation(parts={"bandwidth": replace(sent(), rows=sent().rows + made(*rows).rows)}))
    assert f"nixoci delta 1.00 times the bytes and {says}" in text
    assert "in 2 samples of each, nginx, redis take by" in text


def test_measured_seconds_over_a_link_have_their_spread() -> None:
    once = made(*installed())
    rows = [replace(row, samples=(2.0, 2.5, 2.6)) if "Mbit/s" in row.subject else row for row in once.rows]
    assert any(
        "| first install, 100 Mbit/s | 6.00 | 2.50 ± 0.50 |" in line
        for line in links.report(replace(once, rows=tuple(rows)))
    )
