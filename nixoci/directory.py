"""Output that is there whole or not at all: a directory that is made beside its destination and then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nixoci.errors import StoreError

_MODE = 0o755


@contextmanager
def new_directory(dest: Path) -> Iterator[Path]:
    """Give a new directory beside `dest` that becomes `dest` if the block succeeds, and is removed if it fails.

    Raises:
        StoreError: `dest` exists, or its parent does not.
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
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
