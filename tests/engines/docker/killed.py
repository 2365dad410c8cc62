"""Kill a registration before each of its changes of the file system, and again with the file that it opens empty.

`python -m tests.engines.docker.killed FOLDER FROM TO` registers the image store TO on the machine FOLDER once for each
point, each time on a copy, in a process that ends there as if by SIGKILL: nothing is cleaned up. It prints the number
of copies; each is left at FOLDER-N, the last one complete.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from tests.engines.docker.place import Place

_CHANGES = {"os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def run(place: Place, store: Path, point: int) -> bool:
    """Register in a child that is killed at a point; return whether it ended before."""
    child = os.fork()
    if not child:
        left = point

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            opens = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
            if not opens and event not in _CHANGES:
                return
            left -= 1 + opens
            if left == -1 and opens:  # the file is there, and nothing in it
                os.mknod(arguments[0], 0o600)
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            place.register(store)
        except BaseException:  # noqa: BLE001 - the parent compares
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return True
    return False


def main() -> None:
    folder, store = Path(sys.argv[1]), Path(sys.argv[2])
    clean = folder.with_name(f"{folder.name}-clean")
    folder.rename(clean)
    points, done = 0, False
    while not done:
        # always in the same place: the list of what was written says which
        shutil.copytree(clean, folder, symlinks=True)
        done = run(Place(folder, store.parent), store, points + 1)
        folder.rename(folder.with_name(f"{folder.name}-{points}"))
        points += 1
    sys.stdout.write(f"{points}\n")


if __name__ == "__main__":
    main()
