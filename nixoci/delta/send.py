"""Sending: a plan, the payloads of its contents, and the stream. The receiver is asked nothing."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from nixoci.delta.budget import MemoryBudget
from nixoci.delta.closure import Closure
from nixoci.delta.codecs.choose import START, encode, encode_large, is_large, needed_memory, newest_version
from nixoci.delta.codecs.model import Codec
from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.compare import Content
from nixoci.delta.effort import Effort, body_packing, incompressible_packing
from nixoci.delta.format.body import ContentHead, pack_body_start, pack_content_head
from nixoci.delta.format.stream import DeltaWriter
from nixoci.delta.pairing import Candidate
from nixoci.delta.plan import Plan, plan_delta, scanned_bytes
from nixoci.delta.rewrite import MAX_REFERENCE
from nixoci.delta.summary import SendSummary
from nixoci.malloc import return_free_memory
from nixoci.openat import read_below
from nixoci.progress import Advance, byte_progress, ignore
from nixoci.streams import NullSink, Sink

_WORKERS = 2
_IN_FLIGHT = 32
_MEMORY = 120 << 20
"""Bytes of memory for the contents that are encoded at a time; one content may take more."""
_COUNTED = 1 << 20
"""Bytes of a content from which on the memory for its format counts."""
_MUCH = 32 << 20
"""Bytes of memory for a content from which on it is given back to the system afterwards, which takes milliseconds."""
_WAITING = 48 << 20
"""Bytes of payloads that are in memory at a time, where each has as many as its content until it is there."""
_LITTLE = 1 << 20
"""Size of all contents up to which they are encoded in every way."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A content, its codec, whether its old segment is rewritten, and its payload."""

    content: Content
    codec: Codec
    rewritten: bool
    payload: bytes


def send_delta(
    old: Closure, new: Closure, out: Sink, *, effort: Effort = Effort.DEFAULT, advance: Advance = ignore
) -> SendSummary:
    """Write the delta that makes the closure `new` from `old`.

    The same closures and effort give the same bytes. Memory holds parts of a few files, and some hundred bytes for each
    file.

    Args:
        old: The closure that the receiver has.
        new: The closure that it receives.
        out: Takes the stream.
        effort: Time spent for fewer bytes.
        advance: Called with the bytes of content that were encoded.

    Raises:
        DeltaError: A file changes while it is read, or is no file, directory or symlink.
        StoreError: A file cannot be read.
    """
    return send_plan(plan_delta(old, new, similar=effort is not Effort.FAST), out, effort=effort, advance=advance)


def send_shown(
    old: Closure, new: Closure, out: Sink, *, effort: Effort = Effort.DEFAULT, label: str = "making the delta"
) -> SendSummary:
    """Write a delta as `send_delta` does, with progress on a terminal; `label` describes the writing."""
    with byte_progress("comparing", scanned_bytes(old, new)) as advance:
        plan = plan_delta(old, new, similar=effort is not Effort.FAST, advance=advance)
    with byte_progress(label, sum(content.size for content in plan.contents)) as advance:
        return send_plan(plan, out, effort=effort, advance=advance)


def send_plan(plan: Plan, out: Sink, *, effort: Effort, advance: Advance = ignore) -> SendSummary:
    """Write a delta that is planned, as `send` does."""
    encoded: Iterable[_Encoded] = _encode_all(plan, effort)
    if effort is not Effort.FAST and sum(content.size for content in plan.contents) <= _LITTLE:
        encoded = _smallest(plan, effort)
    plan.summary.delta_size = _write(plan, _counted(encoded, plan.summary, advance), out, effort)
    return plan.summary


def _encode_all(plan: Plan, effort: Effort) -> Iterator[_Encoded]:
    """Encode the contents on both cores and yield them in order, with few of them in memory."""
    budget = MemoryBudget(_MEMORY)
    with ThreadPoolExecutor(_WORKERS) as pool:
        running: deque[tuple[int, Future[_Encoded]]] = deque()
        try:
            for content in plan.contents:
                while running and (len(running) >= _IN_FLIGHT or _held(running) + content.size > _WAITING):
                    yield running.popleft()[1].result()
                running.append((content.size, pool.submit(_encode, plan, content, effort, budget)))
            while running:
                yield running.popleft()[1].result()
        finally:
            for _, future in running:  # nobody takes these any more
                future.cancel()


