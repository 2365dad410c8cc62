"""Descriptions of paths in binary caches: narinfo files (Nix, src/libstore/nar-info.cc)."""

import re
from dataclasses import dataclass
from typing import Self

from nixoci.errors import StoreError
from nixoci.nix_store.hashes import NIX32, from_sri, printed_to_sri, to_nix32
from nixoci.nix_store.path import HASH_PART_DIGITS, PathInfo, check_store_path, store_path_basename

MAX_NARINFO = 1 << 20
"""Bytes of the largest narinfo that is read; a reference takes some 60 of them."""

NARINFO_NAME = re.compile(rf"([{NIX32}]{{{HASH_PART_DIGITS}}})\.narinfo")
"""Matches the name of a path's narinfo in a binary cache."""

_DOWNLOAD = ("URL", "Compression", "FileHash", "FileSize")
"""The keys that say how the NAR is downloaded; no signature covers them."""

_SIGNATURE = "Sig: "

_SIZE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NarInfo:
    """A path of a binary cache.

    Attributes:
        path: The store path.
        url: The address of its NAR, relative to that of the cache.
        compression: The compression of the NAR there, as Nix names it.
        nar_hash: SRI of the NAR.
        nar_size: Bytes of the NAR.
        file_size: Bytes of the NAR as it is compressed there; `nar_size` if the file does not say.
        others: The lines about everything but the download, signatures among them, as they are.
    """

    path: str
    url: str
    compression: str
    nar_hash: str
    nar_size: int
    file_size: int
    others: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> Self:
        """Read a narinfo; `what` names it in errors.

        Raises:
            StoreError: It is not a narinfo.
        """
        try:
            lines = data.decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise StoreError(f"{what}: not a narinfo: {error}") from error
        values: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            key, colon, value = line.partition(": ")
            if not colon and not line.endswith(":"):
                raise StoreError(f"{what}: not a narinfo: line {number} has no colon")
            values.setdefault(key, value)
        try:
            path, url = values["StorePath"], values["URL"]
            nar_hash, nar_size = printed_to_sri(values["NarHash"]), _size(values["NarSize"])
            file_size = _size(values["FileSize"]) if "FileSize" in values else nar_size
        except (KeyError, ValueError, StoreError) as error:
            raise StoreError(f"{what}: not a narinfo that can be used: {error}") from error
        if not nar_size:
            raise StoreError(f"{what}: not a narinfo that can be used: NarSize is 0")
        check_store_path(path)
        return cls(
            path=path,
            url=url,
            compression=values.get("Compression") or "bzip2",  # Nix's default
            nar_hash=nar_hash,
            nar_size=nar_size,
            file_size=file_size,
            others=tuple(line for line in lines if line.partition(":")[0] not in _DOWNLOAD),
        )

    def has(self, key: str) -> bool:
        """Return whether a line has this key and a value."""
        return any(line.startswith(f"{key}: ") for line in self.others)

    def from_url(self, url: str) -> bytes:
        """Return the narinfo of the same path with its NAR at another address, uncompressed."""
        lines = [*self.others[:1], f"URL: {url}", "Compression: none", *self.others[1:]]
        return "".join(f"{line}\n" for line in lines).encode()


def render_unavailable(info: PathInfo) -> str:
    """Return the narinfo of a path whose NAR is nowhere, for questions about its signatures."""
    nar_hash = f"sha256:{to_nix32(from_sri(info.nar_hash)).decode()}"
    lines = [
        f"StorePath: {info.path}",
        "URL: none",
        "Compression: none",
        f"FileHash: {nar_hash}",  # without one, Nix cannot write the narinfo again to add a signature
        f"NarHash: {nar_hash}",
        f"NarSize: {info.nar_size}",
        f"References: {' '.join(map(store_path_basename, info.references))}",
        *(f"{_SIGNATURE}{signature}" for signature in info.signatures),
        *([f"CA: {info.content_address}"] if info.content_address else []),
    ]
    return "".join(f"{line}\n" for line in lines)


def read_signatures(narinfo: str) -> tuple[str, ...]:
    """Return the signatures in a narinfo."""
    return tuple(line.removeprefix(_SIGNATURE) for line in narinfo.split("\n") if line.startswith(_SIGNATURE))


def _size(text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise ValueError(f"{text!r} is not a size")
    return int(text)
