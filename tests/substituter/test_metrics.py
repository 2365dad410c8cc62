"""The counts say what was fetched and what was saved, in a format that Prometheus reads."""

from __future__ import annotations

import logging
import re
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import pytest

from nixoci.substituter.metrics import Kind, Metrics
from tests.substituter.site import NEW_APP, NEW_LIB, OLD_LIB, OTHER, Site, site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEW = (NEW_LIB, NEW_APP)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site(tmp_path, monkeypatch) as running:
        yield running


def size_of(machine: Site, pattern: str) -> int:
    return sum(file.stat().st_size for file in machine.folder.glob(pattern))


def test_an_update_is_counted(machine: Site) -> None:
    for path in (NEW_APP, NEW_LIB, OTHER):
        machine.narinfo(path)
    for path in (*NEW, OTHER):
        machine.fetch(path)
    found = machine.counts_after(3)
    assert found['nars_total{way="rebuilt"}'] == 2
    assert found['nars_total{way="whole"}'] == 0
    assert found['nars_total{way="passed"}'] == 1
    assert found["replaced_bytes_total"] == machine.download
    assert found["failed_deltas_total"] == 0
    assert found['fetched_bytes_total{kind="delta"}'] == size_of(machine, "deltas/*.nxd")
    assert found['fetched_bytes_total{kind="index"}'] == size_of(machine, "deltas/index.json.zst")
    other = size_of(machine, f"{OTHER[11:43]}.narinfo")
    assert found['fetched_bytes_total{kind="narinfo"}'] == sum(
        (size_of(machine, "deltas/*.narinfos.zst"), size_of(machine, f"{NEW_APP[11:43]}.narinfo"), 2 * other)
    )
    nar = size_of(machine, machine.narinfo(OTHER)["URL"])
    assert found['fetched_bytes_total{kind="nar"}'] == nar


def test_a_delta_that_fails_is_counted(machine: Site) -> None:
    machine.web.fault = lambda path: 404 if path.endswith(".nxd") else None
    for path in (NEW_APP, NEW_LIB):
        machine.narinfo(path)
    for path in NEW:
        machine.fetch(path)
    found = machine.counts_after(2)
    assert found['nars_total{way="whole"}'] == 2
    assert found['nars_total{way="rebuilt"}'] == found["replaced_bytes_total"] == 0
    assert found["failed_deltas_total"] == 1


def test_a_delta_that_makes_a_wrong_nar_is_counted(machine: Site) -> None:
    library = machine.real / OLD_LIB[11:] / "lib.so"
    library.chmod(0o644)
    with library.open("r+b") as opened:
        opened.seek(5000)
        opened.write(b"?")
    machine.narinfo(NEW_APP)
    with pytest.raises(IncompleteRead):
        machine.fetch(NEW_LIB)
    found = machine.counts()
    assert found["failed_deltas_total"] == 1
    assert {way: found[f'nars_total{{way="{way}"}}'] for way in ("rebuilt", "whole")} == {"rebuilt": 0, "whole": 0}


def test_prometheus_reads_them() -> None:
    """By its text format: help and type before the samples of a name, and no sample twice."""
    metrics = Metrics()
    lines = metrics.render().splitlines()
    assert metrics.render().endswith("\n")
    name, seen = "", set()
    for line in lines:
        if found := re.fullmatch(r"# (HELP|TYPE) ([a-z_]+) (.+)", line):
            name = found[2]
            assert found[1] == "HELP" or found[3] == "counter"
            continue
        found = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[a-z]+"\})? [0-9]+', line)
        assert found is not None, line
        assert found[1] == name
        assert name.endswith("_total")
        assert found[1] + str(found[2]) not in seen
        seen.add(found[1] + str(found[2]))
    assert seen


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("deltas/index.json.zst", Kind.INDEX),
        ("deltas/x.nxd", Kind.DELTA),
        ("deltas/x.narinfos.zst", Kind.NARINFO),
        ("abc.narinfo", Kind.NARINFO),
        ("nar/x.nar.zst?hash=1", Kind.NAR),
        ("log/x.drv", Kind.OTHER),
        ("nix-cache-info", Kind.OTHER),
    ],
)
def test_kinds_of_files(path: str, kind: Kind) -> None:
    assert Kind.of(path) is kind


def test_what_a_delta_was_good_for_is_logged_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with site(tmp_path, monkeypatch) as machine:
        for path in (NEW_APP, NEW_LIB):
            machine.narinfo(path)
        for path in (*NEW, *NEW):
            machine.fetch(path)
        size, download, file = size_of(machine, "deltas/*.nxd"), machine.download, machine.delta[7:]
    expected = f"{file}: 2 of 2 paths were rebuilt, from {size} bytes in place of {download}"
    assert caplog.messages.count(expected) == 1
