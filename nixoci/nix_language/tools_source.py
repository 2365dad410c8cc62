"""The source of a generated file's default tools: a flake, or a checkout of nixoci for a Nix without flakes."""

import os
import re
from pathlib import Path, PurePosixPath

from nixoci.errors import NixociError

_PINNED = re.compile(r"[?&](rev|narHash)=|^(github|gitlab|sourcehut):[^/]+/[^/]+/[0-9a-f]{40}($|\?)")


def flake_reference(text: str) -> str:
    """Return a flake reference that means the same in every directory.

    A path becomes absolute; it has to hold a flake. A URL is not looked up.

    Raises:
        NixociError: A path is not that of a flake, or the text is no URL.
    """
    scheme, _, rest = text.partition(":")
    is_path = text.startswith((".", "/")) or (scheme == "path" and rest != "")
    if not is_path:
        if not text or not text.isprintable() or " " in text:
            raise NixociError(f"--flake {text!r}: no URL of a flake, such as github:OWNER/REPO/REVISION")
        return text
    path, mark, query = (rest if scheme == "path" else text).partition("?")
    folder = Path(path).absolute()
    if not (folder / "flake.nix").is_file():
        raise NixociError(
            f"--flake {text}: {folder} has no flake.nix; give the directory of nixoci's flake, or its URL"
        )
    return f"path:{os.path.normpath(folder)}{mark}{query}"


def is_pinned(flake: str) -> bool:
    """Return whether a flake reference means one revision, or a path of this machine.

    >>> is_pinned("github:owner/nixoci/" + "0" * 40), is_pinned("github:owner/nixoci"), is_pinned("nixoci")
    (True, False, False)
    """
    return flake.startswith("path:") or _PINNED.search(flake) is not None


def checkout_path(path: Path, *, seen_from: Path) -> PurePosixPath:
    """Return the path of a checkout as a generated file names it: relative if it was given so.

    Args:
        path: The checkout.
        seen_from: The directory of the generated file.

    Raises:
        NixociError: It is no checkout of nixoci.
    """
    for name in ("default.nix", "nix/package.nix", "flake.lock"):
        if not (path / name).is_file():
            raise NixociError(f"--nixoci {path}: has no {name}; give a checkout of nixoci, or use --flake")
    if path.is_absolute():
        return PurePosixPath(os.path.normpath(path))
    return relative_path(path, seen_from=seen_from)


def relative_path(path: Path, *, seen_from: Path) -> PurePosixPath:
    """Return the path of a file or directory as an expression in the directory `seen_from` names it, without `./`."""
    return PurePosixPath(os.path.relpath(path.resolve(), seen_from.resolve()))
