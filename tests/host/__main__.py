"""The test host by hand, as root from the top of the checkout.

python -m tests.host build               make everything that is cached: the file system, the sample images
python -m tests.host shell [USER]        a shell in a fresh machine, thrown away when it ends
python -m tests.host run COMMAND...      one command in a fresh machine

The sample images lie under /images inside; `build` lists how to name them. The checkout's nixoci is the
command `nixoci`, the checkout itself is /src.
"""

# ruff: noqa: T201  # a person reads what this prints

from __future__ import annotations

import subprocess
import sys

from tests.host.images import INSIDE, images, images_dir
from tests.host.machine import Machine
from tests.host.rootfs import rootfs

SHELL = ["bash"]
"""The shell in a machine; a login shell would take the PATH of /etc/profile, without the checkout's command."""


def main(arguments: list[str]) -> int:
    """Run one of the verbs above; return its exit code."""
    match arguments:
        case ["build"]:
            print(rootfs())
            for pair in images().values():
                print(pair.old.inside, pair.new.inside, sep="\n")
            return 0
        case ["shell"]:
            return _attached(SHELL, None)
        case ["shell", user]:
            return _attached(SHELL, user)
        case ["run", _, *_]:
            return _attached(arguments[1:], None)
    print(__doc__, file=sys.stderr)
    return 2


def _attached(argv: list[str], user: str | None) -> int:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        if user:
            machine.linger(user)
        return subprocess.run(machine.command(argv, user=user, env={"TERM": "xterm"}), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
