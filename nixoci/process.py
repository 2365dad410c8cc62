"""The one place that runs other programs: argument lists only, the argv logged, failures in the program's words."""

import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
    command = _command(argv, package)
    done = subprocess.run(  # noqa: S603 - a list, no shell
        command, input=stdin or b"", capture_output=True, check=False, env=env
    )
    if done.returncode != 0 or (silent and done.stderr):
        raise _failure(command, done.returncode, done.stderr)
    return done.stdout


@contextmanager
def feed(argv: Sequence[str | Path], *, package: str | None = None) -> Iterator[IO[bytes]]:
    """Run a program while the block writes to its standard input; its standard output is dropped.

    If the block fails, the program is terminated, and after five seconds killed.

    Args:
        argv: The program and its arguments; no shell is involved.
        package: What to install where the program is missing, for the error message.

    Raises:
        ProcessError: Not found, or a non-zero exit, also where it ended before it had read everything.
    """
    command = _command(argv, package)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - a list, no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        )
        stdin = process.stdin
        try:
            if stdin is None:
                raise ProcessError(f"{command[0]}: has no standard input")
            try:
                yield stdin
                stdin.close()
            except BrokenPipeError:
                log.debug("%s ended before it had read everything", command[0])
            code = process.wait()
        finally:
            _end(process)
        if code != 0:
            errors.seek(0)
            raise _failure(command, code, errors.read())


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(argv: Sequence[str | Path], package: str | None) -> list[str]:
    command = [os.fspath(part) for part in argv]
    log.debug("running: %s", shlex.join(command))
    if shutil.which(command[0]) is None:
        raise ProcessError(
            f"{command[0]}: program not found; install {package or command[0]} and make sure that it is on PATH"
        )
    return command


def _failure(command: list[str], code: int, stderr: bytes) -> ProcessError:
    text = stderr.decode("utf-8", "replace")
    lines = text.strip().splitlines()
    last = lines[-1] if lines else "it wrote no message"
    return ProcessError(f"{shlex.join(command[:4])}: exit code {code}: {last}", stderr=text)
