"""The temporary directory of a receiver, and its free space."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nixoci.errors import DeltaError
from nixoci.output import scratch_directory


@contextmanager
def spool() -> Iterator[Path]:
    """Make a temporary directory, and remove those of receivers that were killed.

    Raises:
        DeltaError: Its file system is full.
    """
    parent = Path(tempfile.gettempdir())
    try:
        with scratch_directory("receive") as directory:
            yield directory
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DeltaError(f"{parent}: no space left for the received data; set TMPDIR to another directory") from error


def need_space(directory: Path, size: int, what: str) -> None:
    """Raise DeltaError unless the file system of a receiver's temporary directory has that many bytes free."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise DeltaError(
            f"{what}: needs {size} bytes in {directory.parent}, which has {free}; set TMPDIR to another directory"
        )
