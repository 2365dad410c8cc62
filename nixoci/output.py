"""Output that appears whole or not at all: made beside its destination, then renamed."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nixoci.errors import StoreError

log = logging.getLogger(__name__)

ANOTHER_TMPDIR = "set TMPDIR to another directory"
"""The way out where a scratch directory has no room."""

_MODE = 0o755
_SILENT = 1.0
"""Seconds to wait for another process before that is said."""
_POLL = 0.05
_LOCKS = Path("/proc/locks")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
"""Errors of a directory that is renamed to a path where something is."""
_NO_FLOCK = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of network file systems that cannot lock directories; writers there are not kept apart."""


@contextmanager
def temporary_directory(*, prefix: str, parent: Path) -> Iterator[Path]:
    """Give a new directory in `parent` and remove it, with all that is in it, when the block ends.

    A directory that a killed process left is removed by the next call of the same user with the same prefix and parent.

    Args:
        prefix: Start of the directory's name; nothing else in `parent` starts with it.
        parent: An existing directory.

    Raises:
        OSError: The directory cannot be made.
    """
    with suppress(OSError):  # a parent that may be written but not listed
        _sweep(parent, prefix)
    made, handle = _make_locked(parent, prefix)
    try:
        yield made
    finally:
        try:
            _remove(made)
        finally:
            os.close(handle)


@contextmanager
def scratch_directory(use: str) -> Iterator[Path]:
    """Give a new directory for the files of a block in TMPDIR or /tmp, as `temporary_directory` does.

    Args:
        use: Names the use; directories that killed processes left are removed by the next of the same use.

    Raises:
        OSError: The directory cannot be made, or its file system is full; then it names TMPDIR or /tmp.
    """
    parent = Path(tempfile.gettempdir())
    made = None
    try:
        with temporary_directory(prefix=f"nixoci-{use}-", parent=parent) as made:
            yield made
    except OSError as error:
        if error.errno not in _FULL or not _is_of(error, made):
            raise
        raise OSError(error.errno, f"{error.strerror}; free some, or {ANOTHER_TMPDIR}", os.fspath(parent)) from error


def _is_of(error: OSError, scratch: Path | None) -> bool:
    """Return whether an error is of a write, which names no file, or of a file in a scratch directory or of it."""
    return scratch is None or error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(scratch)


