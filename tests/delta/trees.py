"""Store paths in a temporary directory, and deltas between them, without Nix."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

from nixoci.delta.closure import Closure
from nixoci.delta.effort import Effort
from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.plan import plan_delta
from nixoci.delta.rebuild import Rebuilder
from nixoci.delta.send import send_delta, send_plan
from nixoci.delta.summary import SendSummary
from nixoci.delta.worker import DecodeWorker
from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import STORE_DIR, PathInfo, store_path_basename
from nixoci.openat import open_below

Spec = bytes | tuple[str, bytes] | Mapping[bytes, "Spec"]
"""A file's content; `("x", content)` an executable; `("l", target)` a symlink; names and what they name."""


def make(root: bytes, spec: Spec) -> None:
    if isinstance(spec, bytes):
        spec = ("f", spec)
    if isinstance(spec, tuple):
        kind, content = spec
        if kind == "l":
            os.symlink(content, root)
            return
        with open(root, "wb") as file:
            file.write(content)
        os.chmod(root, 0o555 if kind == "x" else 0o444)
        return
    os.mkdir(root)
    for name, child in spec.items():
        make(root + b"/" + name, child)


def nar(root: Path) -> tuple[bytes, str, int]:
    out = io.BytesIO()
    hashed = HashingSink(out)
    writer = NarWriter(hashed, limit=1 << 40, what=str(root))
    open_below(root, b"", writer.dump)
    return out.getvalue(), hashed.sri, writer.size


def store_path(name: str, letter: str) -> str:
    return f"{STORE_DIR}/{letter * 32}-{name}"


def closure(real: Path, specs: Mapping[str, Spec], references: Mapping[str, tuple[str, ...]] | None = None) -> Closure:
    infos = {}
    for path, spec in specs.items():
        root = real / store_path_basename(path)
        if not os.path.lexists(root):
            make(os.fsencode(root), spec)
        _, sri, size = nar(root)
        infos[path] = PathInfo(
            path=path, nar_hash=sri, nar_size=size, references=tuple((references or {}).get(path, ()))
        )
    return Closure(roots=tuple(infos), paths=infos, real=real)


def delta(
    old: Closure, new: Closure, effort: Effort = Effort.DEFAULT, *, segment_size: int = SEGMENT_SIZE
) -> tuple[bytes, SendSummary]:
    """Return a delta and its summary; with another size of segments, one that only `rebuild` with that size reads."""
    out = io.BytesIO()
    if segment_size == SEGMENT_SIZE:
        summary = send_delta(old, new, out, effort=effort)
        return out.getvalue(), summary
    plan = plan_delta(old, new, similar=effort is not Effort.FAST, segment_size=segment_size)
    summary = send_plan(plan, out, effort=effort)
    return out.getvalue(), summary


def rebuild(
    stream: bytes, real: Path, folder: Path, *, segment_size: int = SEGMENT_SIZE, worker: DecodeWorker | None = None
) -> dict[str, bytes]:
    """Return the NAR of each path that a delta makes, all of them checked."""
    reader = DeltaReader(io.BytesIO(stream).read, what="the delta")
    header = reader.header()
    folder.mkdir(exist_ok=True)
    bases = header.bases_below(real)
    rebuilder = Rebuilder(reader, header, bases, folder, segment_size=segment_size, worker=worker)
    made = {}
    for info in header.paths:
        out = io.BytesIO()
        rebuilder.check(info)
        rebuilder.write(info, out)
        made[info.path] = out.getvalue()
    return made
