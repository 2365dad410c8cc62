"""The temporary directory of a receiver, and its free space."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nixoci.errors import DeltaError
from nixoci.output import ANOTHER_TMPDIR, scratch_directory


@contextmanager
def spool() -> Iterator[Path]:
    """Make a temporary directory, and remove those of receivers that were killed.

    Raises:
        DeltaError: Its file system is full.
    """
    try:
        with scratch_directory("receive") as directory:
            yield directory
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DeltaError(f"{error.filename}: {error.strerror}") from error


def need_space(directory: Path, size: int, what: str) -> None:
    """Raise DeltaError unless the file system of a receiver's temporary directory has that many bytes free."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise DeltaError(f"{what}: needs {size} bytes in {directory.parent}, which has {free}; {ANOTHER_TMPDIR}")
