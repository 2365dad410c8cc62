"""Whatever the cache, the deltas and the store do, Nix gets the right NAR or an error, and soon."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPException, IncompleteRead
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.compression import compress, decompress
from nixoci.delta.codecs import registry
from nixoci.delta.codecs.registry import decode
from nixoci.delta.rebuild import Rebuilder
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError
from nixoci.nix_store.hashes import to_sri
from nixoci.publish.index import VERSION, Index
from nixoci.substituter.service import Service, raise_priority
from nixoci.substituter.shelf import Bounds
from nixoci.substituter.upstream import Patience, Upstream
from tests.delta.forgery import OTHER_HASH
from tests.delta.trees import delta as make_delta
from tests.delta.trees import store_path
from tests.substituter.site import NEW_APP, NEW_LIB, OLD_APP, OLD_LIB, OTHER, PATIENT, QUICK, Site, site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nixoci.nix_store.path import PathInfo
    from tests.substituter.web import Fault

NEW = (NEW_LIB, NEW_APP)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site(tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The same, with a substituter that waits for a second or two."""
    with site(tmp_path, monkeypatch, patience=QUICK) as running:
        yield running


def spooled(machine: Site) -> list[str]:
    return [file.name for file in (machine.real.parent / "spool").iterdir()]


def test_the_description_has_a_priority_over_the_cache(machine: Site) -> None:
    assert machine.ask("nix-cache-info") == (200, b"StoreDir: /nix/store\nPriority: 39\n")


@pytest.mark.parametrize(
    ("before", "after"), [(b"", -1), (b"Priority: 0\n", -1), (b"Priority:7", 6), (b"Priority: x", -1)]
)
def test_priorities(before: bytes, after: int) -> None:
    assert raise_priority(b"StoreDir: /nix/store\n" + before) == b"StoreDir: /nix/store\nPriority: %d\n" % after


def test_a_line_of_the_description_of_a_cache_ends_at_a_line_feed_only() -> None:
    text = "StoreDir: /nix/store\x0bPriority: 1\u2028x\n".encode()
    assert raise_priority(text) == text + b"Priority: -1\n"


def test_narinfos_of_a_delta_point_here_and_stay_signed(machine: Site) -> None:
    for path in NEW:
        info = machine.narinfo(path)
        assert info["URL"] == f"rebuilt/{path[11:43]}.nar"
        assert info["Compression"] == "none"
        original = (machine.folder / f"{path[11:43]}.narinfo").read_text(encoding="ascii").splitlines()
        kept = [
            line for line in original if line.split(":")[0] in {"StorePath", "NarHash", "NarSize", "References", "Sig"}
        ]
        assert len(kept) == 5
        assert {f"{key}: {info[key]}" for key in ("StorePath", "NarHash", "NarSize", "References", "Sig")} == set(kept)


def test_an_update_is_one_delta(machine: Site) -> None:
    for path in NEW:
        assert machine.fetch(path) == machine.nars[path]
    assert machine.web.count("deltas/index.json.zst") == 1
    assert machine.web.count(machine.delta) == 1
    assert machine.web.count("nar/") == 0
    assert len(spooled(machine)) == 1


def test_a_delta_comes_while_nix_asks_about_paths(machine: Site) -> None:
    """It is on its way once Nix asks about the root of a release, if the machine lacks enough of that."""
    machine.narinfo(NEW_APP)
    (place,) = machine.shelf._places.values()
    place.future.result(60)
    machine.narinfo(NEW_LIB)
    assert machine.web.count(machine.delta) == 1
    for path in NEW:
        assert machine.fetch(path) == machine.nars[path]
    assert machine.web.count(machine.delta) == 1


def test_a_delta_does_not_come_while_nix_asks_about_the_rest_of_a_release(machine: Site) -> None:
    """The machine has the large path, and the small one alone is not worth the delta until Nix asks about the other."""
    (machine.real / NEW_LIB[11:]).mkdir()
    machine.narinfo(NEW_APP)
    assert machine.shelf._places == {}
    machine.narinfo(NEW_LIB)
    (place,) = machine.shelf._places.values()
    place.future.result(60)


