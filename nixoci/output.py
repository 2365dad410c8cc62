"""Output that is there whole or not at all: made beside its destination, and then renamed."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nixoci.errors import StoreError

_MODE = 0o755
_NEW_FILE = 0o666
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def new_directory(dest: Path) -> Iterator[Path]:
    """Give a new directory beside `dest` that becomes `dest` if the block succeeds, and is removed if it fails.

    What a process left there that was killed is removed by the next one for the same `dest`.

    Raises:
        StoreError: `dest` exists, or its parent does not.
        OSError: The disk is full; it names `dest`.
    """
    if dest.exists() or dest.is_symlink():
        raise StoreError(f"{dest}: exists already; remove it or choose another destination")
    if not dest.parent.is_dir():
        raise StoreError(f"{dest}: its parent directory does not exist; make it first")
    prefix = f".{dest.name}.nixoci-"
    with suppress(OSError):  # a parent that may be written but not listed
        _sweep(dest.parent, prefix)
    made, handle = _make(dest.parent, prefix)
    try:
        yield made
        made.chmod(_MODE)
        made.rename(dest)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:  # a failed write does not know its file
            raise OSError(error.errno, f"{error.strerror}; free some and run again", os.fspath(dest)) from error
        raise
    finally:
        os.close(handle)


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a directory and return it with the handle whose lock says that its process is alive."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = os.open(made, _DIRECTORY)
        with suppress(OSError):  # file systems without locks: then nobody gets one, and nothing is ever swept
            fcntl.flock(handle, fcntl.LOCK_EX)
        if made.exists():
            return made, handle
        os.close(handle)  # another process swept it before it was locked


def _sweep(parent: Path, prefix: str) -> None:
    """Remove the directories of these names that this user made and that no process holds."""
    for entry in os.scandir(parent):
        if not entry.name.startswith(prefix):
            continue
        with suppress(OSError):
            handle = os.open(entry.path, _DIRECTORY)
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.path)
            finally:
                os.close(handle)


def write_if_changed(path: Path, text: str) -> bool:
    """Make `text` the content of the file, unless it is already; return whether it was written.

    A reader sees the old file or the new one, also after a crash. The mode of an existing file is kept.

    Raises:
        OSError: It cannot be read or written; what was there is untouched.
    """
    data = text.encode("utf-8")
    try:
        if path.read_bytes() == data:
            return False
        mode = path.stat().st_mode & 0o7777
    except FileNotFoundError:
        mode = _NEW_FILE & ~_umask()
    target = path.resolve()  # a symlink stays one
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
