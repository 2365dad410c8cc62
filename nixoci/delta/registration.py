"""New paths on their way into the store: Nix writes, verifies and registers each as its NAR comes.

By the protocol that `nix-store --serve` has had since Nix 2.1 and that other Nixes have taken over; it needs neither
a copy of the NAR on a disk nor one in memory (Nix, src/libstore/serve-protocol.hh and opServe of nix-store.cc).
"""

import base64
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nixoci.delta import nix_store
from nixoci.delta.format import Sink
from nixoci.delta.model import PathInfo
from nixoci.delta.wire import NUMBER, text, texts
from nixoci.errors import DeltaError, ProcessError
from nixoci.process import Conversation, HungUpError

_MAGIC, _ANSWER_MAGIC = 0x390C9DEB, 0x5452EECB
_VERSION = 2 << 8 | 5
_ADD_TO_STORE_NAR = 9
_ADDED = 1
_AHEAD = 64
"""Paths that may be written before Nix has answered for the first; all answers together must fit into a pipe."""


class RefusedError(DeltaError):
    """Nix does not register the path `info`; nothing is left of it and of those before it."""

    def __init__(self, message: str, info: PathInfo) -> None:
        super().__init__(message)
        self.info = info


class Registration:
    """Hands paths to Nix, one after another, in dependency order."""

    def __init__(self, nix: Conversation) -> None:
        self._nix = nix
        self._greeted = False
        self.registered: list[PathInfo] = []
        self.waiting: deque[PathInfo] = deque()

    def add(self, info: PathInfo, write: Callable[[Sink], object]) -> None:
        """Let Nix register a path; `write` writes its NAR, exactly `nar_size` bytes."""
        self._wait(_AHEAD)
        self.waiting.append(info)
        if not self._greeted:
            self._greet()
        self._nix.write(request(info))
        write(self._nix)
        self._nix.flush()

    def finish(self) -> None:
        """Wait until all paths are registered."""
        self._wait(0)

    def _greet(self) -> None:
        self._nix.write(NUMBER.pack(_MAGIC) + NUMBER.pack(_VERSION))
        self._nix.flush()
        magic, version = self._number(), self._number()
        if magic != _ANSWER_MAGIC or version >> 8 != _VERSION >> 8 or version < _VERSION:
            raise DeltaError(f"nix-store --serve speaks version {version:#x} of its protocol, not 2.5; update Nix")
        self._greeted = True

    def _wait(self, ahead: int) -> None:
        while len(self.waiting) > ahead:
            answer = self._number()
            if answer != _ADDED:
                raise DeltaError(f"{self.waiting[0].path}: nix-store --serve answers {answer}; update Nix")
            self.registered.append(self.waiting.popleft())

    def _number(self) -> int:
        number: int = NUMBER.unpack(self._nix.read(NUMBER.size))[0]
        return number


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
            texts(reference.encode() for reference in info.references),
            NUMBER.pack(now),
            NUMBER.pack(info.nar_size),
            NUMBER.pack(by_whom),
            texts(signature.encode() for signature in info.signatures),
            text((info.content_address or "").encode()),
        )
    )


@contextmanager
def registration(*, store: str | None) -> Iterator[Registration]:
    """Register, in the block, paths with Nix: all of them or, where the block or Nix fails, none.

    Raises:
        RefusedError: Nix refuses one, or has no room for it.
        ProcessError: There is no Nix.
    """
    new: Registration | None = None
    try:
        with nix_store.serve(store=store) as nix:
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
