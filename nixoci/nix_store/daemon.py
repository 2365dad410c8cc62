"""The worker protocol, as `nix-daemon --stdio` speaks it: Nix adds paths at the addresses of their contents.

`nix-store --serve` adds paths of every kind. But it reads a path that has a content address again once it is written,
to hash it for the address. By this protocol Nix learns the address from the NAR while it writes it (Nix,
src/libstore/daemon.cc and addToStoreFromDump of local-store.cc).
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.commands import failure_reason, on_one_line
from nixoci.nix_store.content_address import nar_address
from nixoci.nix_store.hashes import printed_to_sri
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.wire import NUMBER, Answers, pack_string
from nixoci.process import Conversation, HungUpError, converse
from nixoci.streams import BlockSink, Data, Sink

_MAGIC, _ANSWER_MAGIC = 0x6E697863, 0x6478696F
_VERSION = 1 << 8 | 35
_ADDS_STREAMS = 1 << 8 | 25
"""The first version that adds a NAR whose size is not told before (Nix 2.4)."""
_TELLS_TRACES, _TELLS_RELEASE, _TELLS_TRUST = 1 << 8 | 26, 1 << 8 | 33, 1 << 8 | 35
"""The first versions that have these in their answers."""

_ADD_TO_STORE = 7
_AS_IT_IS = "fixed:r:sha256"
_FRAME = 1 << 18

_NEXT, _START, _STOP, _RESULT = 0x6F6C6D67, 0x53545254, 0x53544F50, 0x52534C54
_ERROR, _LAST = 0x63787470, 0x616C7473


class RefusalError(StoreError):
    """Nix has not added a path; the message is its reason."""


class Daemon:
    """A running `nix-daemon --stdio`. What it adds is kept from the garbage collector until it ends.

    Raises:
        StoreError: From every method that reads an answer, if Nix speaks another protocol.
        HungUpError: From every method, if Nix has ended.
    """

    def __init__(self, nix: Conversation) -> None:
        self._nix = nix
        self._answers = Answers(nix.read, protocol="nix-daemon --stdio")
        self._version = 0
        any_processor, no_reserve = 0, 0
        nix.write(b"".join(map(NUMBER.pack, (_MAGIC, _VERSION, any_processor, no_reserve))))
        nix.flush()

    def add(self, name: str, write: Callable[[Sink], object]) -> PathInfo:
        """Add a path without references, and return what Nix says of it.

        The path is that of a fixed-output derivation with the name and the recursive SHA-256 of the tree.

        Args:
            name: The name of the path.
            write: Writes its NAR; if it fails, nothing is added once Nix has ended.

        Raises:
            RefusalError: Nix does not add it, for example for lack of room.
        """
        self.greet()
        no_references, no_repair = NUMBER.pack(0), NUMBER.pack(0)
        texts = pack_string(name.encode()) + pack_string(_AS_IT_IS.encode())
        self._nix.write(NUMBER.pack(_ADD_TO_STORE) + texts + no_references + no_repair)
        frames = BlockSink(_Frames(self._nix), _FRAME)
        write(frames)
        frames.flush()
        self._nix.write(NUMBER.pack(0))
        self._nix.flush()
        self._wait()
        return self._path_info()

    def greet(self) -> None:
        """Wait until Nix is ready; `add` does so as well."""
        if self._version:
            return
        magic, version = self._answers.number(), self._answers.number()
        if magic != _ANSWER_MAGIC or version >> 8 != _VERSION >> 8 or version < _ADDS_STREAMS:
            raise self._answers.unknown(f"speaks version {version:#x} of its protocol, not 1.25")
        self._version = min(version, _VERSION)
        if self._version >= _TELLS_RELEASE:
            self._answers.text()
        if self._version >= _TELLS_TRUST:
            self._answers.number()
        self._wait()

    def _wait(self) -> None:
        """Skip the messages of a request to its end.

        Raises:
            RefusalError: Nix could not do it.
        """
        answers = self._answers
        while (kind := answers.number()) != _LAST:
            if kind == _NEXT:
                answers.text()
            elif kind == _START:
                for _activity_level_type in range(3):
                    answers.number()
                answers.text()
                self._skip_fields()
                answers.number()
            elif kind == _STOP:
                answers.number()
            elif kind == _RESULT:
                for _activity_type in range(2):
                    answers.number()
                self._skip_fields()
            elif kind == _ERROR:
                raise RefusalError(on_one_line(self._error()))
            else:
                raise answers.unknown(f"answers {kind:#x}")

    def _skip_fields(self) -> None:
        for _ in range(self._answers.number()):
            if self._answers.number():
                self._answers.text()
            else:
                self._answers.number()

    def _error(self) -> str:
        answers = self._answers
        if self._version < _TELLS_TRACES:
            message = answers.text()
            answers.number()
            return message
        _kind, _level, _name = answers.text(), answers.number(), answers.text()
        message, _position = answers.text(), answers.number()
        for _ in range(answers.number()):
            answers.number()
            answers.text()
        return message

    def _path_info(self) -> PathInfo:
        answers = self._answers
        path, _deriver, nar_hash = answers.text(), answers.text(), answers.text()
        references, _time, nar_size = answers.texts(), answers.number(), answers.number()
        _built_here, signatures, _address = answers.number(), answers.texts(), answers.text()
        try:
            sri = printed_to_sri(f"sha256:{nar_hash}")
        except StoreError as error:
            raise answers.unknown(f"says of {path}: {error}") from error
        return PathInfo(
            path=path,
            nar_hash=sri,
            nar_size=nar_size,
            references=tuple(references),
            signatures=tuple(signatures),
            content_address=nar_address(sri),
        )


class _Frames:
    """A sink that sends each block with its size before it, which is how Nix finds the end of a NAR."""

    def __init__(self, nix: Conversation) -> None:
        self._nix = nix

    def write(self, data: Data, /) -> None:
        self._nix.write(NUMBER.pack(len(data)))
        self._nix.write(data)


class Adder:
    """Adds paths at the addresses of their contents by a daemon that it starts for the first of them.

    Args:
        store: A Nix store URL, None for Nix's own choice.
    """

    def __init__(self, *, store: str | None) -> None:
        self._command = ["nix-daemon", *(["--store", store] if store else []), "--stdio"]
        self._running = ExitStack()
        self._daemon: Daemon | None = None
        self._works = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._end()
        with suppress(ProcessError):  # of what it was asked, it has answered everything
            self._running.close()

    def start(self) -> None:
        """Start the daemon, if Nix has one; it gets ready while this process goes on."""
        if self._daemon is None and self._works:
            try:
                self._daemon = Daemon(self._running.enter_context(converse(self._command, package="nix")))
            except (ProcessError, HungUpError):
                self._works = False

    def works(self) -> bool:
        """Return whether there is a daemon that adds paths, once it is ready."""
        self.start()
        if self._daemon is not None:
            try:
                self._daemon.greet()
            except (StoreError, HungUpError):
                self._works = False
                self._end()
        return self._daemon is not None

    def add(self, name: str, write: Callable[[Sink], object]) -> PathInfo:
        """Add a path as `Daemon.add` does.

        Raises:
            RefusalError: Nix does not add it, or has no daemon that could.
        """
        if not self.works() or self._daemon is None:
            raise RefusalError("there is no `nix-daemon` that can; install a whole Nix, 2.4 or later")
        try:
            return self._daemon.add(name, write)
        except HungUpError:
            self._daemon = None
        try:
            self._running.close()
        except ProcessError as error:
            raise RefusalError(failure_reason(error)) from error
        raise RefusalError("`nix-daemon` has ended before it was added")

    def _end(self) -> None:
        """End the daemon before its time; in the middle of a path, Nix adds nothing of it."""
        self._daemon = None
        with suppress(ProcessError):
            self._running.__exit__(StoreError, StoreError("no more"), None)
