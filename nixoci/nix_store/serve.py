"""The protocol of `nix-store --serve`: one Nix process that answers queries about a store and adds paths to it.

Nix has spoken this version since 2.1, and other implementations speak it too. A path is added without a copy of its
NAR on disk or in memory (Nix, src/libstore/serve-protocol.hh and opServe of nix-store.cc).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nixoci.errors import StoreError
from nixoci.nix_store.hashes import from_sri, printed_to_sri
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.wire import NUMBER, Answers, pack_string, pack_strings
from nixoci.process import Conversation, converse
from nixoci.streams import Sink

_MAGIC, _ANSWER_MAGIC = 0x390C9DEB, 0x5452EECB
_VERSION = 2 << 8 | 5
_QUERY_VALID_PATHS, _QUERY_PATH_INFOS, _ADD_TO_STORE_NAR = 1, 2, 9
_ADDED = 1


class Server:
    """A running `nix-store --serve`.

    Raises:
        StoreError: From every method that reads an answer, if Nix speaks another protocol.
        HungUpError: From every method, if Nix has ended.
    """

    def __init__(self, nix: Conversation) -> None:
        self._nix = nix
        self._answers = Answers(nix.read, protocol="nix-store --serve")
        self._greeted = False
        nix.write(NUMBER.pack(_MAGIC) + NUMBER.pack(_VERSION))
        nix.flush()

    def valid_paths(self, paths: Iterable[str]) -> set[str]:
        """Return those of the paths that are valid; if the server may write, they stay valid until it ends."""
        lock, substitute = 1, 0
        self._ask(NUMBER.pack(_QUERY_VALID_PATHS) + NUMBER.pack(lock) + NUMBER.pack(substitute) + _paths(paths))
        return set(self._answers.texts())

    def path_infos(self, paths: Iterable[str]) -> dict[str, PathInfo]:
        """Return information about those of the paths that are valid.

        Nix caches negative answers for the life of the process.
        """
        self._ask(NUMBER.pack(_QUERY_PATH_INFOS) + _paths(paths))
        infos: dict[str, PathInfo] = {}
        while path := self._answers.text():
            infos[path] = self._path_info(path)
        return infos

    def closure(self, paths: Iterable[str]) -> dict[str, PathInfo]:
        """Return information about the closure of paths.

        Raises:
            StoreError: One of them is not valid.
        """
        infos: dict[str, PathInfo] = {}
        wanted = set(paths)
        while wanted:
            found = self.path_infos(wanted)
            for path in sorted(wanted - found.keys()):
                raise StoreError(f"{path}: not a valid path of the store; build or copy it first")
            infos |= found
            wanted = {reference for info in found.values() for reference in info.references} - infos.keys()
        return infos

    def add(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Send Nix a path to register; `write` writes its NAR, exactly `nar_size` bytes. See `added`."""
        self._greet()
        self._nix.write(request(info))
        write(self._nix)
        self._nix.flush()

    def added(self) -> None:
        """Wait for the answer that Nix has registered the next path; answers come in the order of `add`."""
        answer = self._answers.number()
        if answer != _ADDED:
            raise self._answers.unknown(f"answers {answer}")

    def _ask(self, question: bytes) -> None:
        self._nix.write(question)
        self._nix.flush()
        self._greet()

    def _greet(self) -> None:
        if self._greeted:
            return
        magic, version = self._answers.number(), self._answers.number()
        if magic != _ANSWER_MAGIC or version >> 8 != _VERSION >> 8 or version < _VERSION:
            raise self._answers.unknown(f"speaks version {version:#x} of its protocol, not 2.5")
        self._greeted = True

    def _path_info(self, path: str) -> PathInfo:
        deriver, references = self._answers.text(), self._answers.texts()
        _download_size, nar_size = self._answers.number(), self._answers.number()
        nar_hash, address, signatures = self._answers.text(), self._answers.text(), self._answers.texts()
        try:
            return PathInfo(
                path=path,
                nar_hash=printed_to_sri(nar_hash),
                nar_size=nar_size,
                references=tuple(sorted(references)),
                deriver=deriver or None,
                signatures=tuple(sorted(signatures)),
                content_address=address or None,
            )
        except (StoreError, ValueError) as error:
            raise self._answers.unknown(f"says of {path}: {error}") from error


def request(info: PathInfo) -> bytes:
    """Return the request to register a path, which its NAR must follow."""
    digest = from_sri(info.nar_hash).hex()
    now, by_whom = 0, 0  # registered now, and not known to have been built here
    return b"".join(
        (
            NUMBER.pack(_ADD_TO_STORE_NAR),
            pack_string(info.path.encode()),
            pack_string((info.deriver or "").encode()),
            pack_string(digest.encode()),
            _paths(info.references),
            NUMBER.pack(now),
            NUMBER.pack(info.nar_size),
            NUMBER.pack(by_whom),
            pack_strings(signature.encode() for signature in info.signatures),
            pack_string((info.content_address or "").encode()),
        )
    )


@contextmanager
def serve(*, store: str | None, write: bool = False) -> Iterator[Server]:
    """Run a server for the block; `store` is a Nix store URL, None for Nix's own choice.

    Raises:
        ProcessError: There is no Nix, or it fails.
    """
    options = [*(["--store", store] if store else []), "--serve", *(["--write"] if write else [])]
    with converse(["nix-store", *options], package="nix") as nix:
        yield Server(nix)


def _paths(paths: Iterable[str]) -> bytes:
    return pack_strings(path.encode() for path in paths)
