"""Options and arguments of the verbs that read whole images, from files only: builds have no network."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, cast

import click

from nixoci.cli.common import F, assignment, parsed_by
from nixoci.cli.files import STANDARD
from nixoci.errors import InvalidReferenceError
from nixoci.oci.digest import Digest
from nixoci.oci.image import ImageSource
from nixoci.oci.reference import Reference
from nixoci.oci.sources import BlobsSource, LocalSource, open_source, parse_source
from nixoci.output import scratch_directory
from nixoci.tree.limits import HIGHEST, Limits

_DEFAULTS = Limits()


def blobs_option(command: F) -> F:
    """Add `--blob DIGEST=FILE`, passed as the files by digest `blobs`."""

    @click.option(
        "--blob",
        "files",
        type=parsed_by(_blob),
        multiple=True,
        metavar="DIGEST=FILE",
        help="File of a blob, for SOURCE blobs:DIGEST.",
    )
    @wraps(command)
    def with_blobs(*, files: tuple[tuple[Digest, Path], ...], **options: Any) -> Any:
        return command(blobs=dict(files), **options)

    return cast("F", with_blobs)


def _blob(text: str) -> tuple[Digest, Path]:
    digest, path = assignment(text, "DIGEST=FILE")
    return Digest.parse(digest), Path(path)


def limit_options(command: F) -> F:
    """Add an option for each limit of layers, passed as the `Limits` named `limits`."""

    @_limit_option("--max-size", "total_size", "Limit of uncompressed bytes.")
    @_limit_option("--max-entries", "entries", "Limit of entries in all layers.")
    @_limit_option("--max-depth", "depth", "Limit of a path's components.")
    @_limit_option("--max-header-size", "header_size", "Limit of bytes of a tar header.")
    @wraps(command)
    def with_limits(*, total_size: int, entries: int, depth: int, header_size: int, **options: Any) -> Any:
        limits = Limits(total_size=total_size, entries=entries, depth=depth, header_size=header_size)
        return command(limits=limits, **options)

    return cast("F", with_limits)


def _limit_option(name: str, field: str, about: str) -> Callable[[F], F]:
    """Add an option for a field of `Limits`, passed under the name of the field."""
    return click.option(
        name,
        field,
        type=click.IntRange(min=1, max=getattr(HIGHEST, field)),
        default=getattr(_DEFAULTS, field),
        show_default=True,
        metavar="N",
        help=about,
    )


def parse_local_source(text: str) -> LocalSource | BlobsSource:
    """Read the text that names a source of files.

    Raises:
        InvalidReferenceError: It names a registry, or no source.
    """
    parsed = parse_source(text)
    if isinstance(parsed, Reference):
        raise InvalidReferenceError(
            f"{text}: this verb reads files, not registries; copy the image first with"
            f" `skopeo copy docker://{parsed} oci:DIR:TAG` and give oci:DIR:TAG, or pin it with `nixoci add`"
        )
    return parsed


@contextmanager
def open_local_source(
    text: str, source: LocalSource | BlobsSource, *, blobs: Mapping[Digest, Path], limits: Limits
) -> Iterator[ImageSource]:
    """Open the source that `text` names; standard input is copied to a file, as members are read out of order."""
    if isinstance(source, BlobsSource) or text.split(":")[1] != STANDARD:
        with open_source(source, blobs=blobs, limits=limits) as opened:
            yield opened
        return
    with scratch_directory("input") as folder:
        file = folder / "standard-input"
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        with open_source(replace(source, path=file), blobs=blobs, limits=limits, name="standard input") as opened:
            yield opened
