"""Files on the command line, where `-` is standard input or output; a file of that name is `./-`."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from nixoci.errors import NixociError
from nixoci.output import check_file, differs, new_file, write_if_changed

STANDARD = "-"
_ADDRESS = re.compile("(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<path>.*)", re.DOTALL)
"""Matches a URL; a path is found as well without its second slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file to read; standard input if `path` is None."""

    path: Path | None

    def __str__(self) -> str:
        return "standard input" if self.path is None else str(self.path)

    @property
    def argument(self) -> str:
        """The text that names it on a command line."""
        return STANDARD if self.path is None else str(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file while the block runs; standard input stays open."""
        if self.path is None:
            yield sys.stdin.buffer
            return
        with self.path.open("rb") as file:
            yield file

    def read_bytes(self) -> bytes:
        """Return the whole content."""
        with self.open() as file:
            return file.read()


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file to write; standard output if `path` is None."""

    path: Path | None

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file for bytes while the block runs: it appears whole or not at all; standard output stays open.

        Raises:
            OSError: The file cannot be made, or its disk is full.
            NixociError: It cannot be written; no caller takes that for the broken pipe of a program that it talks to.
        """
        try:
            if self.path is not None:
                with new_file(self.path) as file:
                    yield file
            else:
                yield sys.stdout.buffer
                sys.stdout.buffer.flush()
        except OSError as error:
            if error.filename:
                raise
            raise NixociError(f"{self}: cannot be written: {error.strerror}") from error

    def write(self, text: str) -> bool:
        """Write the text; a file is touched only if its content changes. Return whether it was written."""
        if self.path is None:
            click.echo(text, nl=False)
            return True
        return write_if_changed(self.path, text)

    def check(self, text: str) -> None:
        """Refuse a file that `write` cannot write; directories above it may be missing.

        Raises:
            OSError: It names the directory in the way.
        """
        if self.path is not None and self.differs(text):
            check_file(self.path)

    def differs(self, text: str) -> bool:
        """Return whether `write` would change the file."""
        return self.path is None or differs(self.path, text.encode())


class _Path(click.Path):
    """A path. The work finds out whether it can be used: that is no question of usage, unless it is empty."""

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; pathlib takes an empty one for the working directory, and a URL for a relative path."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        if isinstance(value, str) and (address := _ADDRESS.match(value)) is not None:
            wanted = f"its path, {address['path']}" if address["scheme"] == "file" else "a path on this machine"
            raise NixociError(f"{value} is a URL; give {wanted}")
        return super().convert(value, param, ctx)


PATH = _Path()
"""The type of a path."""


class _File(_Path):
    """A file or `-`, which one option or argument of a command may have."""

    def __init__(self, kind: type[Input] | type[Output]) -> None:
        super().__init__()
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, self._kind):
            return value
        if value != STANDARD:
            return self._kind(path=Path(os.fsdecode(super().convert(value, param, ctx))))
        if ctx is not None and ctx.meta.setdefault(f"{__name__}.{self._kind.__name__}", param) is not param:
            self.fail("`-` is given twice; one of the two has to be a file", param, ctx)
        return self._kind(path=None)


class LockFile(_Path):
    """The lock file of a verb that changes it, or that refers to it by its path."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; the lock of such a verb has to be a file."""
        if value == STANDARD:
            self.fail("the lock has to be a file here, not standard input", param, ctx)
        return super().convert(value, param, ctx)


INPUT = _File(Input)
OUTPUT = _File(Output)

output_option = click.option(
    "-o",
    "--output",
    type=OUTPUT,
    default=STANDARD,
    metavar="FILE",
    help="Write to FILE; by default, and for -, to standard output.",
)
"""`--output FILE` of a verb that writes text, passed as the `Output` named `output`."""
