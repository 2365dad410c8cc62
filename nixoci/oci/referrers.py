"""The artifacts that refer to an image: the referrers API, and the tag that takes its place where there is none.

Distribution specification, "Listing Referrers" and "Referrers Tag Schema". HTTP asks the API, because skopeo cannot;
skopeo reads everything else.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

from nixoci.document import load, show, structure
from nixoci.errors import DocumentError, ImageError, ProcessError
from nixoci.oci.certificates import certificate_directory
from nixoci.oci.credentials import basic_login
from nixoci.oci.digest import Digest
from nixoci.oci.index import is_foreign
from nixoci.oci.media_types import OCI_INDEX
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.registry import RegistryAccess, read_tagged
from nixoci.oci.remote import Remote

_EMPTY: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
_MAX_PAGES = 16
_NEXT = re.compile(r"<([^<>]*)>\s*;[^,]*\brel=\"?next\"?(?:[\s;,]|$)")


Warn = Callable[[str], object]
"""Called with one line."""


def _ignore(_: str) -> None:
    pass


def referrers_tag(digest: Digest) -> str:
    """Return the tag of the index that lists the referrers of a manifest.

    >>> referrers_tag(Digest("sha256", "ab" * 32))[:12]
    'sha256-ababa'
    """
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def list_referrers(
    reference: Reference, subject: Digest, access: RegistryAccess, warn: Warn = _ignore
) -> list[Descriptor]:
    """Return the descriptors of the artifacts that refer to a manifest, with their types and annotations.

    Both the API and the tag are asked, at once: a registry that got the API later may still have the tag.

    Args:
        reference: An image in the repository.
        subject: The manifest.
        access: How to reach the registry.
        warn: Called with a message for each list that has entries which are none, and are left out.

    Raises:
        ImageError: The registry cannot be reached, does not let the user in, or its lists cannot be read.
        ProcessError: skopeo is missing.
    """
    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(served_referrers, reference, subject, access, warn)
        tag = _tag(reference, subject)
        tagged = _descriptors(tagged_index(reference, subject, access), str(tag), warn)
    found = served.result() or []
    listed = {entry.digest for entry in found}
    return [*found, *(entry for entry in tagged if entry.digest not in listed)]


def served_referrers(
    reference: Reference, subject: Digest, access: RegistryAccess, warn: Warn = _ignore
) -> list[Descriptor] | None:
    """Return what the registry's referrers API lists; None if it has none, or HTTP does not reach it as skopeo does.

    The certificates and the login are those of skopeo. skopeo also knows the mirrors and the registries with plain HTTP
    that registries.conf names; the tag is read by it.
    """
    verify = access.tls_verify is not False
    for plain in (False,) if verify else (False, True):
        with suppress(ImageError, DocumentError, ProcessError):
            remote = Remote(
                reference,
                directory=certificate_directory(reference),
                login=basic_login(reference, authfile=access.authfile),
                verify=verify,
                plain=plain,
            )
            return _served(remote, subject, warn)
    return None


def _served(remote: Remote, subject: Digest, warn: Warn) -> list[Descriptor] | None:
    path = f"referrers/{subject}"
    what = f"{remote.repository}: referrers of {subject}"
    found: list[Descriptor] = []
    for _ in range(_MAX_PAGES):
        page = remote.read_document(path, OCI_INDEX)
        if page is None:
            return None
        text, link = page
        found += _descriptors(_index(text, what), what, warn)
        following = _next_page(remote.base, path, link)
        if following is None:
            break
        path = following
    return found


def tagged_index(reference: Reference, subject: Digest, access: RegistryAccess) -> Mapping[str, Any]:
    """Return the index of the tag that takes the place of the API, as JSON; an empty one if there is no such tag.

    Raises:
        ImageError: The registry cannot be reached, or the tag is not that of an index.
    """
    tag = _tag(reference, subject)
    text = read_tagged(tag, access)
    return _EMPTY if text is None else _index(text, str(tag))


def with_referrers(
    index: Mapping[str, Any], new: Iterable[Mapping[str, Any]], *, what: str, warn: Warn = _ignore
) -> dict[str, Any]:
    """Return an index with further entries, each digest once, as JSON.

    Entries that are there stay as they are, but for damaged ones, which registries refuse in what is pushed.

    Args:
        index: The index, from `tagged_index`.
        new: Descriptors.
        what: Names the index in messages.
        warn: Called with a message if entries are left out.
    """
    entries = [entry for entry, _ in _sound(index, what, warn)]
    return {**index, "manifests": [*{entry["digest"]: entry for entry in [*entries, *new]}.values()]}


def _tag(reference: Reference, subject: Digest) -> Reference:
    return replace(reference, tag=referrers_tag(subject), digest=None)


def _index(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = load(text, what=what)
    except DocumentError as error:
        raise ImageError(str(error)) from error
    match value:
        case {"manifests": [*_]}:
            return dict(value)
    raise ImageError(f"{what}: is no index, which lists artifacts")


def _descriptors(index: Mapping[str, Any], what: str, warn: Warn) -> list[Descriptor]:
    return [descriptor for _, descriptor in _sound(index, what, warn) if descriptor is not None]


def _sound(index: Mapping[str, Any], what: str, warn: Warn) -> list[tuple[Any, Descriptor | None]]:
    """Return the entries of an index without damaged ones, and their descriptors if nixoci reads their digests."""
    found = [(entry, _descriptor(entry)) for entry in index["manifests"]]
    damaged = [entry for entry, descriptor in found if descriptor is None and not is_foreign(entry)]
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        warn(f"{what}: its entry {show(damaged[0])}{more} is damaged, and left out")
    return [(entry, descriptor) for entry, descriptor in found if descriptor is not None or is_foreign(entry)]


def _descriptor(entry: Any) -> Descriptor | None:
    try:
        return structure(Descriptor, entry, what="entry")
    except DocumentError:
        return None


def _next_page(base: str, path: str, link: str) -> str | None:
    """Return the path of the page that a header `Link` names as the next one, if it is one of the same list."""
    match = _NEXT.search(link)
    if match is None:
        return None
    target = urljoin(base + path, match[1])
    same = urlsplit(target)[:2] == urlsplit(base)[:2] and target.startswith(f"{base}{path.partition('?')[0]}")
    return target.removeprefix(base) if same else None
