"""The roots of units that have ended, with a stand-in for systemctl."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from nixoci.gc_roots.links import Change
from nixoci.gc_roots.units import UnitRoots, update_unit_roots
from tests.units.samples import executable


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    folder = tmp_path / "gcroots"
    for unit in ("ended", "running"):
        (folder / unit).mkdir(parents=True)
        (folder / unit / f"0-{unit}").touch()
    return folder


def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str = "") -> Path:
    """Put a systemctl on PATH that knows the unit `running`, refuses odd names as the real one, and logs its calls."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    log = tmp_path / "log"
    executable(
        bin_ / "systemctl",
        f"""#!/bin/sh
shift 4
printf '%s\\n' "$*" >> {shlex.quote(str(log))}
for name; do
    case $name in
        *[!a-zA-Z0-9_.:@\\\\-]*) echo "Invalid unit name \\"$name\\"" >&2; exit 1 ;;
    esac
done
state() {{ [ "$1" = running.service ] && echo active || echo inactive; }}
{script}
for name; do state "$name"; echo; done
""",
    )
    monkeypatch.setenv("PATH", str(bin_), prepend=os.pathsep)
    return log


def system(roots: Path) -> UnitRoots:
    return UnitRoots(files=roots, links=None, user=False)


def files(roots: Path) -> list[str]:
    return sorted(str(path.relative_to(roots)) for path in roots.rglob("*") if not path.is_dir())


def test_the_roots_of_ended_units_go(roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch)
    planned = update_unit_roots(system(roots), dry_run=True)
    assert files(roots) == ["ended/0-ended", "running/0-running"]
    assert update_unit_roots(system(roots)) == planned
    assert [(link.name, link.path, link.change) for link in planned] == [
        ("ended", Path("/nix/store/0-ended"), Change.REMOVED),
        ("running", Path("/nix/store/0-running"), Change.KEPT),
    ]
    assert files(roots) == ["running/0-running"]


@pytest.mark.parametrize("name", ["a b", "*", "-h", "[x]", "new\nline", "\udcff", "x" * 250])
def test_a_directory_that_is_no_units_keeps_no_other_root(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    systemctl(tmp_path, monkeypatch)
    (roots / name).mkdir()
    (roots / name / "0-odd").touch()
    (roots / "a-file").touch()
    (roots / "ended/directory").mkdir()
    (roots / "ended/link").symlink_to("/nix/store/0-link")
    update_unit_roots(system(roots))
    assert "ended/0-ended" not in files(roots)
    assert {"a-file", "ended/link", "running/0-running"} <= set(files(roots))
    assert (roots / "ended/directory").is_dir()


def test_a_unit_that_starts_meanwhile_keeps_its_root(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It made its root before systemctl was asked, and was still inactive then."""
    systemctl(tmp_path, monkeypatch, f"[ -e {roots}/ended/0-ended ] || state() {{ echo activating; }}")
    (change,) = {link.change for link in update_unit_roots(system(roots))}
    assert change is Change.KEPT
    assert files(roots) == ["ended/0-ended", "running/0-running"]


def test_a_stop_that_comes_first_is_no_failure(roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, f"rm -rf {roots}/ended")
    update_unit_roots(system(roots))
    assert files(roots) == ["running/0-running"]


def test_nothing_goes_without_systemd(roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, "echo 'System has not been booted with systemd as init system' >&2; exit 1")
    assert {link.change for link in update_unit_roots(system(roots))} == {Change.KEPT}
    assert files(roots) == ["ended/0-ended", "running/0-running"]


SYSTEMCTL = """#!/bin/sh
[ "$1" = --user ] || exit 1
while [ "$1" != -- ]; do shift; done
shift
for unit; do case $unit in web*) echo active ;; *) echo failed ;; esac; done
"""


def test_of_a_user_s_units_those_that_ended_lose_their_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, files, links = tmp_path / "programs", tmp_path / "files", tmp_path / "links"
    for folder in (programs, files / "web", files / "gone", links):
        folder.mkdir(parents=True)
    for name in ("web/0-a", "gone/0-a", "gone/0-b"):
        (files / name).touch()
    for name in ("unit-web2", "unit-gone", "podman-1"):
        (links / name).symlink_to("/nix/store/0-c")
    places = UnitRoots(files=files, links=links, user=True)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    # nothing is removed while systemd does not answer
    executable(programs / "systemctl", "#!/bin/sh\nexit 1\n")
    assert {link.change for link in update_unit_roots(places)} == {Change.KEPT}
    executable(programs / "systemctl", SYSTEMCTL)
    wanted = {("web", "0-a"): False, ("gone", "0-a"): True, ("gone", "0-b"): True}
    wanted |= {("web2", "0-c"): False, ("gone", "0-c"): True}
    for dry_run in (True, False):
        found = update_unit_roots(places, dry_run=dry_run)
        removed = {(link.name, link.path.name): link.change is Change.REMOVED for link in found}
        assert removed == wanted
        assert (files / "gone/0-b").exists() is dry_run
    assert sorted(file.name for file in files.rglob("0-*")) == ["0-a"]
    assert sorted(link.name for link in links.iterdir()) == ["podman-1", "unit-web2"]
