"""The one place that runs other programs: argument lists only, the argv logged, failures in the program's words."""

import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nixoci.errors import ProcessError

log = logging.getLogger(__name__)


def run(argv: Sequence[str | Path], *, stdin: bytes | None = None, package: str | None = None) -> bytes:
    """Run a program to its end and return its standard output.

    Args:
        argv: The program and its arguments; no shell is involved.
        stdin: What it reads; nothing by default.
        package: What to install where the program is missing, for the error message.

    Raises:
        ProcessError: Not found, or a non-zero exit; the message ends with the last line it wrote to stderr.
    """
    command = [os.fspath(part) for part in argv]
    log.debug("running: %s", shlex.join(command))
    if shutil.which(command[0]) is None:
        raise ProcessError(
            f"{command[0]}: program not found; install {package or command[0]} and make sure that it is on PATH"
        )
    done = subprocess.run(command, input=stdin or b"", capture_output=True, check=False)  # noqa: S603 - a list, no shell
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else "it wrote no message"
        raise ProcessError(f"{shlex.join(command[:4])}: exit code {done.returncode}: {last}")
    return done.stdout
