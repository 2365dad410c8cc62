from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from nixoci.output import new_directory

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
from nixoci.output import new_directory
with new_directory(Path(sys.argv[1])) as made:
    (made / "rootfs").mkdir()
    (made / "rootfs/file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_one(dest: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, dest], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    dest = tmp_path / "image"
    kill_one(dest)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".image.nixoci-")
    with new_directory(dest) as made:
        assert list(tmp_path.iterdir()) == [made]
    assert list(tmp_path.iterdir()) == [dest]


def test_only_leftovers_for_the_same_destination_are_removed(tmp_path: Path) -> None:
    kill_one(tmp_path / "image.old")
    others = {tmp_path / ".image.mine", tmp_path / ".image.nixoci-file", tmp_path / ".image.nixoci-link"}
    (tmp_path / ".image.mine").mkdir()
    (tmp_path / ".image.nixoci-file").write_text("mine", encoding="ascii")
    (tmp_path / ".image.nixoci-link").symlink_to(tmp_path / ".image.mine")
    before = set(tmp_path.iterdir())
    assert others < before
    with new_directory(tmp_path / "image"):
        pass
    assert set(tmp_path.iterdir()) == before | {tmp_path / "image"}


def test_what_a_living_process_makes_is_left_alone(tmp_path: Path) -> None:
    dest = tmp_path / "image"
    with new_directory(dest) as first:
        (first / "file").write_text("one", encoding="ascii")
        with suppress(KeyError), new_directory(dest) as second:
            assert set(tmp_path.iterdir()) == {first, second}
            raise KeyError
        assert list(tmp_path.iterdir()) == [first]
    assert (dest / "file").read_text(encoding="ascii") == "one"
