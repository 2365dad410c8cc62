"""Files that are replaced whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_NEW_FILE = 0o666


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
