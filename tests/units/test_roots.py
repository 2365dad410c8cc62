from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nixoci.container.image_tree import ImageTree
from nixoci.units.escape import UnitFile
from nixoci.units.roots import add_gc_root
from tests.units.samples import ODD, TOOLS, executable, quadlet, resolve_all
from tests.units.test_escape import split

if TYPE_CHECKING:
    from collections.abc import Callable

NIX_STORE = '#!/bin/sh\nmkdir -p "${4%/*}" && ln -s "$2" "$4" && echo "$@"\n'
"""A stand-in for `nix-store --realise PATH --add-root LINK --indirect`."""


def commands(path: Path, folder: Path, roots: Path, *, user: bool) -> list[list[str]]:
    """Return the arguments of the start and of the stop, with another directory of Nix's roots."""
    container = resolve_all(path, {}).containers[0]
    stored = replace(container.tree.image, path=Path("/nix/store/0123-web"))
    mkdir, rm = (executable(folder / name, f'#!/bin/sh\n{name} "$@"\n') for name in ("mkdir", "rm"))
    unit = UnitFile("c.container")
    tools = replace(TOOLS, sh="sh", mkdir=mkdir, rm=rm)
    add_gc_root(unit, replace(container, tree=ImageTree(stored)), tools, user=user)
    lines = [line.partition("=")[2] for line in unit.render().splitlines()[-2:]]
    words = [[word.replace("$$", "$").replace("%%", "%") for word in split(line)] for line in lines]
    return [[word.replace("/nix/var/nix/gcroots", str(roots)) for word in line] for line in words]


def files(roots: Path) -> list[Path]:
    return [file.relative_to(roots) for file in roots.rglob("*") if file.is_file()]


def test_a_unit_of_the_system_keeps_its_image_while_it_runs(tmp_path: Path) -> None:
    """The command makes a file with the name of the store path where Nix looks for roots, if there is Nix."""
    folder = tmp_path / ODD
    roots = folder / "gcroots"
    folder.mkdir()
    keep, drop = commands(tmp_path / "image", folder, roots, user=False)
    subprocess.run(keep, check=True)
    assert not roots.exists()
    roots.mkdir()
    for _ in range(2):
        subprocess.run(keep, check=True)
        # that of the image before an update, whose stop was the new unit's
        (roots / "nixoci/c/0123-old").touch()
    subprocess.run(keep, check=True)
    assert files(roots) == [Path("nixoci/c/0123-web")]
    subprocess.run(drop, check=True)
    assert files(roots) == []


def of_user(tmp_path: Path) -> tuple[Path, Path, Callable[[int], str]]:
    """Return the roots, the home directory, and a function that runs the start (0) or the stop (1) of a user's unit."""
    folder, home = tmp_path / ODD, tmp_path / "a home"
    folder.mkdir()
    home.mkdir()
    roots = folder / "gcroots"
    programs = tmp_path / "programs"
    programs.mkdir()
    executable(programs / "nix-store", NIX_STORE)
    both = commands(tmp_path / "image", folder, roots, user=True)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "USER": "alice", "HOME": str(home)}

    def call(number: int) -> str:
        return subprocess.run(both[number], check=True, env=env, capture_output=True, text=True).stderr

    return roots, home, call


def test_a_unit_of_a_user_keeps_its_image_in_the_user_s_own_directory(tmp_path: Path) -> None:
    roots, home, call = of_user(tmp_path)
    assert call(0) == ""
    assert not roots.exists()
    (roots / "per-user").mkdir(parents=True)
    for _ in range(2):
        assert call(0) == ""
    assert files(roots) == [Path("per-user/alice/nixoci/c/0123-web")]
    assert call(1) == ""
    assert files(roots) == []
    assert list(home.iterdir()) == []


def test_without_such_a_directory_nix_registers_a_link_of_the_user(tmp_path: Path) -> None:
    roots, home, call = of_user(tmp_path)
    roots.mkdir()
    (roots / "per-user").touch()  # root, who may run this test, could write anywhere else
    link = home / ".local/state/nixoci/gc-roots/unit-c"
    assert call(0) == ""
    assert str(link.readlink()) == "/nix/store/0123-web"
    assert call(1) == ""
    assert not link.is_symlink()


def test_a_user_s_container_starts_without_a_root(tmp_path: Path) -> None:
    roots, _, call = of_user(tmp_path)
    roots.mkdir()
    (roots / "per-user").touch()
    executable(tmp_path / "programs/nix-store", "#!/bin/sh\nexit 1\n")
    assert "nixoci gc-roots" in call(0)


def test_an_image_outside_of_the_store_has_no_root(tmp_path: Path) -> None:
    for user in (False, True):
        assert not [line for line in quadlet(tmp_path / str(user), user=user) if "gcroots" in line]
