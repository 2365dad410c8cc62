"""Rebuilding paths: the whole body of a delta is checked, then the NAR of any of its paths is written."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from nixoci.delta.ahead import DecodeAhead
from nixoci.delta.assemble import Assembler, Bases
from nixoci.delta.codecs.model import Codec, OldData
from nixoci.delta.codecs.registry import CODECS, decode, require
from nixoci.delta.format.body import BodyReader
from nixoci.delta.format.model import SEGMENT_SIZE, Header
from nixoci.delta.format.recipe import OldSegment, RecipeReader
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.spool import need_space
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError, NixociError, StoreError
from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import PathInfo
from nixoci.openat import TreeOpener, open_below
from nixoci.progress import Advance, ignore
from nixoci.streams import ProgressSink, Sink, ThreadedSink

_SPARE = 1 << 20
"""Free bytes that are checked for at a time."""
_SMALL = 1 << 20
"""Bytes of a NAR that is written without threads."""


@dataclass(frozen=True, slots=True)
class _Content:
    """A content of the body: a payload of `size` bytes at `offset`, and the old segment that it is decoded against."""

    codec: int
    old: OldSegment | None
    offset: int
    size: int


class Rebuilder:
    """Reads the body of a delta to its end, then writes the NAR of any of its paths.

    Args:
        stream: The delta, after its header.
        header: The header.
        bases: The bases on this machine, in the order of the header.
        folder: A directory for the payloads.
        segment_size: Bytes of a segment; the sender must have used the same.
        most_payloads: Bytes of payloads that are allowed; by default, as many as the disk holds.
        worker: Decodes the contents that take long; by default, threads of this process do.

    NARs may be written on several threads at a time.

    Raises:
        DeltaError: The body is damaged, or has more payloads; nothing but files in `folder` was written.
    """

    def __init__(
        self,
        stream: DeltaReader,
        header: Header,
        bases: Sequence[Path],
        folder: Path,
        *,
        segment_size: int = SEGMENT_SIZE,
        most_payloads: int | None = None,
        worker: DecodeWorker | None = None,
    ) -> None:
        self._what = stream.what
        self._bases = header.bases
        self._roots = bases
        self._segment_size = segment_size
        self._rewrite = Rewriter(header.successions(), segment_size=segment_size)
        body = BodyReader(stream, segment_size=segment_size)
        first_uses: dict[int, OldSegment | None] = {}
        self._uses: dict[str, list[int]] = {}
        self._repeated: set[int] = set()
        self._recipes = self._split(body.recipes(), header, first_uses)
        self._payloads = folder / "payloads"
        self._most_payloads = most_payloads
        self._worker = worker
        self.payload_size = 0
        """Bytes of all payloads."""
        with self._payloads.open("wb") as out:
            self._contents = self._read_contents(body, out, first_uses)
        stream.finish()

    def check(self, info: PathInfo, advance: Advance = ignore) -> None:
        """Rebuild the NAR of a path, check its size and hash, and drop it."""
        hashed = HashingSink()
        size, used = self._rebuild(info, hashed, advance, self._require)
        if size != info.nar_size or hashed.sri != info.nar_hash:
            self._explain(info, used)
            raise DeltaError(
                f"{info.path}: rebuilt with narHash {hashed.sri} and {size} bytes, expected {info.nar_hash} and "
                f"{info.nar_size}; make the delta again"
            )

    def write(
        self,
        info: PathInfo,
        out: Sink,
        advance: Advance = ignore,
        go_on: Callable[[], object] = lambda: None,
        *,
        explained: bool = False,
    ) -> None:
        """Write the NAR of a path and check its size; its hash is left to the reader of `out`.

        Args:
            info: The path.
            out: Takes its NAR.
            advance: Called with the number of bytes that were written.
            go_on: Called before each content is decoded, which may take long and write nothing; an error that it raises
                is passed on.
            explained: Whether the caller calls `check` or `explain` if the hash is wrong. Programs of this machine are
                tried then, in place of now: a trial takes longer than most contents.
        """
        if explained:
            size, used = self._rebuild(info, out, advance, lambda _number, _payload: go_on())
        else:
            size, used = self._rebuild(info, out, advance, partial(self._require, go_on=go_on))
        if size != info.nar_size:
            self._explain(info, used)
            raise DeltaError(f"{info.path}: rebuilt with {size} bytes, expected {info.nar_size}; make the delta again")

    def explain(self, info: PathInfo) -> None:
        """Return unless programs of this machine make other bytes than a path relies on.

        Raises:
            DeltaError: One does.
            ProcessError: One is missing.
        """
        with self._payloads.open("rb") as payloads:
            for number in self._uses[info.path]:
                if self._codec(number).require is not None:
                    try:
                        self._require(number, self._payload(payloads, number))
                    except DeltaError as error:
                        raise _named(info, error) from error

    def _rebuild(
        self, info: PathInfo, out: Sink, advance: Advance, before: Callable[[int, bytes], object]
    ) -> tuple[int, set[int]]:
        """Write the NAR of a path; `before` is called with the number and the payload of each content."""
        shown = ProgressSink(out.write, advance)
        with self._payloads.open("rb") as payloads, TreeOpener() as opener, ExitStack() as threads:
            # to start threads for a small NAR takes longer than they save
            threaded = threads.enter_context(ThreadedSink(shown)) if info.nar_size > _SMALL else None
            bases = Bases(self._roots, self._rewrite, opener)
            try:
                nar = NarWriter(threaded or shown, limit=info.nar_size, what=info.path)
                slow = (number for number in self._uses[info.path] if self._is_slow(number, large=threaded is not None))
                read, decode_one = partial(self._read, payloads, bases), partial(self._decode, before)
                # with a worker, one more waits in it, which it begins while a thread takes the one before
                count = 1 if self._worker is None else 2
                with DecodeAhead(slow, self._repeated, read, decode_one, self._declared, threads=count) as contents:
                    recipe = copy(self._recipes[info.path])  # one thread reads it
                    Assembler(nar, bases, contents.content).write(recipe.node())
            except (DeltaError, StoreError) as error:
                self._explain(info, bases.used)
                raise _named(info, error) from error
            if threaded is not None:
                threaded.finish()
        return nar.size, bases.used

    def _split(
        self, recipes: bytes, header: Header, first_uses: dict[int, OldSegment | None]
    ) -> dict[str, RecipeReader]:
        split, at = {}, 0
        for info, predecessor in zip(header.paths, header.predecessors, strict=True):
            recipe = RecipeReader(
                recipes,
                at,
                predecessor=predecessor,
                bases=len(self._bases),
                what=info.path,
                segment_size=self._segment_size,
            )
            uses = len(first_uses)
            split[info.path], at = recipe, recipe.check(first_uses, self._repeated)
            self._uses[info.path] = list(islice(reversed(first_uses), len(first_uses) - uses))[::-1]
        if at != len(recipes):
            raise DeltaError(f"{self._what}: bytes after its last recipe; make the delta again")
        return split

    def _read_contents(
        self, body: BodyReader, out: IO[bytes], first_uses: dict[int, OldSegment | None]
    ) -> dict[int, _Content]:
        count = body.count()
        if count != len(first_uses) or (first_uses and max(first_uses) >= count):
            raise DeltaError(
                f"{self._what}: damaged delta: it has {count} contents, but its recipes use {len(first_uses)}, up to "
                f"number {max(first_uses, default=0)}; fetch it again"
            )
        contents: dict[int, _Content] = {}
        offset = 0
        for number in range(count):
            head = body.head()
            old = first_uses.pop(number)
            codec = CODECS.get(head.codec)
            if codec is None or codec.version > body.version:
                raise DeltaError(
                    f"{self._what}: damaged delta: content {number} has codec {head.codec}, and version {body.version} "
                    "of the format has no such codec; make it again"
                )
            if not codec.uses_old:
                old = None
            elif old is None:
                raise DeltaError(f"{self._what}: content {number} needs an old segment, and its recipe names none")
            if head.rewritten:
                old = self._rewritten(number, old)
            if not contents or offset % _SPARE + head.size > _SPARE:
                need_space(self._payloads.parent, max(head.size, _SPARE), self._what)
            contents[number] = _Content(head.codec, old, offset, head.size)
            offset += head.size
            if self._most_payloads is not None and offset > self._most_payloads:
                raise DeltaError(f"{self._what}: its payloads have more than {self._most_payloads} bytes, all allowed")
            for block in body.payload(head):
                out.write(block)
        self.payload_size = offset
        return contents

    def _rewritten(self, number: int, old: OldSegment | None) -> OldSegment:
        if old is None:
            raise DeltaError(f"{self._what}: content {number} rewrites a missing old segment; make the delta again")
        return replace(old, rewritten=True)

    def _read(self, payloads: IO[bytes], bases: Bases, number: int) -> tuple[bytes, OldData]:
        """Return the payload and the old segment of a content."""
        old = self._contents[number].old
        return self._payload(payloads, number), OldData(bases.segment(old) if old is not None else b"")

    def _payload(self, payloads: IO[bytes], number: int) -> bytes:
        content = self._contents[number]
        payloads.seek(content.offset)
        return payloads.read(content.size)

    def _codec(self, number: int) -> Codec:
        return CODECS[self._contents[number].codec]

    def _is_slow(self, number: int, *, large: bool) -> bool:
        """Return whether a content is decoded ahead, in a large NAR or a small one."""
        codec = self._codec(number)
        elsewhere = self._worker is not None and self._worker.decodes(codec.number)
        return codec.declared is not None and (large or elsewhere)

    def _declared(self, number: int, payload: bytes) -> int:
        declared = self._codec(number).declared
        return declared(payload) if declared is not None else 0

    def _decode(self, before: Callable[[int, bytes], object], number: int, payload: bytes, old: OldData) -> bytes:
        before(number, payload)
        codec = self._contents[number].codec
        if self._worker is not None and self._worker.decodes(codec):
            return self._worker.decode(payload, old, self._segment_size)
        return decode(codec, payload, old, self._segment_size)

    def _require(self, number: int, payload: bytes, go_on: Callable[[], object] = lambda: None) -> None:
        """Check that programs of this machine make the bytes that a content relies on."""
        go_on()
        require(self._contents[number].codec, payload)

    def _explain(self, info: PathInfo, used: set[int]) -> None:
        """Name the reason why a path came out wrong, if it is a program of this machine, or a damaged base."""
        self.explain(info)
        for number in sorted(used):
            base = self._bases[number]
            found = HashingSink()
            open_below(self._roots[number], b"", NarWriter(found, limit=1 << 62, what=base.path).dump)
            if found.sri != base.nar_hash:
                raise DeltaError(
                    f"{base.path}: damaged in this store: its narHash is {found.sri}, expected {base.nar_hash}; "
                    f"repair it (nix-store --repair-path), then receive {info.path} again"
                )


def _named(info: PathInfo, error: NixociError) -> DeltaError:
    """Return an error that starts with the path."""
    text = str(error)
    return DeltaError(text if text.startswith(info.path) else f"{info.path}: {text}")
