"""Rebuilding paths: the whole body of a delta is checked, then the NAR of any of its paths is written."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from nixoci.delta.ahead import DecodeAhead
from nixoci.delta.assemble import Assembler, Bases
from nixoci.delta.codecs.model import Codec
from nixoci.delta.codecs.registry import CODECS, decode
from nixoci.delta.format.body import BodyReader
from nixoci.delta.format.model import SEGMENT_SIZE, Header
from nixoci.delta.format.recipe import OldSegment, RecipeReader
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.spool import need_space
from nixoci.errors import DeltaError, StoreError
from nixoci.nix_store.nar import NarHash, NarWriter
from nixoci.nix_store.path import PathInfo
from nixoci.openat import TreeOpener, open_below
from nixoci.progress import Advance, ignore
from nixoci.streams import ProgressSink, Sink, ThreadedSink

_SPARE = 1 << 20
"""Free bytes that are checked for at a time."""


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
        self.payload_size = 0
        """Bytes of all payloads."""
        with self._payloads.open("wb") as out:
            self._contents = self._read_contents(body, out, first_uses)
        stream.finish()

    def check(self, info: PathInfo, advance: Advance = ignore) -> None:
        """Rebuild the NAR of a path, check its size and hash, and drop it."""
        hashed = NarHash()
        size, used = self._rebuild(info, hashed, advance, lambda: None)
        if size != info.nar_size or hashed.sri != info.nar_hash:
            self._blame_bases(info, used)
            raise DeltaError(
                f"{info.path}: rebuilt with narHash {hashed.sri} and {size} bytes, expected {info.nar_hash} and "
                f"{info.nar_size}; make the delta again"
            )

    def write(
        self, info: PathInfo, out: Sink, advance: Advance = ignore, go_on: Callable[[], object] = lambda: None
    ) -> None:
        """Write the NAR of a path and check its size; its hash is left to the reader of `out`.

        `go_on` is called before each content is decoded, which may take long and write nothing; an error that it raises
        is passed on.
        """
        size, used = self._rebuild(info, out, advance, go_on)
        if size != info.nar_size:
            self._blame_bases(info, used)
            raise DeltaError(f"{info.path}: rebuilt with {size} bytes, expected {info.nar_size}; make the delta again")

    def _rebuild(
        self, info: PathInfo, out: Sink, advance: Advance, go_on: Callable[[], object]
    ) -> tuple[int, set[int]]:
        with (
            self._payloads.open("rb") as payloads,
            TreeOpener() as opener,
            ThreadedSink(ProgressSink(out.write, advance)) as sink,
        ):
            bases = Bases(self._roots, self._rewrite, opener)
            try:
                nar = NarWriter(sink, limit=info.nar_size, what=info.path)
                slow = (number for number in self._uses[info.path] if self._codec(number).declared is not None)
                read, decode_one = partial(self._read, payloads, bases), partial(self._decode, go_on)
                with DecodeAhead(slow, self._repeated, read, decode_one, self._declared) as contents:
                    recipe = copy(self._recipes[info.path])  # one thread reads it
                    Assembler(nar, bases, contents.content).write(recipe.node())
            except (DeltaError, StoreError) as error:
                self._blame_bases(info, bases.used)
                text = str(error)
                raise DeltaError(text if text.startswith(info.path) else f"{info.path}: {text}") from error
            sink.finish()
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

    def _read(self, payloads: IO[bytes], bases: Bases, number: int) -> tuple[bytes, bytes]:
        """Return the payload and the old segment of a content."""
        content = self._contents[number]
        payloads.seek(content.offset)
        return payloads.read(content.size), bases.segment(content.old) if content.old is not None else b""

    def _codec(self, number: int) -> Codec:
        return CODECS[self._contents[number].codec]

    def _declared(self, number: int, payload: bytes) -> int:
        declared = self._codec(number).declared
        return declared(payload) if declared is not None else 0

    def _decode(self, go_on: Callable[[], object], number: int, payload: bytes, old: bytes) -> bytes:
        go_on()
        return decode(self._contents[number].codec, payload, old, self._segment_size)

    def _blame_bases(self, info: PathInfo, used: set[int]) -> None:
        """Name a damaged base, if a path that came out wrong was made from one."""
        for number in sorted(used):
            base = self._bases[number]
            found = NarHash()
            open_below(self._roots[number], b"", NarWriter(found, limit=1 << 62, what=base.path).dump)
            if found.sri != base.nar_hash:
                raise DeltaError(
                    f"{base.path}: damaged in this store: its narHash is {found.sri}, expected {base.nar_hash}; "
                    f"repair it (nix-store --repair-path), then receive {info.path} again"
                )
