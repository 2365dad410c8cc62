from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.host import cache, prepared
from tests.host.cache import cached_of_newest
from tests.host.leftovers import discard
from tests.host.prepared import altered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one file, as Nix leaves it."""
    path = tmp_path / "store/hash-image"
    path.mkdir(parents=True)
    file = path / "file"
    file.write_bytes(b"x")
    file.chmod(0o444)
    (path / "link").symlink_to("file")
    path.chmod(0o555)
    for made in (file, path):
        os.utime(made, (1, 1))
    return path.parent


def test_a_store_as_it_was_made_is_used_again(store: Path) -> None:
    assert altered(store) == ""


@pytest.mark.parametrize(
    "alter",
    [lambda file: file.write_bytes(b"y"), lambda file: file.chmod(0o644)],
    ids=["written", "writable"],
)
def test_a_store_that_a_test_wrote_to_is_not(store: Path, alter: Callable[[Path], object]) -> None:
    alter(store / "hash-image/file")
    assert altered(store) != ""


def gone(folder: Path) -> bool:
    """Wait until all that was in a folder is removed."""
    deadline = time.monotonic() + 60
    while any(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(folder.iterdir())


def test_a_folder_is_removed_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "elsewhere/folder"
    (folder / "below").mkdir(parents=True)
    discard(folder)
    assert gone(folder.parent)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder in which the prepared folder is built with a store of one file."""

    def build(folder: Path) -> None:
        (folder / "nix/store/path").mkdir(parents=True)
        file = folder / "nix/store/path/file"
        file.write_bytes(b"x")
        file.chmod(0o444)
        for path in (file, file.parent):
            path.chmod(path.stat().st_mode & 0o555)
            os.utime(path, (1, 1))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prepared, "_name", lambda: "prepared-0")
    monkeypatch.setattr(prepared, "_make", build)
    return tmp_path / "nixoci/prepared-0"


def test_machines_on_the_file_system_of_the_cache_have_links_of_it(made: Path) -> None:
    assert prepared._made() == made


def test_one_that_was_used_long_ago_stays_while_others_are_used(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared._made()
    os.utime(made, (1, 1))
    others = [made.with_name(f"prepared-{number}") for number in range(1, prepared.KEPT + 1)]
    for used, other in enumerate(others, 2):
        other.mkdir()
        os.utime(other, (used, used))  # two that are made at once may have one time

    def by_another_process(store: Path) -> str:
        cached_of_newest(others[-1].name, Path.mkdir, prepared.KEPT, discard)
        return altered(store)

    monkeypatch.setattr(prepared, "altered", by_another_process)
    assert prepared._made() == made
    assert made.exists()


def test_one_that_was_removed_before_it_was_used_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found, removed = cache.cached, list[Path]()

    def cached_and_removed(name: str, build: Callable[[Path], None]) -> Path:
        folder = found(name, build)
        if not removed:
            removed.append(folder)
            discard(folder)
        return folder

    monkeypatch.setattr(cache, "cached", cached_and_removed)
    made = cached_of_newest("folder-0", lambda folder: (folder / "file").touch(), 2, discard)
    assert removed == [made]
    assert (made / "file").exists()


@pytest.fixture
def elsewhere(made: Path) -> Iterator[Path]:
    """The copy of the prepared folder if the folder of machines is on another file system than the cache."""
    made.parent.mkdir()
    device = made.parent.stat().st_dev
    place = next(place for place in ("/dev/shm", "/var/tmp") if Path(place).stat().st_dev != device)  # noqa: S108
    with TemporaryDirectory(dir=place) as folder:
        (made.parent / "machines").symlink_to(folder)
        yield made.parent / "machines/prepared-0"


def test_machines_on_another_have_links_of_one_copy(made: Path, elsewhere: Path) -> None:
    assert prepared._made() == elsewhere
    file = elsewhere / "nix/store/path/file"
    assert (file.read_bytes(), file.stat().st_mode & 0o777, file.stat().st_mtime) == (b"x", 0o444, 1)
    (elsewhere / "again").touch()
    assert prepared._made() == elsewhere
    assert (elsewhere / "again").exists()
    assert not altered(made / "nix/store")


@pytest.mark.parametrize("which", ["made", "elsewhere"])
def test_a_store_or_its_copy_that_a_test_wrote_to_is_made_anew(made: Path, elsewhere: Path, which: str) -> None:
    prepared._made()
    for folder in {"made": [made, elsewhere], "elsewhere": [elsewhere]}[which]:
        (folder / "nix/store/path/file").write_bytes(b"y")
    assert prepared._made() == elsewhere
    for folder in (made, elsewhere):
        assert (folder / "nix/store/path/file").read_bytes() == b"x"
