"""One Nix process that is asked what a store has, and given what it shall have: `nix-store --serve`.

By the protocol that it has had since Nix 2.1 and that other Nixes have taken over: what is registered needs neither
a copy of its NAR on a disk nor one in memory (Nix, src/libstore/serve-protocol.hh and opServe of nix-store.cc).
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nixoci.errors import DeltaError
from nixoci.nix_store.content_address import from_nix32
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.wire import NUMBER, text, texts
from nixoci.process import Conversation, converse
from nixoci.streams import Sink

_MAGIC, _ANSWER_MAGIC = 0x390C9DEB, 0x5452EECB
_VERSION = 2 << 8 | 5
_QUERY_VALID_PATHS, _QUERY_PATH_INFOS, _ADD_TO_STORE_NAR = 1, 2, 9
_ADDED = 1
_MAX_TEXT = 1 << 20


class Server:
    """Nix's end of the protocol.

    Raises:
        DeltaError: From every method that reads an answer, where Nix speaks another protocol.
        HungUpError: From every method, where it has ended.
    """

    def __init__(self, nix: Conversation) -> None:
        self._nix = nix
        self._greeted = False
        nix.write(NUMBER.pack(_MAGIC) + NUMBER.pack(_VERSION))
        nix.flush()

    def valid_paths(self, paths: Iterable[str]) -> set[str]:
        """Return those of the paths that are valid; if the server may write, they stay so until it ends."""
        lock, substitute = 1, 0
        self._ask(NUMBER.pack(_QUERY_VALID_PATHS) + NUMBER.pack(lock) + NUMBER.pack(substitute) + _paths(paths))
        return set(self._texts())

    def path_infos(self, paths: Iterable[str]) -> dict[str, PathInfo]:
        """Return what the store knows of those of the paths that are valid.

        Nix takes what it has found not to be valid for so until the server ends, even if it becomes valid meanwhile.
        """
        self._ask(NUMBER.pack(_QUERY_PATH_INFOS) + _paths(paths))
        infos: dict[str, PathInfo] = {}
        while path := self._text():
            infos[path] = self._path_info(path)
        return infos

    def closure(self, paths: Iterable[str]) -> dict[str, PathInfo]:
        """Return what the store knows of paths and of all that they refer to.

        Raises:
            DeltaError: One of them is not valid.
        """
        infos: dict[str, PathInfo] = {}
        wanted = set(paths)
        while wanted:
            found = self.path_infos(wanted)
            for path in sorted(wanted - found.keys()):
                raise DeltaError(f"{path}: not a valid path of the store; build or copy it first")
            infos |= found
            wanted = {reference for info in found.values() for reference in info.references} - infos.keys()
        return infos

    def add(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Let Nix register a path; `write` writes its NAR, exactly `nar_size` bytes. The answer comes with `added`."""
        self._greet()
        self._nix.write(request(info))
        write(self._nix)
        self._nix.flush()

    def added(self) -> None:
        """Wait until Nix has registered the first of the paths for which it has not yet answered that."""
        answer = self._number()
        if answer != _ADDED:
            raise _unknown(f"answers {answer}")

    def _ask(self, question: bytes) -> None:
        self._nix.write(question)
        self._nix.flush()
        self._greet()

    def _greet(self) -> None:
        if self._greeted:
            return
        magic, version = self._number(), self._number()
        if magic != _ANSWER_MAGIC or version >> 8 != _VERSION >> 8 or version < _VERSION:
            raise _unknown(f"speaks version {version:#x} of its protocol, not 2.5")
        self._greeted = True

    def _path_info(self, path: str) -> PathInfo:
        deriver, references = self._text(), self._texts()
        _download_size, nar_size = self._number(), self._number()
        nar_hash, address, signatures = self._text(), self._text(), self._texts()
        try:
            return PathInfo(
                path=path,
                nar_hash=sri(nar_hash),
                nar_size=nar_size,
                references=tuple(sorted(references)),
                deriver=deriver or None,
                signatures=tuple(sorted(signatures)),
                content_address=address or None,
            )
        except (DeltaError, ValueError) as error:
            raise _unknown(f"says of {path}: {error}") from error

    def _number(self) -> int:
        number: int = NUMBER.unpack(self._nix.read(NUMBER.size))[0]
        return number

    def _text(self) -> str:
        size = self._number()
        if size > _MAX_TEXT:
            raise _unknown(f"answers with a text of {size} bytes")
        return self._nix.read(size + -size % 8)[:size].decode()

    def _texts(self) -> list[str]:
        return [self._text() for _ in range(self._number())]


def request(info: PathInfo) -> bytes:
    """Return what asks Nix to register a path, and is followed by its NAR."""
    digest = base64.b64decode(info.nar_hash.removeprefix("sha256-")).hex()
    now, by_whom = 0, 0  # registered now, and not known to have been built here
    return b"".join(
        (
            NUMBER.pack(_ADD_TO_STORE_NAR),
            text(info.path.encode()),
            text((info.deriver or "").encode()),
            text(digest.encode()),
            _paths(info.references),
            NUMBER.pack(now),
            NUMBER.pack(info.nar_size),
            NUMBER.pack(by_whom),
            texts(signature.encode() for signature in info.signatures),
            text((info.content_address or "").encode()),
        )
    )


def sri(printed: str) -> str:
    """Return a SHA-256 hash that Nix printed (`sha256:<nix32 or hex>` or SRI) as SRI."""
    if re.fullmatch(r"sha256-[0-9A-Za-z+/]{43}=", printed):
        return printed
    match = re.fullmatch(r"sha256:([0-9a-df-np-sv-z]{52}|[0-9a-f]{64})", printed)
    if match is None:
        raise ValueError(f"hash {printed!r}")
    digits = match[1]
    raw = bytes.fromhex(digits) if len(digits) == 64 else from_nix32(digits, 32)
    return f"sha256-{base64.b64encode(raw).decode()}"


@contextmanager
def serve(*, store: str | None, write: bool = False) -> Iterator[Server]:
    """Run a server while the block asks it; `store` is a Nix store URL, None for Nix's own choice.

    Raises:
        ProcessError: There is no Nix, or it fails.
    """
    options = [*(["--store", store] if store else []), "--serve", *(["--write"] if write else [])]
    with converse(["nix-store", *options], package="nix") as nix:
        yield Server(nix)


def _paths(paths: Iterable[str]) -> bytes:
    return texts(path.encode() for path in paths)


def _unknown(found: str) -> DeltaError:
    return DeltaError(f"nix-store --serve {found}; update Nix")
