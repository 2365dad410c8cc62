"""Signatures of what an image's tree is, by the keys of Nix: they stand for the hash where a lock has none yet.

A signature of Nix covers a store path and the hash of its NAR. What is signed here is a text that names an image and
the hashes of the parts of its image path, as the content of a path that no derivation and no content can have: nobody
signs it by signing what was built. So a signature says no more than the text does.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from nixoci.image_delta.contents import PARTS
from nixoci.image_path import FORMAT_VERSION
from nixoci.nix_store.content_address import typed_path
from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.trust import trusted
from nixoci.oci.digest import Digest

_TYPE = "nixoci-image-contents"
_NAME = "image-contents"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedContents:
    """The hashes of the parts of an image path, and signatures of them.

    Attributes:
        manifest: The digest of the image's manifest.
        config: The digest of the artifact's config, which has what image.json tells of the extraction.
        nar_hashes: The SRI of each part's NAR, in the order of `PARTS`.
        signatures: As Nix writes them: the name of a key, `:`, and base64.
    """

    manifest: Digest
    config: Digest
    nar_hashes: tuple[str, ...]
    signatures: tuple[str, ...] = ()

    @property
    def text(self) -> bytes:
        """The text that is signed (docs/registry-deltas.md, Signatures)."""
        parts = (f"{name} {nar_hash}\n" for name, nar_hash in zip(PARTS, self.nar_hashes, strict=True))
        image = f"manifest {self.manifest}\nconfig {self.config}\n"
        return f"{_TYPE} {FORMAT_VERSION}\n{image}{''.join(parts)}".encode()

    @property
    def path_info(self) -> PathInfo:
        """The path that has the text as its content."""
        text, hashed = self.text, HashingSink()
        nar = NarWriter(hashed, limit=1 << 20, what=_NAME)
        nar.begin_regular(len(text), executable=False)
        nar.write(text)
        nar.end_regular(len(text))
        return PathInfo(
            path=typed_path(_TYPE, f"sha256:{hashlib.sha256(text).hexdigest()}", _NAME),
            nar_hash=hashed.sri,
            nar_size=nar.size,
            signatures=self.signatures,
        )


def trusted_contents(claims: list[SignedContents], *, folder: Path) -> list[SignedContents]:
    """Return those that one of Nix's `trusted-public-keys` has signed.

    Claims of the same have one path, and a signature in one of them is as good for the others.

    Args:
        claims: What is claimed.
        folder: An existing empty directory for files.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    described: dict[str, PathInfo] = {}
    paths = []
    for claim in claims:
        info = claim.path_info
        known = described.get(info.path, info)
        described[info.path] = replace(known, signatures=tuple(dict.fromkeys((*known.signatures, *info.signatures))))
        paths.append(info.path)
    signed = {info.path for info in trusted(list(described.values()), folder=folder)}
    return [claim for claim, path in zip(claims, paths, strict=True) if path in signed]
