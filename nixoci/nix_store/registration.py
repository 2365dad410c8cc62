"""New paths on their way into the store: Nix writes, verifies and registers each as its NAR comes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nixoci.errors import DeltaError, ProcessError
from nixoci.nix_store import commands as nix_store
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.serve import Server, serve
from nixoci.process import HungUpError
from nixoci.streams import Sink

_AHEAD = 64
"""Paths that may be written before Nix has answered for the first; all answers together must fit into a pipe."""


class RefusedError(DeltaError):
    """Nix does not register the path `info`; nothing is left of it and of those before it."""

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
        """Return what the store knows of those of the paths that are valid; they stay so until all are registered."""
        self.finish()
        return self._nix.path_infos(self._nix.valid_paths(paths))

    def add(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Let Nix register a path; `write` writes its NAR, exactly `nar_size` bytes."""
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
    """Register, in the block, paths with Nix: all of them or, where the block or Nix fails, none.

    Without `write`, Nix may only be asked what is valid.

    Raises:
        RefusedError: Nix refuses one, or has no room for it.
        ProcessError: There is no Nix.
    """
    new: Registration | None = None
    try:
        with serve(store=store, write=write) as nix:
            new = Registration(nix)
            try:
                yield new
            except HungUpError:
                new.finish()  # reads what it answered before that
                raise
            new.finish()
    except ProcessError as error:
        if new is None or not (new.waiting or new.registered):
            raise
        refused = new.waiting[0] if new.waiting else new.registered.pop()
        _delete([*new.registered, refused], store)  # of what comes after it, Nix has seen nothing
        reason = nix_store.reason(error)
        if "trusted" in reason:
            reason += "; receive it as root or as one of nix.conf's trusted-users, or sign it with a trusted key"
        raise RefusedError(f"{refused.path}: Nix does not register it: {reason}", refused) from error
    except BaseException:
        if new is not None:
            _delete([*new.registered, *new.waiting], store)
        raise


def _delete(infos: list[PathInfo], store: str | None) -> None:
    nix_store.delete([info.path for info in infos], store=store)
