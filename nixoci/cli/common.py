"""Shared parts of the verbs: options with one meaning everywhere, JSON output, errors in one line."""

import errno
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from nixoci.cli.completers import DEFAULT_LOCK, complete_name, complete_platform
from nixoci.cli.files import INPUT, PATH, Input, LockFile
from nixoci.errors import NO_ACCESS, NixociError

if TYPE_CHECKING:
    from nixoci.lock.context import LockContext
    from nixoci.lock.model import Lock
    from nixoci.oci.registry import RegistryAccess

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

REUPNIX = "reupnix-v1"
"""The format of deltas that `nixoci.delta.reupnix` reads and writes."""


@contextmanager
def modules_loading() -> Iterator[None]:
    """Look for no garbage in the block: modules make none, and it takes a tenth of the time to load them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


_HEAD, _TAIL = 1000, 500
"""Characters at both ends of a message that a longer one keeps: the thing is at its start, the way out at its end."""


_LOGIN = re.compile(r"\b((?:https?|ftp|ssh):/{1,2})[^/\s'\"@]*:[^/\s'\"@]*@")
"""Matches an address with a user and a password, as messages name what the user typed; pathlib joins two slashes."""


_WAYS_OUT = {
    errno.EACCES: f"; {NO_ACCESS}",
    errno.EPERM: "; check the owner of the path, and its attributes (`lsattr`)",
    errno.EROFS: "; choose a path on a file system that can be written to",
    errno.ENOENT: "; check the path",
    errno.ENOTDIR: "; check the path",
    errno.EISDIR: "; name a file",
    errno.EEXIST: "; name a directory, or remove it",
    errno.ENAMETOOLONG: "; choose a shorter name",
    errno.ELOOP: "; one of its symlinks leads back to itself, remove that",
}
"""The way out of errors whose words do not tell it."""


def counted(number: int, noun: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "path"), counted(2, "path")
    ('1 path', '2 paths')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def parsed_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return an option's type that reads its text with `parse`; an error there is wrong usage."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except NixociError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def assignment(text: str, form: str) -> tuple[str, str]:
    """Return both sides of the `=` in an option's text; `form` is how the option's help writes it."""
    left, equals, right = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not {form}")
    return left, right


def is_given(context: click.Context, option: str) -> bool:
    """Return whether an option is on the command line."""
    return context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def lock_option(command: F) -> F:
    """Add `--lock FILE` of a verb that changes the lock or needs its path, passed as the path `lock`."""
    return _lock_option(LockFile(), "The lock file.")(command)


def readable_lock_option(command: F) -> F:
    """Add `--lock FILE` of a verb that reads the lock, passed as the `Input` named `lock`."""
    return _lock_option(INPUT, "The lock file; - is standard input.")(command)


def _lock_option(kind: click.Path, about: str) -> Callable[[F], F]:
    return click.option("--lock", type=kind, default=str(DEFAULT_LOCK), show_default=True, metavar="FILE", help=about)


def read_lock_from(file: Input) -> "Lock":
    """Read a lock from a file or standard input; errors are those of `read_lock`."""
    from nixoci.lock.file import parse_lock, read_lock  # noqa: PLC0415 - as in _platform

    return read_lock(file.path) if file.path is not None else parse_lock(file.read_bytes(), what=str(file))


def context_of(lock: Input, access: "RegistryAccess") -> "LockContext":
    """Return the context of a lock; that of standard input is the working directory."""
    from nixoci.lock.context import LockContext  # noqa: PLC0415 - as in _platform

    return LockContext.of(lock.path or DEFAULT_LOCK, access)


def _platform(text: str) -> Any:
    # imported late: a verb without registry, lock and JSON runs in less time than these imports take
    from nixoci.oci.model import Platform  # noqa: PLC0415

    return Platform.parse(text)


def platform_option(about: str, *, multiple: bool = False) -> Callable[[F], F]:
    """Add `--platform OS/ARCH[/VARIANT]`, passed as `platform`; if it may be given again, as `platforms`."""
    return click.option(
        "--platform",
        "platforms" if multiple else "platform",
        type=parsed_by(_platform),
        multiple=multiple,
        metavar="OS/ARCH[/VARIANT]",
        help=about,
        shell_complete=complete_platform,
    )


def json_option(command: F) -> F:
    """Add `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs to read.")(command)


def dry_run_option(command: F) -> F:
    """Add `--dry-run`, passed as `dry_run`."""
    return click.option("--dry-run", is_flag=True, help="Print the changes without making them.")(command)


def store_option(command: F) -> F:
    """Add `--store STORE`, passed as `store`."""
    about = "A Nix store URL, or the root directory of a chroot store."
    return click.option("--store", metavar="STORE", help=about)(command)


def delta_format_option(command: F) -> F:
    """Add `--format`, the format of a delta, passed as `kind`."""
    formats = ("nixoci", REUPNIX)
    return click.option(
        "--format",
        "kind",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The format of the delta.",
    )(command)


def access_options(command: F) -> F:
    """Add `--authfile` and `--tls-verify`, passed as the `RegistryAccess` named `access`."""

    @click.option(
        "--authfile",
        type=PATH,
        metavar="FILE",
        help="Registry credentials; by default the file that `podman login` writes.",
    )
    @click.option(
        "--tls-verify/--no-tls-verify",
        default=None,
        help="Require a valid certificate of the registry; by default as in registries.conf.",
    )
    @wraps(command)
    def with_access(*, authfile: Path | None, tls_verify: bool | None, **options: Any) -> Any:
        from nixoci.oci.registry import RegistryAccess  # noqa: PLC0415 - as in _platform

        if authfile is not None and not authfile.exists():
            raise NixociError(f"--authfile {authfile}: no such file; `podman login --authfile` writes one")
        return command(access=RegistryAccess(authfile=authfile, tls_verify=tls_verify), **options)

    return cast("F", with_access)


def names_argument(*, required: bool = False) -> Callable[[F], F]:
    """Add `[NAME]...`, passed as `names`."""
    return click.argument(
        "names",
        metavar="NAME..." if required else "[NAME]...",
        nargs=-1,
        required=required,
        shell_complete=complete_name,
    )


def print_json(value: Any) -> None:
    """Print a JSON value, or a document, to stdout."""
    from nixoci.document import dump  # noqa: PLC0415 - as in _platform

    click.echo(dump(value), nl=False)


def warn(message: str) -> None:
    """Print one `warning: ...` line to stderr, without passwords of addresses."""
    click.echo(f"warning: {one_line(_without_logins(message))}", err=True)


def note(message: str) -> None:
    """Print one line for people to stderr, where a program that reads the output does not find it."""
    click.echo(one_line(_without_logins(message)), err=True)


def no_images(lock: Input | Path) -> str:
    """Return the line about a lock without images."""
    return f"{lock}: no images; add one with `nixoci add REF`"


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Turn a failure into `error: ...` on stderr and an exit code: 1 for the work, 2 for wrong usage."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx is not None else "nixoci"
        message = re.sub(r"\s*\n\s*", " ", error.format_message())  # click lists choices one a line
        see = " See" if message.endswith(("?", "?)")) else "; see"  # click asks whether something else was meant
        print_error(f"{message.rstrip('.')}{see} `{verb} --help`")
        sys.exit(error.exit_code)
    except NixociError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_words_of(error))
    except RuntimeError as error:
        loop = error.__context__  # before Python 3.13, Path.resolve() hides the error about a loop of symlinks
        if isinstance(loop, OSError) and loop.errno == errno.ELOOP:
            _fail(_words_of(loop))
        raise
    except UnicodeEncodeError as error:  # a file's name in a text that nixoci writes
        before, after = error.object[: error.start], error.object[error.start :]
        name = re.split(r"[\s\"']", before)[-1] + re.split(r"[\s\"']", after)[0]
        _fail(f"{name}: not UTF-8, as the files are that would name it; rename it")


def _words_of(error: OSError) -> str:
    if isinstance(error.filename, (str, bytes, os.PathLike)):
        return f"{os.fsdecode(error.filename)}: {error.strerror}{_WAYS_OUT.get(error.errno or 0, '')}"
    if error.errno == errno.ENOENT:  # getcwd(3); a stream that is open is always there
        return "working directory: it is gone; change to another one"
    return f"output: {error.strerror or error}"


def print_error(message: str) -> None:
    """Print one `error: ...` line to stderr, without passwords of addresses."""
    click.echo(f"error: {one_line(_without_logins(message))}", err=True)


def _fail(message: str) -> None:
    print_error(message)
    sys.exit(1)


def _without_logins(message: str) -> str:
    return _LOGIN.sub(r"\1...@", message)


def one_line(message: str) -> str:
    """Return a text as one line of printable characters, shortened in its middle.

    Names come from images and may hold anything, of any length.
    """
    if len(message) > _HEAD + _TAIL:
        message = f"{message[:_HEAD]}…{message[-_TAIL:]}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
