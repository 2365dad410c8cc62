from __future__ import annotations

from typing import TYPE_CHECKING

from nixoci.gc_roots.links import Change
from nixoci.gc_roots.units import UnitRoots, update_unit_roots
from tests.units.samples import executable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
