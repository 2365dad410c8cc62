"""`nixoci gc-roots` on hosts that have no podman, but other engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.gc_roots import update
from nixoci.gc_roots.units import UnitRoots
from nixoci.gc_roots.update import Places

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a host with engines besides podman."""
    places = Places(
        roots=tmp_path / "roots",
        unit_roots=UnitRoots(files=tmp_path / "units", links=None, user=False),
        kept_store=None,
        drop_ins=None,
        engines=True,
    )
    monkeypatch.setattr(Places, "default", lambda: places)
    monkeypatch.setattr(update, "PODMAN_DATA", tmp_path / "containers")
    monkeypatch.setattr(update, "_ENGINES", {"docker": lambda **_: [tmp_path / "aaa-entry"]})
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_roots_of_other_engines_go_without_podman(nixoci: Run, host: Path) -> None:
    done = nixoci("gc-roots", "--json")
    assert (done.code, done.err) == (0, "")
    assert [(root["engine"], root["path"], root["change"]) for root in done.json] == [
        ("docker", str(host / "aaa-entry"), "removed")
    ]


def test_no_roots_are_a_line_too(nixoci: Run, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_ENGINES", {})
    none = "no container of podman or a unit runs from the Nix store, and no engine has dropped an image of it\n"
    assert nixoci("gc-roots") == (0, "", none)
    assert not list(host.glob("roots/*"))


@pytest.mark.parametrize("left", ["containers", "roots/podman-abc"])
def test_a_podman_that_is_not_found_but_was_used_is_an_error(nixoci: Run, host: Path, left: str) -> None:
    (host / left).parent.mkdir(exist_ok=True)
    (host / left).symlink_to("/")
    failed = nixoci("gc-roots")
    assert failed.code == 1
    assert "podman" in failed.err


def test_a_podman_that_is_named_has_to_be_there(nixoci: Run, host: Path) -> None:
    assert nixoci("gc-roots", f"--podman={host}/podman").code == 1