def _held(running: Iterable[tuple[int, Future[_Encoded]]]) -> int:
    """Return the bytes of payloads, and of contents whose payload is not there yet."""
    return sum(len(future.result().payload) if future.done() else size for size, future in running)


class _OldSegment:
    """The old segment of a content, with its references rewritten.

    Attributes:
        size: The number of bytes.
        rewritten: Whether any of the bytes that were read are rewritten.
    """

    def __init__(self, plan: Plan, content: Content, file: Candidate) -> None:
        self._root = plan.old_roots[file.base]
        self._path = file.path
        self._offset = content.offset
        self._rewrite = plan.rewrite if content.rewrite else None
        self.size = min(file.size - content.offset, plan.segment_size)
        self.rewritten = False

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer at the end."""
        stop = min(stop, self.size)
        if self._rewrite is None:
            return self._read(start, stop)
        begin = max(0, start - MAX_REFERENCE)
        data = self._read(begin, min(self.size, stop + MAX_REFERENCE))
        before = data[start - begin : stop - begin]
        after = self._rewrite(data)[start - begin : stop - begin]
        self.rewritten |= after != before
        return after

    def _read(self, start: int, stop: int) -> bytes:
        return read_below(self._root, self._path, self._offset + start, stop - start)


def _encode(plan: Plan, content: Content, effort: Effort, budget: MemoryBudget) -> _Encoded:
    old = _OldSegment(plan, content, content.predecessor) if content.predecessor is not None else None
    start = content.read(0, START) if content.size >= _COUNTED else b""
    memory = needed_memory(start, old.size if old is not None else 0, content.size, effort)
    with budget.take(memory):
        made = _encode_against(plan, content, old, effort)
        if memory >= _MUCH:
            return_free_memory()
        return made


def _encode_against(plan: Plan, content: Content, old: _OldSegment | None, effort: Effort) -> _Encoded:
    if old is None:
        return _Encoded(content, PLAIN, rewritten=False, payload=content.read())
    incompressible, limit = content.incompressible, plan.segment_size
    if is_large(old.size, content.size):
        made = encode_large(content, old, effort, incompressible=incompressible, limit=limit)
    else:
        before = old.read(0, old.size)
        made = encode(content.read(), before, effort, incompressible=incompressible, limit=limit)
    return _Encoded(content, made.codec, old.rewritten and made.codec.uses_old, made.payload)


def _smallest(plan: Plan, effort: Effort) -> list[_Encoded]:
    """Return the contents in the encoding that makes the smallest stream; each stream is written to measure it."""
    usual, fast = list(_encode_all(plan, effort)), list(_encode_all(plan, Effort.FAST))
    shortest = [min(pair, key=lambda one: len(one.payload)) for pair in zip(usual, fast, strict=True)]
    return min(usual, fast, shortest, key=lambda encoded: _write(plan, encoded, NullSink(), effort))


def _counted(encoded: Iterable[_Encoded], summary: SendSummary, advance: Advance) -> Iterator[_Encoded]:
    def count(one: _Encoded) -> _Encoded:
        summary.add(one.codec.name, one.content.size, len(one.payload))
        advance(one.content.size)
        return one

    return map(count, encoded)  # a loop would hold each payload while the next one is made


def _write(plan: Plan, encoded: Iterable[_Encoded], out: Sink, effort: Effort) -> int:
    """Write the stream and return the number of its bytes."""
    with DeltaWriter(out, body_packing(effort), newest=newest_version(effort)) as writer:
        writer.header(plan.header)
        writer.write(pack_body_start(plan.recipes, len(plan.contents)))
        incompressible = False
        for one in encoded:
            writer.need(one.codec.version)
            if one.content.incompressible and not incompressible:  # incompressible contents come last
                incompressible = True
                writer.change(incompressible_packing())
            writer.write(pack_content_head(ContentHead(one.codec.number, one.rewritten, len(one.payload))))
            writer.write(one.payload)
            del one  # else it is in memory while the next one is made
        writer.finish()
        return writer.size