def test_a_delta_waits_for_enough_questions_if_the_narinfos_of_its_release_are_not_here(machine: Site) -> None:
    machine.web.fault = lambda path: 404 if path.endswith(".narinfos.zst") else None
    machine.narinfo(NEW_APP)
    assert machine.shelf._places == {}
    machine.narinfo(NEW_LIB)
    (place,) = machine.shelf._places.values()
    place.future.result(60)


def test_other_paths_pass_through(machine: Site) -> None:
    status, text = machine.ask(f"{OTHER[11:43]}.narinfo")
    assert (status, text) == (200, (machine.folder / f"{OTHER[11:43]}.narinfo").read_bytes())
    assert machine.fetch(OTHER) == (machine.folder / machine.narinfo(OTHER)["URL"]).read_bytes()
    assert machine.ask("z" * 32 + ".narinfo")[0] == 404
    assert machine.ask("nar/nothing.nar.xz")[0] == 404
    assert machine.ask(f"rebuilt/{'z' * 32}.nar")[0] == 404


def test_a_url_works_for_a_machine_that_remembers_the_narinfo(machine: Site) -> None:
    """Nix caches narinfos for weeks: their addresses mean the same to a substituter that has never seen them."""
    assert machine.ask(f"rebuilt/{NEW_LIB[11:43]}.nar") == (200, machine.nars[NEW_LIB])
    assert machine.ask(f"rebuilt/{OTHER[11:43]}.nar") == (200, machine.nars[OTHER])
    (machine.folder / "deltas/index.json.zst").unlink()
    assert machine.ask(f"rebuilt/{NEW_APP[11:43]}.nar") == (200, machine.nars[NEW_APP])


