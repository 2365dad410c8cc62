"""`nixoci receive` refuses what it could not finish before it writes anything, in a dry run too."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nixoci.delta.format.stream import pack_start
from tests.delta.trees import closure, delta, store_path
from tests.nix_store.fake import Fake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

WEB, DATABASE = store_path("web", "b"), store_path("database", "c")


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A store without paths, and a delta of two roots."""
    fake = Fake(tmp_path, monkeypatch)
    (tmp_path / "sender").mkdir()
    nothing = closure(tmp_path / "sender", {})
    both = closure(tmp_path / "sender", {WEB: {b"file": b"web"}, DATABASE: {b"file": b"database"}})
    (tmp_path / "delta").write_bytes(delta(nothing, both)[0])
    return fake


def refused(nix: Fake, nixoci: Run, *arguments: str) -> str:
    """Return the one line in which both a dry run and the work refuse; neither adds a path."""
    lines = []
    for dry_run in ("--dry-run", ""):
        nix.set(WRITE="" if dry_run else "--write")
        done = nixoci("receive", "delta", "--store", nix.store, *arguments, *filter(None, [dry_run]))
        assert (done.code, done.out) == (1, "")
        lines.append(done.err)
    assert lines[0] == lines[1]
    assert lines[0].count("\n") == 1
    assert nix.log == []
    assert list(nix.real.iterdir()) == []
    return lines[0]


@pytest.mark.parametrize("option", ["--profile", "--gc-root"])
def test_a_link_to_one_of_several_roots_needs_a_choice(nix: Fake, nixoci: Run, option: str) -> None:
    assert refused(nix, nixoci, option, "link") == (
        f"error: delta: --gc-root and --profile need one root, and it has 2: {WEB}, {DATABASE}; choose one with"
        " --root PATH\n"
    )
    other = store_path("other", "d")
    says = f"error: --root {other}: no root of delta; name one of these: {WEB}, {DATABASE}\n"
    assert refused(nix, nixoci, option, "link", "--root", other) == says


def test_a_root_can_be_chosen(nix: Fake, nixoci: Run) -> None:
    nix.set(WRITE="")
    choice = ["--profile", "link", "--root", DATABASE]
    done = nixoci("receive", "delta", "--store", nix.store, "--dry-run", *choice)
    assert done.code == 0
    assert f"would add {DATABASE}\n" in done.out
    assert nixoci("receive", "delta", "--root", DATABASE).code == 2


def test_a_link_that_nix_cannot_make_is_refused(nix: Fake, nixoci: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is no link into the Nix store" in refused(nix, nixoci, "--gc-root", "file", "--root", WEB)
    assert "is no profile" in refused(nix, nixoci, "--profile", "file", "--root", WEB)
    assert "make it first" in refused(nix, nixoci, "--profile", "missing/profile", "--root", WEB)


def test_a_dry_run_fails_where_nix_does_not_trust_the_user(nix: Fake, nixoci: Run) -> None:
    nix.set(WRITE="", TRUST='{"trusted": false}')
    done = nixoci("receive", "delta", "--store", nix.store, "--dry-run")
    assert (done.code, done.out) == (1, "")
    assert " and 1 more: Nix would not register it: no trusted key has signed it; " in done.err


# Prints at each start of the process that decodes whether the modules that receive a delta are loaded.
RECEIVE = """
import sys
from nixoci.cli import main
from nixoci.delta.worker import DecodeWorker
DecodeWorker.start = lambda worker: print("nixoci.delta.receive" in sys.modules)
main(["receive", *sys.argv[1:]])
"""


@pytest.mark.parametrize(("version", "printed"), [(1, ""), (2, "False\n")])
@pytest.mark.parametrize("standard", [False, True])
def test_the_process_that_decodes_gets_ready_while_modules_are_loaded(
    tmp_path: Path, version: int, printed: str, *, standard: bool
) -> None:
    file = tmp_path / "delta"
    file.write_bytes(pack_start(version))
    command = [sys.executable, "-c", RECEIVE, "-" if standard else str(file), "--store", "ssh://elsewhere"]
    with file.open("rb") as stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, check=False, timeout=60)
    assert (done.stdout.decode(), done.returncode) == (printed, 1)
    assert done.stderr.startswith(b"error: ")
