"""The closures of the golden deltas of version 1, which every later nixoci must be able to read.

`python -m tests.delta.golden` writes them anew, which is right only for a new version of the format.
"""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nixoci.delta.closure import Closure
from nixoci.delta.effort import Effort
from tests.delta.trees import Spec, closure, delta, store_path

FILES = {effort: Path(__file__).with_name(f"golden-{effort.value}.delta") for effort in (Effort.FAST, Effort.DEFAULT)}

OLD_LIB, NEW_LIB = store_path("lib-1.0", "a"), store_path("lib-1.1", "b")
OLD_APP, NEW_APP = store_path("app-1.9", "c"), store_path("app-1.10", "d")
KEPT, SIGNER = store_path("kept", "f"), "key-1:" + "A" * 86 + "=="


def _program(seed: int, changes: int = 0) -> bytes:
    rng = random.Random(seed)
    words = [rng.randbytes(7) for _ in range(9)]
    data = bytearray(b"".join(rng.choices(words, k=900)))
    for number in range(changes):
        data[number * 500 + 9 : number * 500 + 9] = b"inserted%d" % number
    return bytes(data)


def _lines(*skipped: int) -> bytes:
    return b"\n".join(b"line %d of a text" % (line * 7919) for line in range(300) if line not in skipped)


def _lib(path: str, *, new: bool) -> Spec:
    reference = path.encode()
    package: dict[bytes, Spec] = {b"x%d" % number: b"entry %d of a renamed directory" % number for number in range(9)}
    lib: dict[bytes, Spec] = {
        b"same": {b"a": b"never changes, and is longer than a reference", b"b": ("x", b"nor does this, which can run")},
        b"rewritten": {b"file": b"see " + reference + b"/share", b"link": ("l", reference + b"/same")},
        b"spliced": b"one word of this long sentence " + (b"changes" if new else b"differs") + b", no more than that",
        b"patched.so.1.%d" % new: _program(1, 5 * new),
        b"pkg-1.%d" % new: package,
    }
    if new:
        package[b"x4"] = b"tiny"
        lib[b"moved"] = {b"elsewhere": _lines(17, 200), b"copy": _program(1)}
        lib[b"new"] = {b"empty": b"", b"empty program": ("x", b""), b"link": ("l", b"../same")}
    else:
        lib[b"text"] = _lines()
        lib[b"dropped"] = b"of no use"
    return lib


def _app(lib: str, app: str, *, new: bool) -> Spec:
    run = b"#!" + lib.encode() + b"/sh\nexec " + app.encode() + b"/bin/app\n"
    program = _program(2, 1 + 3 * new) + lib.encode()
    etc: dict[bytes, Spec] = {b"%d" % number: lib.encode() + b"/%d" % number for number in range(5)}
    if new:
        etc[b"3"] = b"no longer a path"
        del etc[b"4"]
    return {b"bin": {b"run": ("x", run), b"app": ("x", program)}, b"etc": etc}


@contextmanager
def closures() -> Iterator[tuple[Closure, Closure]]:
    """Make the two closures in a temporary directory."""
    with tempfile.TemporaryDirectory() as name:
        real = Path(name)
        old = closure(
            real,
            {OLD_LIB: _lib(OLD_LIB, new=False), OLD_APP: _app(OLD_LIB, OLD_APP, new=False), KEPT: b"kept"},
            {OLD_LIB: (OLD_LIB,), OLD_APP: (OLD_LIB, OLD_APP, KEPT)},
        )
        new = closure(
            real,
            {NEW_LIB: _lib(NEW_LIB, new=True), NEW_APP: _app(NEW_LIB, NEW_APP, new=True), KEPT: b"kept"},
            {NEW_LIB: (NEW_LIB,), NEW_APP: (NEW_LIB, NEW_APP, KEPT)},
        )
        signed = replace(new.paths[NEW_APP], signatures=(SIGNER,), deriver=store_path("app.drv", "g"))
        yield old, replace(new, roots=(NEW_APP,), paths={**new.paths, NEW_APP: signed})


if __name__ == "__main__":
    with closures() as pair:
        for effort, file in FILES.items():
            file.write_bytes(delta(*pair, effort)[0])
