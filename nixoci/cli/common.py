"""What the verbs share: options that mean the same everywhere, machine-readable output, errors in one line."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from nixoci.document import unstructure
from nixoci.errors import NixociError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_LOCK = Path("nixoci.lock.json")


def parsed_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return an option's type that reads its text with `parse`; what that refuses is wrong usage."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except NixociError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def lock_option(command: F) -> F:
    """Add `--lock FILE`, passed as `lock`."""
    return click.option(
        "--lock",
        type=click.Path(path_type=Path, dir_okay=False),
        default=DEFAULT_LOCK,
        show_default=True,
        metavar="FILE",
        help="The lock file.",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs to read.")(command)


def print_json(value: Any) -> None:
    """Print a JSON value, or a document, to stdout."""
    click.echo(json.dumps(unstructure(value), indent=2, ensure_ascii=False))


def warn(message: str) -> None:
    """Print one `warning: ...` line to stderr."""
    click.echo(f"warning: {_one_line(message)}", err=True)


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Turn a failure of the work into `error: ...` on stderr and exit code 1."""
    try:
        yield
    except NixociError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> None:
    click.echo(f"error: {_one_line(message)}", err=True)
    sys.exit(1)


def _one_line(message: str) -> str:
    """Keep a message to one line of printable characters; names come from images and may hold anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
