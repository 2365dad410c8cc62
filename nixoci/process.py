"""The one place that runs other programs: argument lists only, the argv logged, failures in the program's words."""

import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nixoci.errors import ProcessError

log = logging.getLogger(__name__)


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    package: str | None = None,
    env: Mapping[str, str] | None = None,
    silent: bool = False,
) -> bytes:
    """Run a program to its end and return its standard output.

    Args:
        argv: The program and its arguments; no shell is involved.
        stdin: What it reads; nothing by default.
        package: What to install where the program is missing, for the error message.
        env: Its environment, all of it; that of this process by default.
        silent: It has failed too if it writes to stderr.

    Raises:
        ProcessError: Not found, or a non-zero exit; the message ends with the last line it wrote to stderr.
    """
    command = [os.fspath(part) for part in argv]
    log.debug("running: %s", shlex.join(command))
    if shutil.which(command[0]) is None:
        raise ProcessError(
            f"{command[0]}: program not found; install {package or command[0]} and make sure that it is on PATH"
        )
    done = subprocess.run(  # noqa: S603 - a list, no shell
        command, input=stdin or b"", capture_output=True, check=False, env=env
    )
    if done.returncode != 0 or (silent and done.stderr):
        stderr = done.stderr.decode("utf-8", "replace")
        lines = stderr.strip().splitlines()
        last = lines[-1] if lines else "it wrote no message"
        raise ProcessError(f"{shlex.join(command[:4])}: exit code {done.returncode}: {last}", stderr=stderr)
    return done.stdout
