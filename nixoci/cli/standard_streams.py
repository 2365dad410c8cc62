"""Standard input, output and error of the command, from its start to its end."""

import errno
import io
import os
import sys


def open_standard_streams() -> None:
    """Open /dev/null for each standard stream that this process was started without.

    Otherwise Python has None for it, and the next file that is opened takes its number, into which programs would then
    write. Standard output fails when it is written to; what goes to standard error is lost.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # noqa: FBT003 - it gets the lowest free number
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the process is
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def print_any_name() -> None:
    """Let stdout print names of files that are not UTF-8 with the bytes that they have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def finish_output() -> None:
    """Write what is left in stdout's buffer; a reader that has gone is no failure of its own.

    Raises:
        OSError: It cannot be written; nothing is left for Python to fail with when it ends.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            raise
