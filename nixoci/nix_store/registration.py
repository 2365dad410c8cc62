"""Registering new paths: Nix writes, verifies and registers each while its NAR arrives."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.commands import delete, failure_reason
from nixoci.nix_store.content_address import nar_address
from nixoci.nix_store.daemon import Adder, RefusalError
from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.path import PathInfo, store_path_name
from nixoci.nix_store.serve import Server, serve
from nixoci.nix_store.trust import ADVICE
from nixoci.process import HungUpError
from nixoci.streams import Sink

_AHEAD = 64
"""Paths that are sent before the first answer is read; all of the answers must fit into a pipe."""
_LARGE = 1 << 20
"""Bytes of a NAR that is worth a process which hashes it once."""


class RefusedError(StoreError):
    """Nix refused the path `info`; it and the paths before it are deleted again."""

    def __init__(self, message: str, info: PathInfo) -> None:
        super().__init__(message)
        self.info = info


class Registration:
    """Hands paths to Nix, one after another, in dependency order."""

    def __init__(self, nix: Server, adder: Adder) -> None:
        self._nix = nix
        self._adder = adder
        self.registered: list[PathInfo] = []
        self.waiting: deque[PathInfo] = deque()

    def valid(self, paths: Iterable[str]) -> dict[str, PathInfo]:
        """Return information about those of the paths that are valid; they stay valid until all are registered."""
        self.finish()
        return self._nix.path_infos(self._nix.valid_paths(paths))

    def add(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Send Nix a path to register; `write` writes its NAR, exactly `nar_size` bytes."""
        if _is_hashed_once(info) and self._adder.works():
            self._add_addressed(info, write)
            return
        self._wait(_AHEAD)
        self.waiting.append(info)
        self._nix.add(info, write)

    def get_ready(self, infos: Iterable[PathInfo] | None = None) -> None:
        """Start what adds large paths, if one of these is such a path; it gets ready while this process goes on."""
        if infos is None or any(map(_is_hashed_once, infos)):
            self._adder.start()

    def add_content(self, name: str, write: Callable[[Sink], object]) -> PathInfo:
        """Send Nix a path whose hash is not known, wait until it is registered, and return what Nix says of it.

        It stays registered if the block fails later: it has the address of its content, and may have been there before.

        Args:
            name: The name of the path, which has no references.
            write: Writes its NAR. If it fails, the path is not registered.

        Raises:
            RefusalError: Nix does not register it.
        """
        return self._adder.add(name, write)

    def _add_addressed(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Add a path at the address of its content, which is checked before Nix has all of it."""

        def write_checked(out: Sink) -> None:
            hashed = HashingSink(out)
            write(hashed)
            if hashed.sri != info.nar_hash:
                raise _refused(info, f"hash mismatch: specified {info.nar_hash}, got {hashed.sri}")

        self.registered.append(info)  # if Nix fails in the middle of it, it leaves files and a lock
        try:
            self._adder.add(store_path_name(info.path), write_checked)
        except RefusalError as error:
            raise _refused(info, str(error)) from error

    def finish(self) -> None:
        """Wait until all paths are registered."""
        self._wait(0)

    def _wait(self, ahead: int) -> None:
        while len(self.waiting) > ahead:
            self._nix.added()
            self.registered.append(self.waiting.popleft())


@contextmanager
def registration(*, store: str | None, write: bool = True) -> Iterator[Registration]:
    """Register the paths that the block adds: all of them or, if the block or Nix fails, none.

    Without `write`, the block may only ask which paths are valid.

    Raises:
        RefusedError: Nix refuses a path, or has no room for it.
        ProcessError: Nix is missing.
    """
    new: Registration | None = None
    try:
        with serve(store=store, write=write) as nix, Adder(store=store) as adder:
            new = Registration(nix, adder)
            try:
                yield new
            except HungUpError:
                new.finish()  # that reads the earlier answers first
                raise
            new.finish()
    except ProcessError as error:
        if new is None or not (new.waiting or new.registered):
            raise
        refused = new.waiting[0] if new.waiting else new.registered.pop()
        _delete([*new.registered, refused], store)  # Nix has read nothing beyond it
        reason = failure_reason(error)
        if "trusted" in reason:
            reason += f"; {ADVICE}"
        raise _refused(refused, reason) from error
    except BaseException:
        if new is not None:
            _delete([*new.registered, *new.waiting], store)
        raise


def _is_hashed_once(info: PathInfo) -> bool:
    """Return whether a path is large, and Nix finds its name from its content alone."""
    addressed = not info.references and info.content_address == nar_address(info.nar_hash)
    return addressed and info.nar_size >= _LARGE


def _refused(info: PathInfo, reason: str) -> RefusedError:
    return RefusedError(f"{info.path}: Nix does not register it: {reason}", info)


def _delete(infos: list[PathInfo], store: str | None) -> None:
    delete([info.path for info in infos], store=store)
