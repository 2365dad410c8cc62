"""`scripts/with-journal`, which gives test machines a file system, above file systems with a journal and without."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT = "^has_journal"
SCRIPT = CHECKOUT / "scripts/with-journal"

# Says whether the folder is a file system of its own, and whether its file system has a journal.
SEEN = """
device=$(readlink "/sys/dev/block/$(findmnt --raw --noheadings --output=MAJ:MIN --target "$folder")")
mountpoint --quiet "$folder" && echo own || echo same
ls /proc/fs/jbd2 | grep -q "^${device##*/}-" && echo journal || echo none
"""

# Mounts a new file system that this shell and its children see, and goes on with the last argument. There `try` runs
# a shell command for which the folder should be a file system of its own.
OUTER = """
set -e
script=$0
truncate --size="$1" disk
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -O "$2" disk
mkdir place
mount -o loop disk place
export folder=$PWD/place/machines seen=$3
try() { "$script" "$folder" sh -c "$@"; }
eval "$4"
"""


def outer(folder: Path, script: str, *, features: str = WITHOUT, size: str = "60G") -> subprocess.CompletedProcess[str]:
    """Run a shell script in a folder where `place` is a new ext4 file system."""
    command = ["unshare", "--mount", "--propagation=private", "bash", "-c", OUTER]
    arguments = [str(SCRIPT), size, features, SEEN, script]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_the_command_has_a_file_system_with_a_journal_and_the_disk_nothing_of_it(tmp_path: Path) -> None:
    done = outer(tmp_path, """try "$seen"'touch "$folder/made"'; eval "$seen"; ls -A "$folder"; umount place""")
    assert lines(done) == ["own", "journal", "same", "none"]
    assert done.stderr == ""


def test_the_command_is_run_as_it_is(tmp_path: Path) -> None:
    script = (
        """cd /usr; SET=1 "$script" "$folder" sh -c 'printf "%s\\n" "$PWD" "$SET" "$@"; exit 7' sh 'a  b' '$c' ''"""
    )
    done = outer(tmp_path, f"{script} || echo $?")
    assert lines(done) == ["/usr", "1", "a  b", "$c", "", "7"]


def test_a_file_system_with_a_journal_is_left_alone(tmp_path: Path) -> None:
    done = outer(tmp_path, 'try "$seen"', features="has_journal")
    assert lines(done) == ["same", "journal"]
    assert done.stderr == ""


def test_one_that_is_no_ext4_is_left_alone(tmp_path: Path) -> None:
    done = outer(tmp_path, """mkdir "$folder"; mount -t tmpfs tmpfs "$folder"; try 'findmnt -no FSTYPE "$folder"'""")
    assert lines(done) == ["tmpfs"]


def test_one_inside_of_another_is_the_same(tmp_path: Path) -> None:
    done = outer(tmp_path, """try 'touch "$folder/made"; "$0" "$folder" ls "$folder"' "$script"\n""")
    assert lines(done) == ["lost+found", "made"]


def test_two_beside_one_another_share_nothing(tmp_path: Path) -> None:
    script = """
        mkfifo ready go
        try 'touch "$folder/first"; echo > ready; read -r _ < go; ls "$folder"' & read -r _ < ready
        try 'touch "$folder/second"; ls "$folder"'
        echo > go; wait
    """
    assert lines(outer(tmp_path, script)) == ["lost+found", "second", "first", "lost+found"]


UNABLE = {
    "little space": ("16G", ""),
    "no mkfs.ext4": ("60G", 'mount --bind /dev/null "$(command -v mkfs.ext4)"'),
    "mkfs.ext4 fails": ("60G", 'mount --bind "$(type -P false)" "$(command -v mkfs.ext4)"'),
    "no loop device": ("60G", "mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3"),
    "no right to mount": ("60G", 'try() { setpriv --bounding-set=-sys_admin "$script" "$folder" sh -c "$@"; }'),
}


@pytest.mark.parametrize(("size", "lack"), UNABLE.values(), ids=UNABLE)
def test_without_what_it_needs_the_command_has_the_folder_as_it_is(tmp_path: Path, size: str, lack: str) -> None:
    done = outer(tmp_path, f"""{lack}\n try "$seen"'touch "$folder/made"'; ls -A "$folder" """, size=size)
    assert lines(done) == ["same", "none", "made"]
    assert ("18 GB" in done.stderr) == (size == "16G")


KNOWN = {"has one": ("60G", "", "machines"), **{lack: (*how, "") for lack, how in UNABLE.items()}}


@pytest.mark.parametrize(("size", "lack", "found"), KNOWN.values(), ids=KNOWN)
def test_the_command_knows_the_folder_that_has_one(tmp_path: Path, size: str, lack: str, found: str) -> None:
    done = outer(tmp_path, f"""{lack}\n export WITH_JOURNAL=/other; try 'echo "${{WITH_JOURNAL##*/}}"'""", size=size)
    assert lines(done) == [found]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_nothing_is_left_of_a_command_that_was_killed(tmp_path: Path, sent: signal.Signals) -> None:
    script = f"""
        set -m
        try 'while :; do date > "$folder/made"; echo > made; done' 2> /dev/null &
        until [ -e made ]; do sleep 0.05; done
        kill -{int(sent)} -- -$!
        wait $! || echo $(($? - 128))
        ls -A "$folder"
        until umount place 2> /dev/null; do sleep 0.05; done
    """
    assert lines(outer(tmp_path, script)) == [str(int(sent))]


def test_the_file_of_one_that_was_killed_while_it_made_it_is_removed(tmp_path: Path) -> None:
    script = """
        mkdir "$folder"
        touch "$folder/.journaled.now"
        touch --date='1 hour ago' "$folder/.journaled.old"
        try "$seen"
        ls -A "$folder"
    """
    assert lines(outer(tmp_path, script)) == ["own", "journal", ".journaled.now"]
