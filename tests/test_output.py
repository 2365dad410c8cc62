import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from nixoci.errors import StoreError
from nixoci.output import (
    check_file,
    exclusive_directory,
    missing_directories,
    new_directory,
    new_file,
    scratch_directory,
    temporary_directory,
    write_all_if_changed,
    write_if_changed,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from nixoci.output import new_directory
with new_directory(Path(sys.argv[1])) as made:
    (made / "rootfs").mkdir()
    (made / "rootfs/file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


MANY = """
import sys
from pathlib import Path
from nixoci.output import temporary_directory
for _ in range(100):
    with temporary_directory(prefix="here-", parent=Path(sys.argv[1])) as made:
        (made / "file").write_text("mine")
"""


def test_processes_that_start_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", MANY, tmp_path], stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[1] for process in running] == [b""] * 4
    assert not any(process.returncode for process in running)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("theirs", [lambda dest: (dest / "theirs").mkdir(parents=True), Path.touch, os.mkfifo])
def test_of_two_that_make_a_path_at_once_the_second_fails(tmp_path: Path, theirs: Callable[[Path], None]) -> None:
    """The directory or file of the first stays, and nothing else is left."""
    dest = tmp_path / "out"
    with pytest.raises(StoreError) as caught, new_directory(dest):
        theirs(dest)
    assert str(caught.value) == f"{dest}: exists already; remove it or choose another destination"
    assert list(tmp_path.iterdir()) == [dest]
    assert dest.is_dir() == (dest / "theirs").exists()


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    program = MANY.replace('write_text("mine")', "write_text(str(__import__('os').kill(__import__('os').getpid(), 9)))")
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("here-")
    with temporary_directory(prefix="other-", parent=tmp_path):
        assert left.exists()
    with temporary_directory(prefix="here-", parent=tmp_path) as made:
        assert list(tmp_path.iterdir()) == [made]
    assert list(tmp_path.iterdir()) == []


def test_a_signal_while_a_directory_is_removed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.rmtree
    calls: list[Path] = []

    def interrupted_once(path: Path, *, ignore_errors: bool) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("nixoci.output.shutil.rmtree", interrupted_once)
    with pytest.raises(KeyboardInterrupt), temporary_directory(prefix="here-", parent=tmp_path) as made:
        (made / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_left_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here-theirs").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "here-theirs").stat().st_uid + 1)
    with temporary_directory(prefix="here-", parent=tmp_path):
        assert (tmp_path / "here-theirs").is_dir()


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, temporary_directory(prefix="x", parent=tmp_path / "missing"):
        pass
    assert caught.value.filename == str(tmp_path / "missing")


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


def test_a_file_that_is_not_finished_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old", encoding="ascii")
    with suppress(KeyError), new_file(file) as out:
        out.write(b"half")
        raise KeyError
    assert file.read_text(encoding="ascii") == "old"
    with new_file(file) as out:
        out.write(b"new")
        assert file.read_text(encoding="ascii") == "old"
    assert file.read_text(encoding="ascii") == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_can_be_written_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("new/file")
    for name in ("file", "new", "new/deep/file", "link"):
        check_file(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> tuple[int | None, str]:
        with pytest.raises(OSError, match=r".") as caught:
            check_file(path)
        return caught.value.errno, caught.value.filename

    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file/new")
    assert refused(tmp_path) == (errno.EISDIR, str(tmp_path))
    assert refused(tmp_path / "file/new") == (errno.ENOTDIR, str(tmp_path / "file"))
    assert refused(tmp_path / "file/new/deep") == (errno.ENOTDIR, str(tmp_path / "file"))
    assert refused(tmp_path / "link") == (errno.ENOTDIR, str(tmp_path / "file"))
    # root may write everywhere
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert refused(tmp_path / "new/deep") == (errno.EACCES, str(tmp_path))


def test_a_new_file_gets_the_usual_mode(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    assert write_if_changed(tmp_path / "new", "é\n")
    assert (tmp_path / "new").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "new").stat().st_mode == usual.stat().st_mode


def test_a_loop_of_symlinks_is_not_replaced(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(OSError, match=r"Too many levels of symbolic links: .*loop"), new_file(loop):
        pass
    assert [*tmp_path.iterdir()] == [loop]
    assert loop.is_symlink()


def test_a_changed_file_keeps_its_mode_and_its_symlink(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o640)
    link.symlink_to("target")
    assert write_if_changed(link, "new")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"target", "link"}


def test_the_same_text_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("same", encoding="utf-8")
    before = file.stat()
    assert not write_if_changed(file, "same")
    assert (before.st_ino, before.st_mtime_ns) == (file.stat().st_ino, file.stat().st_mtime_ns)


def test_of_several_files_all_are_written_or_none(tmp_path: Path) -> None:
    """The kernel refuses, not a stand-in: the limit of a file's size is below that of the last."""
    texts = {tmp_path / "old": "new", tmp_path / "missing": "new", tmp_path / "large": "x" * 9000}
    (tmp_path / "old").write_text("old", encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_all_if_changed(texts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {"old": "old"}
    assert write_all_if_changed(texts) == list(texts)
    assert write_all_if_changed(texts) == []
    assert {file: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == texts


def test_directories_that_were_missing_are_removed_on_failure(tmp_path: Path) -> None:
    def fail(directory: Path, left: Path) -> None:
        with missing_directories(directory):
            left.touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with missing_directories(tmp_path / "a/b"):
        (tmp_path / "a/b/file").touch()
    for directory, left in (("a/b/c/d", "a/b/c/d/half"), ("a", "a/b/file"), ("c/d", "c/theirs")):
        with pytest.raises(OSError, match="No space left on device; free some and run again") as caught:
            fail(tmp_path / directory, tmp_path / left)
        assert caught.value.filename == str(tmp_path / directory)
    left_over = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left_over == {"a", "a/b", "a/b/file", "c", "c/theirs"}
    with pytest.raises(NotADirectoryError), missing_directories(tmp_path / "a/b/file/d"):
        pass
    assert (tmp_path / "a/b/file").is_file()


def test_a_scratch_directory_without_room_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own path is new each time; an error that names another file is told as it is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    full = (errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*name: str) -> OSError:
        with pytest.raises(OSError, match="No space left on device") as caught, scratch_directory("test") as made:
            raise OSError(*full, *(str(made / each) for each in name))
        return caught.value

    for error in (fail(), fail("file")):
        assert error.filename == str(tmp_path)
        assert error.strerror == "No space left on device; free some, or set TMPDIR to another directory"
    assert (fail("/elsewhere").filename, fail("/elsewhere").strerror) == ("/elsewhere", full[1])
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: (_ for _ in ()).throw(OSError(*full)))
    assert "set TMPDIR" in str(fail())


@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_is_written_and_stays_one(tmp_path: Path, *, link: bool) -> None:
    """As a device does: root's /dev/null must not become a file."""
    pipe, path = tmp_path / "pipe", tmp_path / ("link" if link else "pipe")
    os.mkfifo(pipe)
    if link:
        path.symlink_to(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        check_file(path)
        with new_file(path, mode=0o644) as file:
            file.write(b"data")
        assert read.result() == b"data"
        read = reader.submit(pipe.read_bytes)
        assert write_if_changed(path, "text")
        assert read.result() == b"text"
    assert pipe.is_fifo()
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted({"pipe", path.name})


def test_a_missing_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_if_changed(tmp_path / "missing" / "file", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encode", [os.fspath, os.fsencode])
def test_an_error_names_the_destination_and_nothing_that_is_made_beside_it(tmp_path: Path, encode: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught, new_directory(tmp_path / "out") as made:
        os.rename(encode(made / "from"), encode(made / "a/to"))  # noqa: PTH104 - with names in bytes too
    assert caught.value.filename == str(tmp_path / "out/from")
    assert caught.value.filename2 == str(tmp_path / "out/a/to")
    with pytest.raises(FileNotFoundError) as caught, new_file(tmp_path / "file") as file:
        Path(file.name).unlink()
    assert caught.value.filename == caught.value.filename2 == str(tmp_path / "file")


def test_an_error_about_another_file_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, new_directory(tmp_path / "out"):
        (tmp_path / "other").read_bytes()
    assert Path(caught.value.filename) == tmp_path / "other"


@pytest.mark.parametrize("what", [None, Path("the lock")])
@pytest.mark.parametrize("told", [True, False])
def test_a_wait_for_another_process_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: Path | None, *, told: bool
) -> None:
    """After a second, with the process that has the lock, if the kernel tells; a lock that is free says nothing."""
    if not told:
        monkeypatch.setattr("nixoci.output._LOCKS", tmp_path / "none")
    got = Event()

    def enter() -> None:
        with exclusive_directory(tmp_path, what=what):
            got.set()

    with ThreadPoolExecutor(1) as pool:
        with exclusive_directory(tmp_path):
            waiting = pool.submit(enter)
            deadline = time.monotonic() + 60
            while not caplog.messages and not waiting.done() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not got.is_set()
        waiting.result(60)
    assert got.is_set()
    process = f", the process {os.getpid()}," if told else ""
    assert caplog.messages == [f"{what or tmp_path}: waiting until another nixoci{process} is done with it"]


def test_a_file_system_without_locks_keeps_nobody_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = iter((errno.ENOLCK, errno.EIO))

    def flock(*_: object) -> None:
        raise OSError(next(codes), "no lock")

    monkeypatch.setattr("fcntl.flock", flock)
    with exclusive_directory(tmp_path / "made"):
        assert (tmp_path / "made").is_dir()
    with pytest.raises(OSError, match="no lock"), exclusive_directory(tmp_path):
        pass


def test_a_scratch_directory_sweeps_those_of_its_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("nixoci-delta-left", "nixoci-delta2", "nixoci-notes", "nixoci-prefetch-left"):
        (tmp_path / name).mkdir()
    with scratch_directory("delta") as folder, scratch_directory("delta") as other:
        assert folder.parent == other.parent == tmp_path
        left = {entry.name for entry in tmp_path.iterdir()} - {folder.name, other.name}
        assert left == {"nixoci-delta2", "nixoci-notes", "nixoci-prefetch-left"}
    assert {entry.name for entry in tmp_path.iterdir()} == left
