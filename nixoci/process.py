"""Running other programs: from argument lists only, with the argv logged and failures in the program's own words."""

import errno
import fcntl
import logging
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO

from nixoci.errors import ProcessError

log = logging.getLogger(__name__)

_waited_for: "set[subprocess.Popen[bytes]]" = set()
_ended = Event()
"""Set once `end_programs` was called."""

_TOO_LARGE = re.compile(r"SIGXFSZ|[Ff]ile too large")
"""Matches what Go writes when it is ended so, and the error of a program that ignores the signal."""

_CLOSED_DAEMON = re.compile(r"daemon-socket/socket.*: Permission denied")
"""Matches what Nix says to a user whom its daemon does not serve."""

_EXAMINED = {"composefs", "nix", "podman", "skopeo"}
"""Packages that every machine needs for some verb, and that `nixoci doctor` looks for."""

_PIPE = 1 << 20
"""Pipe buffer size: the default of /proc/sys/fs/pipe-max-size, the largest that an ordinary user may set."""


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    package: str | None = None,
    env: Mapping[str, str] | None = None,
    silent: bool = False,
    largest_file: int | None = None,
    give_up: re.Pattern[bytes] | None = None,
    cleans_up: bool = False,
) -> bytes:
    """Run a program to its end and return its standard output.

    Args:
        argv: The program and its arguments; no shell is involved.
        stdin: Its standard input; empty by default.
        package: The package to install if the program is missing, for the error message.
        env: Its whole environment; by default that of this process.
        silent: Treat any output on stderr as a failure.
        largest_file: Bytes that a file may have which it writes; by default any number.
        give_up: Matches lines on stderr after which it would try in vain; it is terminated then.
        cleans_up: Run it after `end_programs` too, which does not terminate it.

    Raises:
        FileSizeError: It tried to write a larger file.
        ProcessError: Not found, not to be started, or a non-zero exit; the message ends with the last line it wrote to
            stderr.
    """
    command = _command(argv, package)
    pipe = subprocess.PIPE
    if _ended.is_set() and not cleans_up:
        raise ProcessError(f"{command[0]}: not started: nixoci was told to end")
    with _start(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        try:
            if not cleans_up:
                _waited_for.add(process)
                if _ended.is_set():  # while it was started
                    process.terminate()
            if largest_file is not None:
                _limit_files(process.pid, largest_file)
            printed, errors = _communicate(process, stdin or b"", give_up)
        except BaseException:
            process.kill()
            raise
        finally:
            _waited_for.discard(process)
    if process.returncode != 0 or (silent and errors):
        failure = _failure(command, process.returncode, errors, printed)
        if largest_file is not None and (process.returncode == -signal.SIGXFSZ or _TOO_LARGE.search(failure.stderr)):
            raise FileSizeError(str(failure), stderr=failure.stderr, stdout=failure.stdout)
        raise failure
    return printed


def _communicate(
    process: "subprocess.Popen[bytes]", stdin: bytes, give_up: re.Pattern[bytes] | None
) -> tuple[bytes, bytes]:
    """Return what a program writes to its standard output and to stderr, to its end or to a line that gives it up."""
    if give_up is None:
        return process.communicate(stdin)
    errors, process.stderr = _pipe(process.stderr), None

    lines: list[bytes] = []

    def watch() -> None:
        with errors:
            for line in errors:
                lines.append(line)
                if give_up.search(line):
                    process.terminate()
                    break

    watching = Thread(target=watch, daemon=True)  # it ends with the program, which `run` kills if this fails
    watching.start()
    printed, _ = process.communicate(stdin)
    watching.join()
    return printed, b"".join(lines)


def end_programs() -> None:
    """Terminate the programs that `run` waits for, in all threads, and let `run` start none any more but to clean up.

    For a process that ends: a thread cannot be told to stop waiting, or to do none of what it does next.
    """
    _ended.set()
    for process in list(_waited_for):
        process.terminate()


@contextmanager
def feed(
    argv: Sequence[str | Path], *, package: str | None = None, env: Mapping[str, str] | None = None
) -> Iterator[IO[bytes]]:
    """Run a program while the block writes to its standard input; its standard output is dropped.

    If the block fails, the program is terminated, and after five seconds killed.

    Args:
        argv: The program and its arguments; no shell is involved.
        package: The package to install if the program is missing, for the error message.
        env: Its whole environment; by default that of this process.

    Raises:
        ProcessError: Not found, a non-zero exit, or it ended before it had read everything.
    """
    with _running(argv, package, stdout=subprocess.DEVNULL, env=env) as process:
        yield _pipe(process.stdin)


# It finds the modules where this process does.
_MODULE = """
import sys
sys.path[:] = sys.argv[3:]
from importlib import import_module
import_module(sys.argv[1]).main(sys.argv[2])
"""


_HEAP = 16 << 20
"""Bytes of free memory that a module keeps."""


def start_python(module: str, argument: str, *, stdin: int) -> "subprocess.Popen[bytes]":
    """Start a module of this package as a program, without waiting for it; whoever calls ends it.

    Args:
        module: Its name; its function `main` is called.
        argument: The argument of that function.
        stdin: The descriptor that becomes its standard input. Its standard output is a pipe, its errors are dropped.

    Raises:
        OSError: It cannot be started, or this process is no ordinary Python.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise FileNotFoundError(errno.ENOENT, "no interpreter of Python", sys.executable)
    command = [sys.executable, "-I", "-c", _MODULE, module, argument, *map(os.path.abspath, sys.path)]
    log.debug("running: %s", shlex.join(command[:6]))
    # numpy's library would start threads when it is loaded; glibc would give memory back after each of its arrays
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_TOP_PAD_": str(_HEAP)}
    return subprocess.Popen(  # noqa: S603 - a list, no shell
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    )


class FileSizeError(ProcessError):
    """A program tried to write a file that is larger than it may be."""


def _limit_files(process: int, size: int) -> None:
    """Let the kernel end a process that makes a file larger than `size`; what it has written before stays."""
    _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    least = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (least, least))


class HungUpError(Exception):
    """The program at the other end of a conversation has ended or closed its pipes."""


class Conversation:
    """The standard input and output of a running program.

    Raises:
        HungUpError: From every method, if the program has ended.
    """

    def __init__(self, to: IO[bytes], back: IO[bytes]) -> None:
        self._to = to
        self._back = back

    def write(self, data: bytes | memoryview, /) -> None:
        """Send data to the program, which reads it after `flush` at the latest."""
        try:
            self._to.write(data)
        except BrokenPipeError as error:
            raise HungUpError from error

    def flush(self) -> None:
        """Send everything that was written."""
        try:
            self._to.flush()
        except BrokenPipeError as error:
            raise HungUpError from error

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes that the program writes, once all are there."""
        data = self._back.read(count)
        if len(data) < count:
            raise HungUpError
        return data


@contextmanager
def converse(argv: Sequence[str | Path], *, package: str | None = None) -> Iterator[Conversation]:
    """Run a program while the block writes to it and reads its answers; otherwise like `feed`.

    Raises:
        ProcessError: Not found, a non-zero exit, or it hung up on the block.
    """
    with _running(argv, package, stdout=subprocess.PIPE) as process:
        yield Conversation(_pipe(process.stdin), _pipe(process.stdout))


@contextmanager
def _running(
    argv: Sequence[str | Path], package: str | None, *, stdout: int, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    command = _command(argv, package)
    with tempfile.TemporaryFile() as errors:
        process = _start(command, stdin=subprocess.PIPE, stdout=stdout, stderr=errors, env=env)
        with suppress(OSError):  # over the user's limit
            fcntl.fcntl(_pipe(process.stdin), fcntl.F_SETPIPE_SZ, _PIPE)
        hung_up = False
        try:
            try:
                yield process
            except (BrokenPipeError, HungUpError):
                hung_up = True
            try:
                _pipe(process.stdin).close()
            except BrokenPipeError:
                hung_up = True
            code = process.wait()
        finally:
            _end(process)
        if code != 0 or hung_up:
            errors.seek(0)
            raise _failure(command, code, errors.read())


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ProcessError("a program was started without the pipe to it")
    return pipe


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(BrokenPipeError), process:  # closing writes the rest of the buffer
        if process.poll() is None:
            process.terminate()
            if process.stdout is not None:  # in a conversation, it may wait for a request and not look at signals
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
                _hang_up(_pipe(process.stdin))
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


def _hang_up(pipe: IO[bytes]) -> None:
    """Let the reader of a pipe see its end; what is still to be written goes nowhere."""
    if not pipe.closed:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, pipe.fileno(), inheritable=False)
        os.close(nowhere)


def _command(argv: Sequence[str | Path], package: str | None) -> list[str]:
    command = [os.fspath(part) for part in argv]
    log.debug("running: %s", shlex.join(command))
    if shutil.which(command[0]) is None:
        package = package or command[0]
        more = "; `nixoci doctor` says what else is missing" if package in _EXAMINED else ""
        raise ProcessError(f"{command[0]}: program not found; install {package} and make sure that it is on PATH{more}")
    return command


def _start(
    command: list[str], *, stdin: int, stdout: int, stderr: int | IO[bytes], env: Mapping[str, str] | None
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env)  # noqa: S603 - a list
    except OSError as error:
        # of a script, the file that is not there is the interpreter
        more = "; is it installed whole?" if error.errno in {errno.ENOENT, errno.ENOEXEC} else ""
        raise ProcessError(f"{command[0]}: cannot be started: {error.strerror}{more}") from error


def _failure(command: list[str], code: int, stderr: bytes, stdout: bytes = b"") -> ProcessError:
    text, printed = stderr.decode("utf-8", "replace"), stdout.decode("utf-8", "replace")
    lines = text.strip().splitlines()
    last = lines[-1] if lines else "it wrote no message"
    if _CLOSED_DAEMON.search(last):
        last += "; `nixoci doctor` says how this user gets access to the Nix daemon"
    message = f"{shlex.join(command[:4])}: exit code {code}: {last}"
    return ProcessError(message, code=code, stderr=text, stdout=printed)
