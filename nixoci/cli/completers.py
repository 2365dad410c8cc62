"""Completions of values in a shell: names, platforms, tags and references of the lock, and profiles of Nix.

A file that cannot be read completes nothing, and nothing is asked of a network.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from nixoci.cli.files import Input
from nixoci.errors import NixociError
from nixoci.user import user_state

if TYPE_CHECKING:
    from nixoci.lock.model import LockedImage

DEFAULT_LOCK = Path("nixoci.lock.json")
"""The lock file of every verb without `--lock`."""

_TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:")
_GENERATION = re.compile(r".*-[0-9]+-link")
_SYSTEMS = (Path("/run/current-system"), Path("/run/booted-system"))


def complete_name(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of images."""
    return [
        CompletionItem(name, help=image.reference)
        for name, image in _images(context).items()
        if name.startswith(incomplete)
    ]


def complete_verb(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of verbs."""
    from nixoci.cli import VERBS, cli  # noqa: PLC0415 - it imports the verbs, and they this

    return _starting((each.name or "" for each in cli.shown(click.Context(cli), VERBS)), incomplete)


def complete_platform(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete platforms: those that are locked for a verb that works on the lock's images, or else the usual ones."""
    from nixoci.oci.platform import KNOWN_PLATFORMS  # noqa: PLC0415 - as in cli/common.py

    if "names" not in context.params:
        return _starting(KNOWN_PLATFORMS, incomplete)
    images = _images(context)
    chosen = _names(context) or images
    return _starting((key for name in chosen if name in images for key in images[name].platforms), incomplete)


def complete_tag(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the tags that images are pinned by, to change their end."""
    from nixoci.oci.sources import parse_source  # noqa: PLC0415 - as in cli/common.py

    images = _images(context)
    sources = [parse_source(images[name].reference) for name in _names(context) or images if name in images]
    return _starting((tag for source in sources if (tag := getattr(source, "tag", None))), incomplete)


def complete_reference(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the references of the lock, for further platforms, and the kinds of local sources."""
    return _starting([*(image.reference for image in _images(context).values()), *_TRANSPORTS], incomplete)


def complete_profile(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete profiles, or files if none starts so."""
    profiles = [str(path) for path in _profiles() if not _GENERATION.fullmatch(path.name)]
    return _starting(profiles, incomplete) or [CompletionItem(incomplete, type="file")]


def complete_closure(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete profiles, their generations and the running system, or files if none starts so."""
    paths = [*_profiles(), *(path for path in _SYSTEMS if path.exists())]
    return _starting(map(str, paths), incomplete) or [CompletionItem(incomplete, type="file")]


def _images(context: click.Context) -> "dict[str, LockedImage]":
    from nixoci.lock.file import read_lock  # noqa: PLC0415 - as in cli/common.py

    lock = context.params.get("lock") or DEFAULT_LOCK
    path = lock.path if isinstance(lock, Input) else lock
    if path is None:
        return {}
    try:
        return read_lock(path).images
    except (NixociError, OSError):
        return {}


def _names(context: click.Context) -> list[str]:
    """Return the names on the command line; click leaves all arguments apart while an option lacks its value."""
    arguments = [each.name for each in context.command.params if isinstance(each, click.Argument)]
    return [*context.params.get("names", ()), *context.args[arguments.index("names") :]]


def _profiles() -> Iterator[Path]:
    """Yield the profiles of the machine and of the user, and their generations."""
    folders = [Path("/nix/var/nix/profiles")]
    with suppress(NixociError):  # a user without a home
        folders.append(user_state() / "nix/profiles")
    for folder in folders:
        with suppress(OSError):
            yield from sorted(path for path in folder.iterdir() if path.is_symlink())


def _starting(values: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(value) for value in dict.fromkeys(values) if value.startswith(incomplete)]
