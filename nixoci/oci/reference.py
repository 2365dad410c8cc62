"""Docker references, parsed and normalized as in distribution/reference (reference.go, normalize.go)."""

import re
from dataclasses import dataclass, replace
from typing import Self

from nixoci.errors import BlobError, InvalidReferenceError
from nixoci.oci.digest import Digest

_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = re.compile(rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")

_HUB = "docker.io"
_LEGACY_HUB = "index.docker.io"
_OFFICIAL = "library/"
_LONGEST_NAME = 255
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The full name of an image in a registry: `domain/path[:tag][@digest]`, with a tag, a digest or both."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference as docker and podman do: `nginx` is `docker.io/library/nginx:latest`.

        Raises:
            InvalidReferenceError: Not a reference; the message says which part.
        """
        name, at, digest_text = text.partition("@")
        try:
            digest = Digest.parse(digest_text) if at else None
        except BlobError as error:
            raise _refuse(text, str(error)) from error
        # a colon after the last slash starts the tag; one before it, a port
        slash = name.rfind("/")
        colon = name.find(":", slash + 1)
        name, tag = (name[:colon], name[colon + 1 :]) if colon >= 0 else (name, None)
        if _IDENTIFIER.fullmatch(name):
            raise _refuse(text, "64 hex digits are an image id, not a name")
        domain, path = _split(name)
        if not _DOMAIN.fullmatch(domain):
            raise _refuse(text, f"{domain!r} is not a host[:port]")
        if not _PATH.fullmatch(path):
            hint = "; names are lower case" if _PATH.fullmatch(path.lower()) else ""
            raise _refuse(text, f"{path.removeprefix(_OFFICIAL)!r} is not a repository name{hint}")
        if len(domain) + 1 + len(path) > _LONGEST_NAME:
            raise _refuse(text, f"the repository name is longer than {_LONGEST_NAME} characters")
        if tag is not None and not _TAG.fullmatch(tag):
            raise _refuse(text, f"{tag!r} is not a tag")
        if tag is None and digest is None:
            tag = "latest"
        return cls(domain=domain, path=path, tag=tag, digest=digest)

    @property
    def repository(self) -> str:
        """The repository: `docker.io/library/nginx`."""
        return f"{self.domain}/{self.path}"

    @property
    def short_name(self) -> str:
        """The last part of the path: `nginx`."""
        return self.path.rpartition("/")[2]

    @property
    def exact(self) -> str:
        """The reference with the digest or, without one, the tag; never both, which skopeo refuses."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    def at(self, digest: Digest) -> Self:
        """Return the reference to a digest in the same repository."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def _split(name: str) -> tuple[str, str]:
    """Split a name into domain and path; without something like a domain, it is a path on Docker Hub."""
    first, slash, rest = name.partition("/")
    if not slash:
        return _HUB, _OFFICIAL + name
    is_domain = first == "localhost" or any(mark in first for mark in ".:[") or first != first.lower()
    domain, path = (first, rest) if is_domain else (_HUB, name)
    if domain == _LEGACY_HUB:
        domain = _HUB
    if domain == _HUB and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _refuse(text: str, why: str) -> InvalidReferenceError:
    return InvalidReferenceError(
        f"reference {text[:_SHOWN]!r}: {why}; expected [host[:port]/]path[:tag][@digest], for example"
        " docker.io/library/nginx:1.27"
    )
