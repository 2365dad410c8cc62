"""The narinfos of a release come in one file once Nix wants the release, and one by one if that file is no good."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from nixoci.compression import compress, decompress
from nixoci.nix_store.hashes import to_sri
from nixoci.publish.narinfos import pack
from nixoci.substituter import narinfos as module
from nixoci.substituter.narinfos import ReleaseNarinfos
from tests.substituter.site import NEW_APP, NEW_LIB, OLD_APP, OTHER, QUICK, Site, site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.substituter.web import Fault

NEW = (NEW_LIB, NEW_APP)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site(tmp_path, monkeypatch) as running:
        yield running


def file_of(machine: Site) -> str:
    narinfos = machine.index().releases[0].narinfos
    assert narinfos is not None
    return f"deltas/{narinfos.file}"


def single(machine: Site) -> int:
    """Return how many narinfos were asked for by themselves, such as that of the root with which a file is compared."""
    return sum(path.endswith(".narinfo") for path in machine.web.asked)


def is_as_in_the_cache(machine: Site, path: str) -> bool:
    """Say whether the answer for a path has the signed lines of its narinfo, and the address of the rebuilt NAR."""
    found = machine.narinfo(path)
    original = (machine.folder / f"{path[11:43]}.narinfo").read_text(encoding="ascii").splitlines()
    signed = ("StorePath", "NarHash", "NarSize", "References", "Sig")
    return found["URL"].startswith("rebuilt/") and all(f"{key}: {found[key]}" in original for key in signed)


def test_the_root_of_a_release_brings_the_narinfos_of_all(machine: Site) -> None:
    for path in (NEW_APP, NEW_LIB, NEW_APP):
        assert is_as_in_the_cache(machine, path)
        assert machine.fetch(path) == machine.nars[path]
    assert (machine.web.count(file_of(machine)), single(machine)) == (1, 1)
    assert machine.web.count(f"{NEW_APP[11:43]}.narinfo") == 1


def test_so_does_a_part_that_is_worth_the_delta(machine: Site) -> None:
    for _ in range(3):
        assert is_as_in_the_cache(machine, NEW_LIB)
    assert (machine.web.count(file_of(machine)), single(machine)) == (1, 2)


def test_a_nar_that_is_asked_for_later_needs_no_narinfo_again(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.substituter.service._FRESH", 0.0)
    for path in (NEW_APP, NEW_LIB):
        machine.narinfo(path)
    for path in NEW:
        assert machine.ask(f"rebuilt/{path[11:43]}.nar") == (200, machine.nars[path])
    assert single(machine) == 1


def test_nothing_is_fetched_without_the_base(machine: Site) -> None:
    (machine.real / OLD_APP[11:]).rename(machine.real / "gone")
    for path in (NEW_APP, NEW_LIB, OTHER):
        assert machine.ask(f"{path[11:43]}.narinfo")[1] == (machine.folder / f"{path[11:43]}.narinfo").read_bytes()
    assert machine.web.count(file_of(machine)) == 0


@pytest.mark.parametrize("kind", [404, 500, "cut", b"", b"<html>", bytes(1 << 20)])
def test_each_is_asked_for_if_the_file_is_no_good(machine: Site, kind: Fault) -> None:
    """The file is asked for once, and the delta is used all the same."""
    file = file_of(machine)
    machine.web.fault = lambda path: kind if path == file else None
    for path in (NEW_APP, NEW_LIB):
        assert is_as_in_the_cache(machine, path)
    for path in NEW:
        assert machine.fetch(path) == machine.nars[path]
    assert machine.web.count(file) == 1
    assert single(machine) == 5
    assert machine.web.count("nar/") == 0


@pytest.mark.parametrize("kind", ["stall", "stall before", "drip"])
def test_each_is_asked_for_if_the_file_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Fault) -> None:
    with site(tmp_path, monkeypatch, patience=QUICK) as machine:
        monkeypatch.setattr("nixoci.substituter.service._FRESH", 60.0)
        file = file_of(machine)
        machine.web.fault = lambda path: kind if path == file else None
        for path in (NEW_APP, NEW_LIB):
            status, data = machine.ask(f"{path[11:43]}.narinfo")
            assert status == 200, data
        assert machine.web.count(file) == (2 if kind == "stall before" else 1), "a connection may have been closed"


def test_the_file_is_asked_for_again_after_a_while(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(machine)
    machine.web.fault = lambda path: 500 if path == file else None
    monkeypatch.setattr(module, "_RETRY", -1.0)
    machine.narinfo(NEW_APP)
    machine.web.fault = lambda _: None
    machine.narinfo(NEW_APP)
    assert (machine.web.count(file), single(machine)) == (2, 3), "twice the root, and once what the file lacked"


def publish(machine: Site, data: bytes) -> None:
    """Put another file in the place of the right one, under its own hash."""
    index = machine.folder / "deltas/index.json.zst"
    value = json.loads(b"".join(decompress([index.read_bytes()])))
    value["releases"][0]["narinfos"] = {"size": len(data), "sha256": to_sri(hashlib.sha256(data).digest())}
    index.write_bytes(compress(json.dumps(value).encode()))
    (machine.folder / file_of(machine)).write_bytes(data)


def test_a_file_without_the_path_is_of_no_use(machine: Site) -> None:
    data = pack([(machine.folder / f"{NEW_LIB[11:43]}.narinfo").read_bytes()])
    assert data is not None
    publish(machine, data)
    for path in (NEW_APP, NEW_LIB):
        assert is_as_in_the_cache(machine, path)
    assert (machine.web.count(file_of(machine)), single(machine)) == (1, 2)


def test_what_is_no_narinfo_is_left_to_nix(machine: Site) -> None:
    text = f"StorePath: {NEW_APP}\nnothing else\n".encode()
    data = pack([text])
    assert data is not None
    publish(machine, data)
    (machine.folder / f"{NEW_APP[11:43]}.narinfo").write_bytes(text)
    assert machine.ask(f"{NEW_APP[11:43]}.narinfo") == (200, text)


def sign(machine: Site) -> None:
    """Sign all paths of the cache by another key, as `nix store sign` does."""
    for path in NEW:
        with (machine.folder / f"{path[11:43]}.narinfo").open("a", encoding="ascii") as file:
            file.write("Sig: other-1:AAAA\n")


def test_a_file_from_before_the_paths_were_signed_anew_is_not_used(
    machine: Site, caplog: pytest.LogCaptureFixture
) -> None:
    sign(machine)
    for path in (NEW_APP, NEW_LIB):
        assert "Sig: other-1:AAAA\n" in machine.ask(f"{path[11:43]}.narinfo")[1].decode()
    for path in NEW:
        assert machine.fetch(path) == machine.nars[path]
    assert machine.web.count("nar/") == 0, "the delta is as good as before"
    (said,) = (record.getMessage() for record in caplog.records if "publish again" in record.getMessage())
    assert f"{NEW_APP[11:43]}.narinfo: not as in {file_of(machine)[7:]}, since the cache has changed" in said


def test_a_file_that_is_kept_is_compared_again_after_a_while(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY", -1.0)
    for times in (1, 2):
        assert is_as_in_the_cache(machine, NEW_APP)
        assert (machine.web.count(file_of(machine)), single(machine)) == (1, times)
    sign(machine)
    assert "Sig: other-1:AAAA\n" in machine.ask(f"{NEW_APP[11:43]}.narinfo")[1].decode()


def test_a_cache_without_the_root_is_asked_for_each(machine: Site) -> None:
    """Somebody has removed the release from the cache, and left the file."""
    (machine.folder / f"{NEW_APP[11:43]}.narinfo").unlink()
    assert machine.ask(f"{NEW_APP[11:43]}.narinfo")[0] == 404
    assert is_as_in_the_cache(machine, NEW_LIB)


def test_a_few_files_are_kept(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILES", 1)
    published = []
    for path in NEW:
        data = pack([(machine.folder / f"{path[11:43]}.narinfo").read_bytes()])
        assert data is not None
        publish(machine, data)
        published.append(machine.index().releases[0])
    narinfos = ReleaseNarinfos(machine.shelf._upstream)
    for fetch in (True, False, True):
        for path, each in zip(NEW, published, strict=True):
            assert (narinfos.get(each, path[11:43], fetch=fetch) is not None) == (fetch or path == NEW_APP)
    assert sum(path.endswith(".narinfos.zst") for path in machine.web.asked) == 4
