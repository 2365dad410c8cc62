"""Output that is there whole or not at all: a directory that is made beside its destination and then renamed."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nixoci.errors import StoreError

_MODE = 0o755
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def new_directory(dest: Path) -> Iterator[Path]:
    """Give a new directory beside `dest` that becomes `dest` if the block succeeds, and is removed if it fails.

    Raises:
        StoreError: `dest` exists, or its parent does not.
        OSError: The disk is full; it names `dest`.
    """
    if dest.exists() or dest.is_symlink():
        raise StoreError(f"{dest}: exists already; remove it or choose another destination")
    if not dest.parent.is_dir():
        raise StoreError(f"{dest}: its parent directory does not exist; make it first")
    made = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        yield made
        made.chmod(_MODE)
        made.rename(dest)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:  # a failed write does not know its file
            raise OSError(error.errno, f"{error.strerror}; free some and run again", os.fspath(dest)) from error
        raise
