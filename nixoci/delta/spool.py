"""The temporary folder of a receiver, which has room and goes away."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nixoci.errors import DeltaError

_SPOOL = "nixoci-receive-"


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise DeltaError unless the folder's file system has so many bytes free."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DeltaError(
            f"{what}: needs {size} bytes in {folder.parent}, which has {free}; set TMPDIR to another folder"
        )


@contextmanager
def spool() -> Iterator[Path]:
    """Make a temporary folder, and remove those of receivers that were killed."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_SPOOL}*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_SPOOL) as folder, _locked(Path(folder)):
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DeltaError(f"{parent}: no space left for what is received; set TMPDIR to another folder") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the kernel lets go of it when this process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise PermissionError
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