@pytest.mark.parametrize("failure", [None, MemoryError()])
def test_what_decoding_needs_is_loaded_once_an_update_is_asked_about(
    machine: Site, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    loaded: Queue[str] = Queue()

    def load() -> None:
        loaded.put(threading.current_thread().name)
        if failure is not None:
            raise failure

    monkeypatch.setattr(registry, "load", load)
    monkeypatch.setattr(DecodeWorker, "start", lambda _: loaded.put("worker"))
    machine.narinfo(OTHER)
    assert loaded.empty()
    for path in (*NEW, *NEW):
        machine.narinfo(path)
    assert [loaded.get(timeout=60) for _ in range(2)] == ["worker", "load"]
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert loaded.empty()


def test_it_is_loaded_if_nix_asks_for_nothing(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Queue[str] = Queue()
    monkeypatch.setattr("nixoci.substituter.service._IDLE", 0.01)
    monkeypatch.setattr(registry, "load", lambda: loaded.put("load"))
    monkeypatch.setattr(DecodeWorker, "start", lambda _: loaded.put("worker"))
    Service(Upstream(machine.web.url), machine.shelf, store=machine.nix.store).get_ready()
    assert [loaded.get(timeout=60) for _ in range(2)] == ["worker", "load"]


def test_it_is_not_loaded_ahead_where_there_are_no_more_threads(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError

    service = Service(Upstream(machine.web.url), machine.shelf, store=machine.nix.store)
    monkeypatch.setattr(threading.Thread, "start", fail)
    service.get_ready()


@pytest.mark.parametrize(("small", "read"), [(4 << 20, True), (0, False)])
def test_a_large_delta_is_not_fetched_to_its_end_for_a_base_that_is_gone(
    machine: Site, monkeypatch: pytest.MonkeyPatch, small: int, read: bool
) -> None:
    """Its files may still be there. A small one is read while Nix starts."""
    bodies: list[object] = []
    rebuilder = Rebuilder.__init__

    def watched(self: Rebuilder, *arguments: Any, **options: Any) -> None:
        bodies.append(self)
        rebuilder(self, *arguments, **options)

    monkeypatch.setattr("nixoci.substituter.shelf._SMALL", small)
    monkeypatch.setattr(Rebuilder, "__init__", watched)
    drop_base(machine)
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert bool(bodies) == read


@pytest.mark.parametrize("small", [4 << 20, 0])
def test_a_base_that_is_collected_while_the_delta_comes_means_the_ordinary_nar(
    machine: Site, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    rebuilder = Rebuilder.__init__

    def collect(self: Rebuilder, *arguments: Any, **options: Any) -> None:
        (machine.real / OLD_LIB[11:] / "lib.so").unlink()
        rebuilder(self, *arguments, **options)

    monkeypatch.setattr("nixoci.substituter.shelf._SMALL", small)
    monkeypatch.setattr(Rebuilder, "__init__", collect)
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert machine.web.count("nar/") == 1


def test_many_at_once(machine: Site) -> None:
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(machine.fetch, NEW * 16))
    assert found == [machine.nars[path] for path in NEW * 16]
    assert machine.web.count(machine.delta) == 1


@pytest.mark.parametrize(("path", "most"), [(NEW_APP, 2), (NEW_LIB, 8)])
def test_small_nars_are_rebuilt_two_at_a_time(
    machine: Site, monkeypatch: pytest.MonkeyPatch, path: str, most: int
) -> None:
    """As many of them as ask are prepared; a large one is sent meanwhile, so it waits for no other."""
    for each in NEW:
        machine.fetch(each)
    write, lock, running, found = Rebuilder.write, threading.Lock(), 0, 0
    full = threading.Event()

    def watched(*arguments: Any, **options: Any) -> None:
        nonlocal running, found
        with lock:
            running += 1
            found = max(found, running)
            if running == most:
                full.set()
        full.wait(60)
        write(*arguments, **options)
        with lock:
            running -= 1

    monkeypatch.setattr(Rebuilder, "write", watched)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(machine.fetch, [path] * 8)) == [machine.nars[path]] * 8
    assert found == most


def drop_base(machine: Site) -> None:
    machine.nix.know(*(info for path, info in machine.old.paths.items() if path != OLD_LIB))


def overwrite(file: Path, at: int) -> None:
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(b"?")


def damage_small(machine: Site) -> None:
    overwrite(machine.real / OLD_APP[11:] / "run", 0)


def lose_base(machine: Site) -> None:
    (machine.real / OLD_LIB[11:] / "lib.so").unlink()


def no_nix(machine: Site) -> None:
    machine.nix.set(VERSION="199")


def index(machine: Site, change: Callable[[Any], None]) -> None:
    file = machine.folder / "deltas/index.json.zst"
    value = json.loads(b"".join(decompress([file.read_bytes()])))
    change(value["releases"][0]["deltas"][0])
    file.write_bytes(compress(json.dumps(value).encode()))


def swap(machine: Site) -> None:
    """Another delta, made well, in the place of the right one."""
    stream, _ = make_delta(
        machine.old, replace(machine.new, roots=(NEW_LIB,), paths={NEW_LIB: machine.new.paths[NEW_LIB]})
    )
    (machine.folder / machine.delta).write_bytes(stream)


def name_anew(machine: Site, stream: bytes) -> None:
    """Publish another delta in the place of the right one, under its own hash."""
    (machine.folder / machine.delta).unlink()
    index(machine, lambda delta: delta.update(sha256=to_sri(hashlib.sha256(stream).digest()), size=len(stream)))
    (machine.folder / "deltas" / machine.index().releases[0].deltas[0].file).write_bytes(stream)


def of_another_path(machine: Site) -> None:
    """A delta that makes other paths than the index says."""
    path = store_path("app-1.1", "w")
    info = replace(machine.new.paths[NEW_APP], path=path, references=())
    (machine.new.real / path[11:]).symlink_to(machine.new.real / NEW_APP[11:])
    name_anew(machine, make_delta(machine.old, replace(machine.new, roots=(path,), paths={path: info}))[0])


def of_another_hash(machine: Site) -> None:
    """A delta that makes a path of this name with another content, and says so."""
    infos = {path: replace(info, nar_hash=OTHER_HASH) for path, info in machine.new.paths.items()}
    name_anew(machine, make_delta(machine.old, replace(machine.new, paths=infos))[0])


def fault(kind: Fault, start: str = "deltas/0") -> Callable[[Site], None]:
    def set_fault(machine: Site) -> None:
        of = machine.delta if start == "deltas/0" else start
        machine.web.fault = lambda path: kind if path.startswith(of) else None

    return set_fault


def test_a_program_that_makes_other_bytes_is_named(
    machine: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried only once the NAR came out wrong, since the trial takes longer than most contents."""
    tried: list[str] = []

    def explain(_: Rebuilder, info: PathInfo) -> None:
        tried.append(info.path)
        raise DeltaError("zlib of this machine makes other bytes")

    monkeypatch.setattr(Rebuilder, "explain", explain)
    damage_small(machine)
    caplog.set_level(logging.INFO)
    machine.fetch(NEW_LIB)
    assert not tried
    assert machine.ask(f"rebuilt/{NEW_APP[11:43]}.nar") == (200, machine.nars[NEW_APP])
    assert tried == [NEW_APP]
    assert f"{NEW_APP}: fetched whole: zlib of this machine makes other bytes" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        drop_base,
        damage_small,
        lose_base,
        no_nix,
        swap,
        of_another_path,
        of_another_hash,
        fault(404),
        fault(500),
        fault("cut"),
        fault(b""),
        fault(b"<html>"),
        fault(404, "deltas/index"),
        fault(500, "deltas/index"),
        fault(b"{", "deltas/index"),
        fault(b'{"version": 2}', "deltas/index"),
        lambda machine: index(machine, lambda delta: delta.update(size=delta["download"])),
        lambda machine: index(machine, lambda delta: delta.update(size=delta["size"] - 1)),
    ],
)
def test_the_ordinary_nar_comes_instead(machine: Site, damage: Callable[[Site], None]) -> None:
    damage(machine)
    for path in NEW:
        assert machine.ask(f"rebuilt/{path[11:43]}.nar") == (200, machine.nars[path])
    assert machine.web.count("nar/") >= 1
    assert machine.web.count(machine.delta) <= 2


@pytest.mark.parametrize(
    "damage",
    [fault("stall"), fault("stall before"), fault("stall", "deltas/index"), fault("drip", "deltas/index")],
)
def test_the_ordinary_nar_comes_instead_of_a_stalled_delta(hasty: Site, damage: Callable[[Site], None]) -> None:
    test_the_ordinary_nar_comes_instead(hasty, damage)


def test_without_its_base_a_narinfo_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch) as machine:
        (machine.real / OLD_APP[11:]).rename(machine.real / "gone")
        assert (
            machine.ask(f"{NEW_APP[11:43]}.narinfo")[1] == (machine.folder / f"{NEW_APP[11:43]}.narinfo").read_bytes()
        )
        assert machine.web.count("deltas/0") == 0


@pytest.mark.parametrize("url", ["http://elsewhere.example/x.nar", "//elsewhere/x", "../x.nar", "/x.nar"])
def test_a_nar_elsewhere_is_left_to_nix(machine: Site, url: str) -> None:
    file = machine.folder / f"{NEW_LIB[11:43]}.narinfo"
    lines = [f"URL: {url}" if line.startswith("URL") else line for line in file.read_text().splitlines()]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    assert machine.narinfo(NEW_LIB)["URL"] == url


def test_a_compression_that_is_not_known_is_left_to_nix(machine: Site) -> None:
    file = machine.folder / f"{NEW_LIB[11:43]}.narinfo"
    file.write_text(file.read_text().replace("Compression: zstd", "Compression: br"), encoding="ascii")
    assert machine.narinfo(NEW_LIB)["Compression"] == "br"


def test_a_question_for_the_head_of_a_nar_spoils_nothing(machine: Site) -> None:
    machine.fetch(NEW_LIB)
    assert machine.ask(f"rebuilt/{NEW_LIB[11:43]}.nar", method="HEAD")[0] == 405
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert machine.web.count("nar/") == 0


def test_a_wrong_content_never_ends_and_is_not_made_again(machine: Site) -> None:
    """Nix goes on to the next cache; asked again, the substituter passes the ordinary NAR."""
    overwrite(machine.real / OLD_LIB[11:] / "lib.so", 5000)
    with pytest.raises(IncompleteRead) as caught:
        machine.fetch(NEW_LIB)
    assert 0 < len(caught.value.partial) < len(machine.nars[NEW_LIB])
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert machine.web.count(machine.delta) == 1
    assert machine.web.count("nar/") == 2


def test_an_ordinary_nar_that_is_wrong_never_ends(machine: Site) -> None:
    fault(404)(machine)
    url = next(
        line[5:]
        for line in (machine.folder / f"{NEW_LIB[11:43]}.narinfo").read_text().splitlines()
        if line[:5] == "URL: "
    )
    other = next(
        line[5:]
        for line in (machine.folder / f"{OTHER[11:43]}.narinfo").read_text().splitlines()
        if line[:5] == "URL: "
    )
    for data in ((machine.folder / other).read_bytes(), (machine.folder / url).read_bytes()[:-9], b"x" * 1_000_000):
        answers: dict[str, Fault] = {"nar": data, "deltas": 404}
        machine.web.fault = lambda path, answers=answers: answers.get(path.partition("/")[0])  # type: ignore[misc]
        try:
            status, body = machine.ask(f"rebuilt/{NEW_LIB[11:43]}.nar")
        except HTTPException:
            continue
        assert status == 502, body


@pytest.mark.parametrize("kind", [500, "cut", "stall", "stall before", 404])
def test_a_cache_that_fails_is_an_error_and_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Fault
) -> None:
    stalls = kind in {"stall", "stall before"}
    patience = replace(QUICK, stall=0.3, document=1.0) if stalls else PATIENT
    with site(tmp_path, monkeypatch, patience=patience) as machine:
        machine.web.fault = lambda _: kind
        for path in ("nix-cache-info", f"{OTHER[11:43]}.narinfo", f"rebuilt/{NEW_LIB[11:43]}.nar"):
            assert machine.ask(path)[0] == (404 if kind == 404 else 502)
        if kind != "stall":  # a file that is not there has no body that could
            assert machine.ask("nar/x")[0] == (404 if kind in {404, "cut"} else 502)


def test_a_cache_that_is_down_is_an_error_at_once(machine: Site) -> None:
    machine.fetch(NEW_LIB)
    machine.shelf._upstream.url = "http://127.0.0.1:1/"
    assert [machine.ask(path)[0] for path in ("nix-cache-info", f"{OTHER[11:43]}.narinfo", "nar/x")] == [502, 502, 502]
    assert machine.ask(f"rebuilt/{NEW_APP[11:43]}.nar")[0] == 502


def test_nix_is_kept_waiting_while_a_delta_comes_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch, pause=0.2) as machine:
        machine.web.fault = lambda path: "drip" if path == machine.delta else None
        size = (machine.folder / machine.delta).stat().st_size
        assert size * 0.05 < 20
        assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
        assert machine.web.count("nar/") == 1


def test_after_one_has_waited_in_vain_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch, patience=Patience(stall=600.0), pause=0.05) as machine:
        machine.web.fault = lambda path: "stall" if path == machine.delta else None
        assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
        machine.ask(f"{NEW_APP[11:43]}.narinfo")
        assert machine.ask(f"rebuilt/{NEW_APP[11:43]}.nar") == (200, machine.nars[NEW_APP])
        assert machine.web.count(machine.delta) == 1
        machine.web.ending.set()


def test_a_delta_that_takes_hours_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch, bounds=Bounds(fetch=0.3)) as machine:
        machine.web.fault = lambda path: "drip" if path == machine.delta else None
        assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
        assert machine.web.count("nar/") == 1


@pytest.mark.parametrize("method", ["__init__", "write"])
def test_any_failure_of_a_decoder_means_the_ordinary_nar(
    machine: Site, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr(Rebuilder, method, fail)
    for path in NEW:
        assert machine.fetch(path) == machine.nars[path]
    assert machine.web.count("nar/") == 2
    assert machine.web.count(machine.delta) == 1


def test_a_rebuilding_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def slowly(number: int, payload: bytes, old: bytes, limit: int) -> bytes:
        decoded.append(number)
        time.sleep(0.5)
        return decode(number, payload, old, limit)

    monkeypatch.setattr("nixoci.delta.rebuild.decode", slowly)
    with site(tmp_path, monkeypatch, pause=0.3) as machine:
        assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
        assert machine.web.count("nar/") == 1
        assert machine.fetch(NEW_APP) == machine.nars[NEW_APP], "the delta is not tried again"
        assert len(decoded) <= 1  # none where a busy machine took longer before


def test_a_full_disk_means_the_ordinary_nar(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.delta.spool.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert machine.web.count("nar/") == 1
    assert not spooled(machine)


def test_a_delta_may_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch, bounds=Bounds(payloads=5)) as machine:
        assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
        assert machine.web.count("nar/") == 1
        assert not spooled(machine)


def test_a_delta_goes_when_nothing_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch, bounds=Bounds(idle=0.05)) as machine:
        machine.fetch(NEW_LIB)
        deadline = time.monotonic() + 60
        while spooled(machine) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not spooled(machine)
        assert machine.fetch(NEW_APP) == machine.nars[NEW_APP]
        assert machine.web.count(machine.delta) == 2


def test_nothing_is_left_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch) as machine:
        machine.fetch(NEW_LIB)
        assert spooled(machine)
    assert not spooled(machine)


def test_a_delta_of_more_than_is_wanted_is_not_fetched(machine: Site) -> None:
    """Nix wants a small path of a large update, and then the rest."""
    small = int(next(line for line in narinfo_lines(machine, NEW_APP) if line.startswith("FileSize")).split()[1])
    index(machine, lambda delta: delta.update(size=small * 2))
    stream = (machine.folder / machine.delta).read_bytes()
    assert len(stream) < small * 2
    (machine.real / NEW_LIB[11:]).mkdir()  # until the machine loses it
    assert machine.fetch(NEW_APP) == machine.nars[NEW_APP]
    assert (machine.web.count("nar/"), machine.web.count(machine.delta)) == (1, 0)
    assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]
    assert (machine.web.count("nar/"), machine.web.count(machine.delta)) == (1, 1)
    assert machine.fetch(NEW_APP) == machine.nars[NEW_APP]
    assert machine.web.count("nar/") == 1


def test_an_index_that_cannot_be_had_now_is_the_last_one(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.fetch(NEW_LIB)
    monkeypatch.setattr("nixoci.substituter.service._FRESH", 0.0)
    fault(500, "deltas/index")(machine)
    assert machine.narinfo(NEW_APP)["URL"].startswith("rebuilt/")
    assert machine.web.count("deltas/index") >= 2


def test_an_index_is_asked_for_again_only_if_it_changed(machine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.substituter.service._FRESH", 0.0)
    for _ in range(3):
        assert machine.narinfo(NEW_APP)["URL"].startswith("rebuilt/")
    assert machine.web.statuses("deltas/index") == [200, 304, 304]
    (machine.folder / "deltas/index.json.zst").write_bytes(Index(version=VERSION).render())
    assert machine.narinfo(NEW_APP)["URL"].startswith("nar/")
    assert machine.web.statuses("deltas/index")[-1] == 200


def test_why_a_release_comes_without_a_delta_is_logged(machine: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Of a root, as it is asked for; the rest of it has the same reason."""
    caplog.set_level(logging.INFO)
    (machine.real / OLD_APP[11:]).rename(machine.real / "gone")
    for path in (NEW_APP, NEW_LIB, OTHER):
        machine.narinfo(path)
    reason = f"no delta from a release that is here; there are deltas from {OLD_APP[11:]}"
    assert caplog.messages == [f"{NEW_APP}: {reason}"]


def test_a_cache_without_an_index_is_logged_once(
    machine: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nixoci.substituter.service._FRESH", 0.0)
    (machine.folder / "deltas/index.json.zst").unlink()
    for path in (NEW_APP, NEW_LIB, OTHER):
        machine.narinfo(path)
    assert caplog.messages == [f"{machine.web.url}/deltas/index.json.zst: does not exist; nixoci publish makes it"]


def test_a_spool_that_is_gone_means_the_ordinary_nar(machine: Site) -> None:
    machine.fetch(NEW_LIB)
    (folder,) = (machine.real.parent / "spool").iterdir()
    (folder / "payloads").unlink()
    assert machine.fetch(NEW_APP) == machine.nars[NEW_APP]
    assert machine.web.count("nar/") == 1


def narinfo_lines(machine: Site, path: str) -> list[str]:
    return (machine.folder / f"{path[11:43]}.narinfo").read_text(encoding="ascii").splitlines()
