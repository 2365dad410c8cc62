"""Image sources, and the texts that name them, as in podman and skopeo.

`docker://REFERENCE` or a bare REFERENCE, `oci:DIR[:TAG]`, `oci:DIR@DIGEST`, `oci-archive:FILE[:TAG]`,
`oci-archive:FILE@DIGEST`, `docker-archive:FILE[:REFERENCE]`, `blobs:DIGEST`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from nixoci.errors import ImageError, InvalidReferenceError
from nixoci.oci.archive import Archive
from nixoci.oci.blobs import BlobFiles
from nixoci.oci.digest import Digest
from nixoci.oci.image import ImageSource
from nixoci.oci.layout import Layout
from nixoci.oci.reference import Reference
from nixoci.output import check_reachable
from nixoci.tree.limits import Limits

if TYPE_CHECKING:
    from nixoci.oci.registry import RegistryAccess

Transport = Literal["oci", "oci-archive", "docker-archive"]

_BY_DIGEST = re.compile(r"([^:]+)@(sha(?:256|512):[^:/]*)")
_NO_TEXT = re.compile(r"[\ud800-\udfff]")
"""Matches a byte that is not UTF-8, as Python spells it in an argument (PEP 383)."""

_OTHERS = frozenset({"containers-storage", "dir", "docker-daemon", "ostree", "sif", "tarball", "atomic"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSource:
    """An image in a layout or an archive: `transport:path[:tag]` or, in a layout, `transport:path@digest`.

    A relative path starts at the working directory.
    """

    transport: Transport
    path: Path
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        chosen = f"@{self.digest}" if self.digest else f":{self.tag}" if self.tag else ""
        return f"{self.transport}:{self.path}{chosen}"


@dataclass(frozen=True, slots=True)
class BlobsSource:
    """An image by its manifest's digest, whose blobs are given as single files."""

    digest: Digest

    def __str__(self) -> str:
        return f"blobs:{self.digest}"


Source = Reference | LocalSource | BlobsSource


def parse_source(text: str) -> Source:
    """Read the text that names a source.

    Raises:
        InvalidReferenceError: Not a source that nixoci reads.
        BlobError: `blobs:` without a digest after it, or a digest that is none.
    """
    if not text.isascii() and _NO_TEXT.search(text):
        raise InvalidReferenceError(
            f"source {text!r}: its name is not UTF-8, as lock files and image.json are; rename it"
        )
    transport, colon, rest = text.partition(":")
    if colon and transport in get_args(Transport):
        in_layout = _BY_DIGEST.fullmatch(rest) if transport != "docker-archive" else None
        if in_layout is not None:
            digest = Digest.parse(in_layout[2])
            return LocalSource(transport=cast("Transport", transport), path=Path(in_layout[1]), digest=digest)
        path, _, tag = rest.partition(":")
        if not path:
            raise InvalidReferenceError(f"source {text!r}: the path is missing; expected {transport}:PATH[:TAG]")
        return LocalSource(transport=cast("Transport", transport), path=Path(path), tag=tag or None)
    if colon and transport == "blobs":
        return BlobsSource(Digest.parse(rest))
    if colon and transport in _OTHERS:
        raise InvalidReferenceError(
            f"source {text!r}: nixoci does not read {transport}:; copy the image with `skopeo copy {text} oci:DIR:TAG`"
            f" and use oci:DIR:TAG, or write docker://{text} if it is a repository's name"
        )
    if rest.startswith("//") and transport != "docker":
        raise InvalidReferenceError(
            f"source {text!r}: this is a web address; expected a reference such as docker.io/library/nginx:1.27"
        )
    return Reference.parse(text.removeprefix("docker://"))


@contextmanager
def open_source(
    source: Source | str,
    *,
    access: "RegistryAccess | None" = None,
    blobs: Mapping[Digest, Path] | None = None,
    limits: Limits | None = None,
    name: str | None = None,
) -> Iterator[ImageSource]:
    """Open a source inside a context; archives stay open until it ends.

    Args:
        source: The source, or its text.
        access: The access to registries; by default, that of the user.
        blobs: Files by digest, for `blobs:`.
        limits: Limits of an archive.
        name: Its name in errors, if it is an archive; by default its text.

    Raises:
        InvalidReferenceError: Not a source that nixoci reads.
        ImageError: No such image there, or it cannot be read.
    """
    match parse_source(source) if isinstance(source, str) else source:
        case Reference() as reference:
            # builds read files only, and so they load no more than that
            from nixoci.oci.registry import Registry, RegistryAccess  # noqa: PLC0415

            yield Registry.open(reference, access or RegistryAccess())
        case BlobsSource(digest) as named:
            yield BlobFiles.open(digest, blobs or {}, name=str(named))
        case LocalSource(transport="oci") as local:
            check_reachable(local.path)
            if not local.path.is_dir():
                instead = f"a file; give oci-archive:{local.path} or docker-archive:{local.path}"
                raise ImageError(_not_there(local, "directory", instead))
            yield Layout.open(local.path, local.digest or local.tag, name=str(local))
        case LocalSource() as local:
            check_reachable(local.path)
            if not local.path.is_file():
                other = local.path.is_dir()
                instead = f"a directory; an OCI layout is oci:{local.path}" if other else "no regular file"
                raise ImageError(_not_there(local, "file", instead))
            name = name or str(local)
            with Archive.open_file(local.path, name=name, limits=limits) as archive:
                if local.transport == "docker-archive":
                    from nixoci.oci.docker_archive import DockerArchive  # noqa: PLC0415 - as above

                    yield DockerArchive.open(archive, local.tag, name=name)
                else:
                    yield Layout.open_archive(archive, local.digest or local.tag, name=name)


def _not_there(local: LocalSource, kind: str, instead: str) -> str:
    """Return the error for a source whose path is not of its kind; `instead` says what it is, and the way out."""
    if local.path.exists():
        return f"{local}: {local.path} is {instead}"
    return f"{local}: there is no {kind} {local.path}; check the path"
