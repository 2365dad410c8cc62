"""`nixoci publish` says what it did, and what it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.delta.trees import closure, store_path
from tests.nix_store.fake import Fake
from tests.publish.cache import make_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")
STALE = f"{'0' * 52}.nxd"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with two releases, and a cache with the new one and a delta that nothing names any more."""
    nix = Fake(tmp_path, monkeypatch)
    old = closure(nix.real, {OLD: {b"file": bytes(99_000)}})
    new = closure(nix.real, {NEW: {b"file": bytes(99_000) + b"new"}})
    nix.know(old.paths[OLD], new.paths[NEW])
    nix.set(WRITE=",--write")
    make_cache(tmp_path / "cache", new, level=-50)
    (tmp_path / "cache/deltas").mkdir()
    (tmp_path / f"cache/deltas/{STALE}").touch()
    return nix.store


def test_what_was_done_is_said(nixoci: Callable[..., Result], store: str, tmp_path: Path) -> None:
    command = ["publish", "--cache=cache", f"--store={store}", "--from", OLD, "--from", NEW, "--to", NEW]
    would = nixoci(*command, "--dry-run")
    assert (tmp_path / f"cache/deltas/{STALE}").exists()
    done = nixoci(*command)
    assert (done.code, would.code) == (0, 0)
    first, second, third = done.out.splitlines()
    assert first.startswith("published a delta of ")
    assert f" bytes from {OLD}: 1 path, " in first
    assert second == f"no delta from {NEW}: it has all paths of the release"
    assert third == f"removed the file of an old release {STALE}"
    assert would.out.splitlines() == [
        f"would publish{first.removeprefix('published')}",
        second,
        f"would remove{third[7:]}",
    ]
    assert not (tmp_path / f"cache/deltas/{STALE}").exists()


def test_a_delta_that_is_not_worth_it_is_said(nixoci: Callable[..., Result], store: str, tmp_path: Path) -> None:
    narinfo = tmp_path / f"cache/{'b' * 32}.narinfo"
    text = narinfo.read_text(encoding="ascii")
    size = next(line for line in text.splitlines() if line.startswith("FileSize"))
    narinfo.write_text(text.replace(size, "FileSize: 9"), encoding="ascii")
    done = nixoci("publish", "--cache=cache", f"--store={store}", "--from", OLD, "--to", NEW)
    assert done.out.startswith(f"no delta from {OLD}: it has ")
    assert "its paths 9 bytes in the cache" in done.out


def test_a_release_that_nobody_signed_is_a_warning(nixoci: Callable[..., Result], store: str, tmp_path: Path) -> None:
    narinfo = tmp_path / f"cache/{'b' * 32}.narinfo"
    narinfo.write_text(narinfo.read_text(encoding="ascii").replace("Sig: ", "Other: "), encoding="ascii")
    done = nixoci("publish", "--cache=cache", f"--store={store}", "--from", OLD, "--to", NEW)
    assert done.code == 0
    assert done.out.startswith("published a delta of ")
    assert done.err == (
        f"warning: 1 path of the release without a signature in the cache, such as {NEW}: machines refuse them; run nix"
        f" store sign --recursive --store file://{tmp_path}/cache --key-file KEY {NEW}, then publish again\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--from", OLD, "--to", NEW], 2),
        (["--cache=cache", "--to", NEW], 2),
        (["--cache=cache", "--from", OLD], 2),
        (["--cache=cache", "--from", OLD, "--to", NEW, "--keep=0"], 2),
        (["--cache=store", "--from", OLD, "--to", NEW], 1),
        (["--cache=cache", "--from", NEW, "--to", OLD], 1),
    ],
)
def test_what_cannot_be_done_is_an_error(
    nixoci: Callable[..., Result], store: str, arguments: list[str], code: int
) -> None:
    done = nixoci("publish", f"--store={store}", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
