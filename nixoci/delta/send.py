"""Sending: a plan, the payloads of its contents, and the stream. The receiver is asked nothing."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from nixoci.delta.closure import Closure
from nixoci.delta.codecs.choose import encode, newest_version
from nixoci.delta.codecs.model import Codec
from nixoci.delta.compare import Content
from nixoci.delta.effort import Effort, body_packing, incompressible_packing
from nixoci.delta.format.body import ContentHead, pack_body_start, pack_content_head
from nixoci.delta.format.stream import DeltaWriter
from nixoci.delta.plan import Plan, plan_delta, scanned_bytes
from nixoci.delta.summary import SendSummary
from nixoci.openat import read_below
from nixoci.progress import Advance, byte_progress, ignore
from nixoci.streams import NullSink, Sink

_WORKERS = 2
_IN_FLIGHT = 32
_IN_FLIGHT_BYTES = 48 << 20
"""Bytes of contents, old and new, that wait or are encoded at a time; one content may be larger."""
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

    The same closures and effort give the same bytes. Memory holds a few segments, and some hundred bytes for each file.

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
    with ThreadPoolExecutor(_WORKERS) as pool:
        running: deque[tuple[int, Future[_Encoded]]] = deque()
        bytes_running = 0
        try:
            for content in plan.contents:
                old_size = content.predecessor.size if content.predecessor is not None else 0
                size = content.size + min(old_size, plan.segment_size)
                while running and (len(running) >= _IN_FLIGHT or bytes_running + size > _IN_FLIGHT_BYTES):
                    done, future = running.popleft()
                    bytes_running -= done
                    yield future.result()
                running.append((size, pool.submit(_encode, plan, content, effort)))
                bytes_running += size
            while running:
                yield running.popleft()[1].result()
        finally:
            for _, future in running:  # nobody takes these any more
                future.cancel()


def _encode(plan: Plan, content: Content, effort: Effort) -> _Encoded:
    new, old, rewritten = content.read(), None, False
    predecessor = content.predecessor
    if predecessor is not None:
        old = read_below(plan.old_roots[predecessor.base], predecessor.path, content.offset, plan.segment_size)
        if content.rewrite:
            before, old = old, plan.rewrite(old)
            rewritten = old != before
    codec, payload = encode(new, old, effort, incompressible=content.incompressible, limit=plan.segment_size)
    return _Encoded(content, codec, rewritten and codec.uses_old, payload)


def _smallest(plan: Plan, effort: Effort) -> list[_Encoded]:
    """Return the contents in the encoding that makes the smallest stream; each stream is written to measure it."""
    usual, fast = list(_encode_all(plan, effort)), list(_encode_all(plan, Effort.FAST))
    shortest = [min(pair, key=lambda one: len(one.payload)) for pair in zip(usual, fast, strict=True)]
    return min(usual, fast, shortest, key=lambda encoded: _write(plan, encoded, NullSink(), effort))


def _counted(encoded: Iterable[_Encoded], summary: SendSummary, advance: Advance) -> Iterator[_Encoded]:
    for one in encoded:
        yield one
        summary.add(one.codec.name, one.content.size, len(one.payload))
        advance(one.content.size)


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
        writer.finish()
        return writer.size
