"""Registering new paths: Nix writes, verifies and registers each while its NAR arrives."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.commands import delete, failure_reason
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.serve import Server, serve
from nixoci.nix_store.trust import ADVICE
from nixoci.process import HungUpError
from nixoci.streams import Sink

_AHEAD = 64
"""Paths that are sent before the first answer is read; all of the answers must fit into a pipe."""


class RefusedError(StoreError):
    """Nix refused the path `info`; it and the paths before it are deleted again."""

    def __init__(self, message: str, info: PathInfo) -> None:
        super().__init__(message)
        self.info = info


class Registration:
    """Hands paths to Nix, one after another, in dependency order."""

    def __init__(self, nix: Server) -> None:
        self._nix = nix
        self.registered: list[PathInfo] = []
        self.waiting: deque[PathInfo] = deque()

    def valid(self, paths: Iterable[str]) -> dict[str, PathInfo]:
        """Return information about those of the paths that are valid; they stay valid until all are registered."""
        self.finish()
        return self._nix.path_infos(self._nix.valid_paths(paths))

    def add(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Send Nix a path to register; `write` writes its NAR, exactly `nar_size` bytes."""
        self._wait(_AHEAD)
        self.waiting.append(info)
        self._nix.add(info, write)

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
        with serve(store=store, write=write) as nix:
            new = Registration(nix)
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
        raise RefusedError(f"{refused.path}: Nix does not register it: {reason}", refused) from error
    except BaseException:
        if new is not None:
            _delete([*new.registered, *new.waiting], store)
        raise


def _delete(infos: list[PathInfo], store: str | None) -> None:
    delete([info.path for info in infos], store=store)
