"""Receiving: the whole stream is checked, then each path is rebuilt, verified and registered."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from nixoci.delta.closure import Received
from nixoci.delta.format.model import Base
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.rebuild import Rebuilder
from nixoci.delta.spool import spool
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError
from nixoci.nix_store.commands import real_store_dir
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.registration import RefusedError, registration
from nixoci.nix_store.trust import check_trust
from nixoci.progress import Advance, byte_progress, ignore


def receive_delta(
    read: Callable[[int], bytes],
    *,
    what: str,
    size: int | None = None,
    store: str | None = None,
    dry_run: bool = False,
    accept: Callable[[tuple[str, ...]], object] | None = None,
    worker: DecodeWorker | None = None,
) -> Received:
    """Rebuild the paths of a delta, check them, and register them with Nix.

    Paths that are already valid are skipped. If anything is wrong with the stream or a base, no path is added. A few
    segments are in memory; the temporary directory holds the payloads meanwhile.

    Args:
        read: Returns up to that many bytes of the stream, none at its end.
        what: Names the stream in errors.
        size: Bytes of the stream, for progress; None if that is not known.
        store: The store that receives; a Nix store URL on this machine.
        dry_run: Rebuild and check everything, and register nothing; fail where Nix would refuse a path.
        accept: Called with the roots before anything is registered; an error that it raises is passed on.
        worker: Decodes programs, and may run already; by default one that lives as long as this call.

    Raises:
        DeltaError: The stream is damaged or hostile, or a base is missing or has another content.
        StoreError: Nix refuses a path, or the store is on another machine.
        ProcessError: Nix is missing or fails.
    """
    real = real_store_dir(store)
    rebuilder: Rebuilder | None = None
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(spool())
        worker = worker or cleanup.enter_context(DecodeWorker())
        try:
            with registration(store=store, write=not dry_run) as nix:  # first: Nix starts while the header is read
                counted = _Counted(read)
                stream = DeltaReader(counted.read, what=what)
                worker.start_for(stream.version)
                header = stream.header()
                if accept is not None:
                    accept(header.roots)
                valid = nix.valid([*(base.path for base in header.bases), *(info.path for info in header.paths)])
                check_bases(header.bases, valid)
                _check_present(header.paths, valid)
                wanted = [info for info in header.paths if info.path not in valid]
                if not dry_run:
                    nix.get_ready(wanted)
                with byte_progress("reading", size) as advance:
                    counted.report(advance)
                    rebuilder = Rebuilder(stream, header, header.bases_below(real), folder, worker=worker)
                with byte_progress("rebuilding", sum(info.nar_size for info in wanted)) as advance:
                    for info in wanted:
                        if dry_run:
                            rebuilder.check(info, advance)
                        else:
                            nix.add(info, partial(rebuilder.write, info, advance=advance, explained=True))
                if dry_run:
                    check_trust(wanted, store=store, folder=folder)
        except RefusedError as refused:
            if rebuilder is not None:
                rebuilder.check(refused.info)  # if the NAR was wrong, this names the reason
            raise
    return Received(
        roots=header.roots,
        added=tuple(info.path for info in wanted),
        present=tuple(info.path for info in header.paths if info.path in valid),
        delta_size=stream.size,
        nar_size=sum(info.nar_size for info in wanted),
    )


class _Counted:
    """Reads a stream, and reports the bytes that were read so far and from now on."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._size = 0
        self._advance: Advance = ignore

    def report(self, advance: Advance) -> None:
        """Report to `advance` from now on."""
        advance(self._size)
        self._advance = advance

    def read(self, count: int) -> bytes:
        """Return up to that many bytes of the stream."""
        data = self._read(count)
        self._size += len(data)
        self._advance(len(data))
        return data


def check_bases(bases: tuple[Base, ...], valid: dict[str, PathInfo]) -> None:
    """Refuse a store that lacks a base, or has another content under its name.

    Raises:
        DeltaError: It names the base.
    """
    missing = sorted(base.path for base in bases if base.path not in valid)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DeltaError(
            f"{missing[0]}{more}: the delta is made from it, but this store does not have it; "
            "copy it here first, or make the delta from a path that is here"
        )
    for base in bases:
        found = valid[base.path].nar_hash
        if found != base.nar_hash:
            raise DeltaError(
                f"{base.path}: its narHash is {found}, the delta is made from one with {base.nar_hash}; "
                "make the delta from this one"
            )


def _check_present(infos: tuple[PathInfo, ...], valid: dict[str, PathInfo]) -> None:
    """Refuse a store that already has one of the paths with another content."""
    for info in infos:
        if info.path in valid and valid[info.path].nar_hash != info.nar_hash:
            raise DeltaError(
                f"{info.path}: this store has it with narHash {valid[info.path].nar_hash}, the delta makes it with "
                f"{info.nar_hash}; delete it here (nix-store --delete), or make the delta from paths that are here"
            )
