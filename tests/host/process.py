"""The one place where the test host starts programs that run to their end."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LONG = 1800.0
"""Time limit in seconds of a step that downloads and unpacks packages."""

FETCH = ("curl", "--silent", "--show-error", "--fail", "--retry=60", "--retry-all-errors", "--retry-delay=1")
"""Fetches from a server, with retries, because the server may be ready a moment after its unit."""


class CommandError(Exception):
    """A command failed or took too long; the text has its whole output."""

    def __init__(self, argv: Sequence[str | Path], what: str, stdout: str, stderr: str) -> None:
        super().__init__(f"{shlex.join(map(str, argv))}\n{what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
        self.stdout = stdout
        self.stderr = stderr


def run(
    argv: Sequence[str | Path],
    *,
    shown: Sequence[str] | None = None,
    input: str | None = None,  # noqa: A002  # as subprocess.run names it
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 300.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with captured output; `shown` is the argv that an error names."""
    try:
        done = subprocess.run(
            argv,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as late:
        said = (_text(late.stdout), _text(late.stderr))
        raise CommandError(shown or argv, f"did not end within {timeout:g} s", *said) from None
    if check and done.returncode:
        raise CommandError(shown or argv, f"exit code {done.returncode}", done.stdout, done.stderr)
    return done


def _text(output: str | bytes | None) -> str:
    """Decode the output of a command that timed out, which is bytes even if text was requested."""
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""