def _remove(directory: Path) -> None:
    """Remove a directory, all of it too if a signal comes meanwhile whose handler raises."""
    try:
        shutil.rmtree(directory, ignore_errors=True)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _make_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a directory and return it with a descriptor that holds its lock as long as this process lives.

    Other processes sweep directories that nobody has locked. Until the lock is held, this one is theirs to remove.
    """
    while True:
        try:
            made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except OSError as error:  # the error names a directory that the user does not know
            raise OSError(error.errno, error.strerror, os.fspath(parent)) from error
        try:
            handle = os.open(made, _DIRECTORY)
        except FileNotFoundError:  # swept before it was open
            continue
        with suppress(OSError):  # on a file system without locks, nobody gets one, and nothing is ever swept
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, made):
            return made, handle
        os.close(handle)  # swept before it was locked


def _sweep(parent: Path, prefix: str) -> None:
    """Remove the directories with this prefix that this user made and that no process has locked."""
    for entry in os.scandir(parent):
        if not entry.name.startswith(prefix):
            continue
        with suppress(OSError):
            handle = os.open(entry.path, _DIRECTORY)
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(handle, Path(entry.path)):
                        shutil.rmtree(entry.path)
            finally:
                os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def exclusive_directory(directory: Path, *, what: Path | None = None) -> Iterator[None]:
    """Make a directory if it is missing, and keep other processes out of this block until it ends.

    The lock is on the directory itself, so that no other file has to lie there. After a second of waiting for another
    process, a warning is logged.

    Args:
        directory: The directory.
        what: The file or directory that the block changes, for that warning; by default `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            _wait_for_lock(handle, what or directory)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int, what: Path) -> None:
    said_at = time.monotonic() + _SILENT
    while time.monotonic() < said_at:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL)
        else:
            return
    holder = _holder(handle)
    named = "" if holder is None else f", the process {holder},"
    log.warning("%s: waiting until another nixoci%s is done with it", what, named)
    fcntl.flock(handle, fcntl.LOCK_EX)


def _holder(handle: int) -> int | None:
    """Return the id of the process that holds the lock of an open file; None if the kernel does not tell.

    It does not for a process of an outer namespace, and for file systems whose files have another device number there.
    """
    status = os.fstat(handle)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError):
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            match line.split()[1:]:  # proc_locks(5); of those that wait, the second word is an arrow
                case ["FLOCK", _, _, process, at, *_] if at == file and int(process) > 0:
                    return int(process)
    return None


@contextmanager
def new_directory(dest: Path) -> Iterator[Path]:
    """Give a new directory beside `dest` that becomes `dest` if the block succeeds, and is removed if it fails.

    A directory that a killed process left there is removed by the next one for the same `dest`.

    Raises:
        StoreError: `dest` exists, or its parent does not.
        OSError: The disk is full; it names `dest`, or a path that would be in it.
    """
    if dest.exists() or dest.is_symlink():
        raise _exists(dest)
    if not dest.parent.is_dir():
        raise StoreError(f"{dest}: its parent directory does not exist; make it first")
    with temporary_directory(prefix=_prefix(dest), parent=dest.parent) as made, _errors_name(dest, made):
        yield made
        made.chmod(_MODE)
        try:
            made.rename(dest)
        except OSError as error:
            if error.errno in _TAKEN:  # by another process, since the block began
                raise _exists(dest) from error
            raise


@contextmanager
def missing_directories(directory: Path) -> Iterator[None]:
    """Make a directory and those above it, if they are missing, and remove them if the block fails.

    With a missing `directory`, all that is in it is removed. It is for what has to be made at its final path; other
    directories are made with `new_directory`, so that also a process that is killed leaves no half of them.

    Raises:
        OSError: They cannot be made, or the disk is full; it names one of them.
    """
    missing = [each for each in (directory, *directory.parents) if not os.path.lexists(each)]
    try:
        with full_disk_names(directory):
            directory.mkdir(parents=True, exist_ok=True)
            yield
    except BaseException:
        if directory in missing:
            shutil.rmtree(directory, ignore_errors=True)
        for each in missing[1:]:
            with suppress(OSError):  # one that was not made, or where another process has made something
                each.rmdir()
        raise


def _exists(dest: Path) -> StoreError:
    return StoreError(f"{dest}: exists already; remove it or choose another destination")


def check_reachable(path: Path) -> None:
    """Refuse a path that the user may not look at, for which `Path.exists` says that nothing is there.

    Raises:
        PermissionError: It names the path.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


@contextmanager
def full_disk_names(dest: Path) -> Iterator[None]:
    """Let the error of a full disk name `dest`: a write that fails names no file."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, f"{error.strerror}; free some and run again", os.fspath(dest)) from error
        raise


@contextmanager
def _errors_name(dest: Path, made: Path) -> Iterator[None]:
    """Let an error name `dest`, or a path in it, and not `made` beside it, which the user does not know."""
    try:
        with full_disk_names(dest):
            yield
    except OSError as error:
        for name in ("filename", "filename2"):
            path = getattr(error, name)
            if isinstance(path, (str, bytes)) and Path(os.fsdecode(path)).is_relative_to(made):
                setattr(error, name, str(dest / Path(os.fsdecode(path)).relative_to(made)))
        raise


@contextmanager
def new_file(path: Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` if the block succeeds; if it fails, `path` stays as it was.

    A reader sees the old file or the new one, also after a crash. If `path` is a symlink, its target is replaced. A
    device or a pipe, such as /dev/null, is never replaced, but written as the block writes.

    Args:
        path: The file.
        mode: Its permissions; by default those of any new file.

    Raises:
        OSError: It cannot be written; `path` is untouched.
    """
    if _is_written_in_place(path):
        with full_disk_names(path), path.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # a loop; Path.resolve() raises RuntimeError, and since Python 3.13 nothing
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    with temporary_directory(prefix=_prefix(target), parent=target.parent) as folder:
        made = folder / "new"
        with _errors_name(path, made):
            with made.open("xb") as file:
                yield file
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            made.replace(target)


def differs(path: Path, data: bytes) -> bool:
    """Return whether a file has another content, or none; what is no file is not read, and differs."""
    return not path.is_file() or path.read_bytes() != data


def write_if_changed(path: Path, text: str) -> bool:
    """Make `text` the content of the file, unless it is already; return whether it was written.

    A reader sees the old file or the new one, also after a crash. The mode of an existing file is kept. A device or a
    pipe is not read, and always written.

    Raises:
        OSError: It cannot be read or written; an existing file is untouched.
    """
    return write_all_if_changed({path: text}) == [path]


def write_all_if_changed(texts: Mapping[Path, str]) -> list[Path]:
    """Make each text the content of its file, as `write_if_changed`, and return the paths that were written.

    All of them are written before the first takes its place, so that a full disk leaves all files as they were.

    Raises:
        OSError: One cannot be read or written; all existing files are untouched.
    """
    changed = {path: data for path, text in texts.items() if differs(path, data := text.encode("utf-8"))}
    with ExitStack() as files:
        for path, data in changed.items():
            mode = path.stat().st_mode & 0o7777 if path.is_file() else None
            file = files.enter_context(new_file(path, mode=mode))
            with full_disk_names(path):
                file.write(data)
                file.flush()
    return list(changed)


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before work whose result would be the only one.

    Directories above it may be missing, if they can be made.

    Raises:
        OSError: It names the directory in the way.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if _is_written_in_place(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return
    parent = next(folder for folder in path.resolve().parents if os.path.lexists(folder))
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        reason = errno.EROFS if os.statvfs(parent).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(reason, os.strerror(reason), os.fspath(parent))


def _is_written_in_place(path: Path) -> bool:
    """Return whether something is there that a file must not replace: a device, a pipe or a socket."""
    return path.exists() and not path.is_file() and not path.is_dir()


def flush_directory(directory: Path) -> None:
    """Write a directory to the disk, so that it has these entries after a power cut.

    Raises:
        OSError: It cannot be written.
    """
    handle = os.open(directory, _DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prefix(dest: Path) -> str:
    return f".{dest.name}.nixoci-"
