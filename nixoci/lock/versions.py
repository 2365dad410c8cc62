"""Newer tags of the same kind: `1.27-alpine` is followed by `1.28-alpine`, not by `1.28` or `1.28.1-alpine`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import Version

_TAG = re.compile(
    r"(?P<prefix>v|)(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?P<stage>[-._]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)[-._]?[0-9]*(?![a-z0-9])|-[0-9]+(?![.0-9a-zA-Z]))?"
    r"(?P<flavor>(?:[-_.].*)?)",
    re.ASCII,
)
_MAX_TAG = 128
"""Characters of a tag (distribution-spec, Pulling manifests); a registry may list longer ones."""

_DATE_DIGITS = 4
"""A first number of at least this many digits is a year or a date; it does not follow a shorter number."""


@dataclass(frozen=True, slots=True)
class _Tag:
    version: Version
    kind: tuple[str, int, int, str]
    """Prefix, precision, length of a first number that is a date, and flavor. Only tags of one kind are compared."""


def newer_tags(current: str, tags: Iterable[str]) -> list[str]:
    """Return the `tags` of the same kind as the current one that are newer, oldest first.

    Pre-releases (`1.28-rc1`) count only if the current tag is one. A tag that is not a version has no newer ones.

    >>> newer_tags("1.27-alpine", ["1.26-alpine", "1.28-alpine", "1.28", "1.28.1-alpine", "1.29-alpine"])
    ['1.28-alpine', '1.29-alpine']
    """
    now = _parse(current)
    if now is None:
        return []
    found = {
        tag: other.version
        for tag in tags
        if (other := _parse(tag)) is not None
        and other.kind == now.kind
        and other.version > now.version
        and (now.version.is_prerelease or not other.version.is_prerelease)
    }
    return sorted(found, key=lambda tag: (found[tag], tag))


def _parse(tag: str) -> _Tag | None:
    match = _TAG.fullmatch(tag)
    if match is None or len(tag) > _MAX_TAG:
        return None
    release = match["release"].split(".")
    length = len(release[0]) if len(release[0]) >= _DATE_DIGITS else 0
    return _Tag(
        Version(match["release"] + (match["stage"] or "")), (match["prefix"], len(release), length, match["flavor"])
    )
