"""The artifacts that refer to an image: the referrers API, and the tag that takes its place where there is none.

Distribution specification, "Listing Referrers" and "Referrers Tag Schema". HTTP asks the API, because skopeo cannot;
skopeo reads everything else.
"""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from nixoci.errors import DocumentError, ImageError, ProcessError
from nixoci.oci.credentials import basic_login
from nixoci.oci.digest import Digest
from nixoci.oci.index import parse_index
from nixoci.oci.media_types import OCI_INDEX
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.registry import RegistryAccess, read_tagged
from nixoci.oci.remote import Remote

_MAX_PAGES = 16
_NEXT = re.compile(r"<([^<>]*)>\s*;[^,]*\brel=\"?next\"?(?:[\s;,]|$)")


def referrers_tag(digest: Digest) -> str:
    """Return the tag of the index that lists the referrers of a manifest.

    >>> referrers_tag(Digest("sha256", "ab" * 32))[:12]
    'sha256-ababa'
    """
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def list_referrers(reference: Reference, subject: Digest, access: RegistryAccess) -> list[Descriptor]:
    """Return the descriptors of the artifacts that refer to a manifest, with their types and annotations.

    Both the API and the tag are asked, at once: a registry that got the API later may still have the tag.

    Args:
        reference: An image in the repository.
        subject: The manifest.
        access: How to reach the registry.

    Raises:
        ImageError: The registry cannot be reached, does not let the user in, or its lists cannot be read.
        ProcessError: skopeo is missing.
    """
    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(served_referrers, reference, subject, access)
        tagged = tagged_referrers(reference, subject, access)
    found = served.result() or []
    listed = {entry.digest for entry in found}
    return [*found, *(entry for entry in tagged if entry.digest not in listed)]


def served_referrers(reference: Reference, subject: Digest, access: RegistryAccess) -> list[Descriptor] | None:
    """Return what the registry's referrers API lists; None if it has none, or HTTP does not reach it as skopeo does.

    skopeo knows registries that speak plain HTTP, mirrors and certificates of their own; the tag is read by it.
    """
    path = f"referrers/{subject}"
    found: list[Descriptor] = []
    try:
        remote = Remote(reference, login=basic_login(reference, authfile=access.authfile))
        for _ in range(_MAX_PAGES):
            page = remote.read_document(path, OCI_INDEX)
            if page is None:
                return None
            text, link = page
            found += _index(text, f"{reference.repository}: referrers of {subject}")
            following = _next_page(remote.base, path, link)
            if following is None:
                break
            path = following
    except (ImageError, DocumentError, ProcessError):
        return None
    return found


def tagged_referrers(reference: Reference, subject: Digest, access: RegistryAccess) -> list[Descriptor]:
    """Return what the tag lists that takes the place of the API; none if there is no such tag.

    Raises:
        ImageError: The registry cannot be reached, or the tag is not that of an index.
    """
    tagged = replace(reference, tag=referrers_tag(subject), digest=None)
    text = read_tagged(tagged, access)
    return [] if text is None else _index(text, str(tagged))


def merged_referrers(listed: Iterable[Descriptor], new: Iterable[Descriptor]) -> list[Descriptor]:
    """Return the entries of a list of referrers with new ones, each digest once."""
    return list({entry.digest: entry for entry in [*listed, *new]}.values())


def _index(text: bytes, what: str) -> list[Descriptor]:
    try:
        return parse_index(text, what=what).manifests
    except DocumentError as error:
        raise ImageError(str(error)) from error


def _next_page(base: str, path: str, link: str) -> str | None:
    """Return the path of the page that a header `Link` names as the next one, if it is one of the same list."""
    match = _NEXT.search(link)
    if match is None:
        return None
    target = urljoin(base + path, match[1])
    same = urlsplit(target)[:2] == urlsplit(base)[:2] and target.startswith(f"{base}{path.partition('?')[0]}")
    return target.removeprefix(base) if same else None
