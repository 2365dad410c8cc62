import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.effort import Effort
from nixoci.delta.rewrite import Rewriter
from nixoci.nix_store.nar import NarWriter
from nixoci.openat import open_below
from tests.delta.trees import Spec, closure, delta, nar, rebuild, store_path

OLD_LIB, NEW_LIB = store_path("lib-1.0", "a"), store_path("lib-1.1", "b")
OLD_APP, NEW_APP = store_path("app-1.9", "c"), store_path("app-1.10", "d")
KEPT = store_path("kept", "f")
RENAMED = {OLD_LIB: NEW_LIB, OLD_APP: NEW_APP}

fragments = st.sampled_from(
    [
        *[path.encode() for path in (OLD_LIB, NEW_LIB, OLD_APP, NEW_APP, KEPT)],
        *[b"/nix/store/" + letter * 32 for letter in (b"a", b"c")],
        *[b"/nix/store/", b"a" * 32, b"a" * 31, b"-lib", b"-lib-1.0", b"-bin", b"/nix/store", b"/", b"\0", b"text\n"],
    ]
)
texts = st.lists(fragments, max_size=12).map(b"".join)


def plainly(data: bytes) -> bytes:
    """Return the data as a rewriter should return it, computed from its definition."""
    done, at = b"", 0
    while at < len(data):
        for before, after in (
            (OLD_LIB.encode(), NEW_LIB.encode()),
            (OLD_LIB[:43].encode(), NEW_LIB[:43].encode()),
            (OLD_APP[:43].encode(), NEW_APP[:43].encode()),
        ):
            if data.startswith(before, at):
                done, at = done + after, at + len(before)
                break
        else:
            done, at = done + data[at : at + 1], at + 1
    return done


@given(texts)
def test_hash_parts_are_rewritten_and_names_of_equal_length(text: bytes) -> None:
    rewrite = Rewriter(RENAMED.items())
    assert rewrite(text) == plainly(text)
    assert len(rewrite(text)) == len(text)
    assert rewrite.changes(text) == (rewrite(text) != text)


@given(texts, st.lists(st.integers(min_value=1, max_value=120)), texts)
def test_what_comes_in_parts_is_rewritten_as_what_comes_at_once(text: bytes, parts: list[int], after: bytes) -> None:
    rewrite = Rewriter(RENAMED.items())
    done, block, at = b"", bytearray(), 0
    for part in [*parts, len(text)]:
        block += text[at : at + part]
        at += part
        final = rewrite.edit_block(block, len(block), last=at >= len(text))
        assert len(block) - final < len(OLD_LIB)
        done += block[:final]
        del block[:final]
    assert done == plainly(text)
    block = bytearray(text + after)
    assert rewrite.edit_block(block, len(text), last=True) == len(text)
    assert block == plainly(text) + after


@pytest.mark.parametrize("distance", [0, 1, 5, 11, 12, 20, 43, 44, 50, 51, 52])
def test_a_large_file_is_rewritten_wherever_its_references_lie(tmp_path: Path, distance: int) -> None:
    content = b"".join(bytes((1 << 18) - distance) + OLD_LIB.encode() + bytes(distance) for _ in range(4))
    (tmp_path / "old").write_bytes(content)
    (tmp_path / "new").write_bytes(content.replace(OLD_LIB.encode(), NEW_LIB.encode()))
    made = io.BytesIO()
    writer = NarWriter(made, limit=1 << 30, what="old")
    open_below(tmp_path / "old", b"", lambda handle: writer.dump(handle, Rewriter(RENAMED.items())))
    assert made.getvalue() == nar(tmp_path / "new")[0]


def test_the_first_successor_counts() -> None:
    rewrite = Rewriter([(OLD_LIB, NEW_LIB), (OLD_LIB, NEW_APP)])
    assert rewrite(OLD_LIB.encode()) == NEW_LIB.encode()


def test_without_successors_nothing_is_rewritten() -> None:
    rewrite = Rewriter([])
    assert rewrite(OLD_LIB.encode()) == OLD_LIB.encode()
    assert not rewrite.changes(OLD_LIB.encode())


names = st.sampled_from([b"a", b"b1", b"b2", b"c"])
leaves: st.SearchStrategy[Spec] = st.one_of(
    texts, texts.map(lambda text: ("x", text)), texts.map(lambda text: ("l", text.replace(b"\0", b"") or b"."))
)
trees: st.SearchStrategy[Spec] = st.recursive(
    leaves, lambda children: st.dictionaries(names, children, max_size=4), max_leaves=10
)
changes: st.SearchStrategy[list[tuple[int, Spec | None]]] = st.lists(
    st.tuples(st.integers(min_value=0, max_value=30), st.none() | leaves), max_size=3
)


def renamed(spec: Spec, edits: dict[int, Spec | None], counter: list[int]) -> Spec | None:
    """Return a tree as it is after a rebuild, with some of its nodes replaced or dropped."""
    counter[0] += 1
    if counter[0] in edits:
        return edits[counter[0]]
    if isinstance(spec, bytes):
        return plainly(spec)
    if isinstance(spec, tuple):
        return spec[0], plainly(spec[1])
    below = {name: renamed(child, edits, counter) for name, child in spec.items()}
    return {name: child for name, child in below.items() if child is not None}


@given(trees, trees, changes, st.sampled_from(Effort))
@settings(deadline=None, max_examples=50)
def test_a_closure_after_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory, lib: Spec, app: Spec, edits: list[tuple[int, Spec | None]], effort: Effort
) -> None:
    folder = tmp_path_factory.mktemp("closure")
    real = folder / "store"
    real.mkdir()
    new_lib = renamed(lib, dict(edits), [0]) or b""
    new_app = renamed(app, {}, [0]) or b""
    old = closure(real, {OLD_LIB: lib, OLD_APP: app}, {OLD_APP: (OLD_LIB, OLD_APP)})
    new = closure(
        real, {NEW_LIB: new_lib, NEW_APP: new_app}, {NEW_LIB: (NEW_LIB,), NEW_APP: (NEW_LIB, NEW_APP, OLD_LIB)}
    )
    stream, _ = delta(old, new, effort)
    made = rebuild(stream, real, folder / "spool")
    assert made == {path: nar(new.on_disk(path))[0] for path in new.paths}
    assert delta(old, new, effort)[0] == stream


def test_a_rebuild_that_changes_nothing_else_costs_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(7)
    lib: Spec = {b"%d.so" % n: rng.randbytes(900) + OLD_LIB.encode() + rng.randbytes(900) for n in range(200)}
    app: dict[bytes, Spec] = {
        b"bin": {b"run": ("x", b"#!" + OLD_LIB.encode() + b"/sh\n" + OLD_APP.encode()), b"plain": rng.randbytes(99)}
    }
    app[b"lib"] = {b"link": ("l", OLD_LIB.encode() + b"/1.so"), b"here": ("l", b"../bin")}
    old = closure(tmp_path, {OLD_LIB: lib, OLD_APP: app}, {OLD_LIB: (OLD_LIB,), OLD_APP: (OLD_LIB, OLD_APP)})
    new_specs = {NEW_LIB: renamed(lib, {}, [0]), NEW_APP: renamed(app, {}, [0])}
    new = closure(tmp_path, new_specs, {NEW_LIB: (NEW_LIB,), NEW_APP: (NEW_LIB, NEW_APP)})  # type: ignore[arg-type]
    for effort in Effort:
        stream, summary = delta(old, new, effort)
        assert set(summary.by) == {"kept"}
        # two hashes and two hash parts for each of two pairs, names, and little more
        assert len(stream) < 4 * (32 + 20) + 90
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {path: nar(new.on_disk(path))[0] for path in new.paths}


def test_what_still_names_the_old_path_is_not_rewritten(tmp_path: Path) -> None:
    text = OLD_LIB.encode() + b"\n" + b"more of it\n" * 30
    stays: Spec = {b"deep": {b"file": text, b"other": b"x"}}
    old = closure(tmp_path, {OLD_LIB: {b"changes": {b"file": text}, b"stays": stays}})
    new = closure(
        tmp_path,
        {NEW_LIB: {b"changes": {b"file": plainly(text)}, b"stays": stays}},
        {NEW_LIB: (NEW_LIB, OLD_LIB)},
    )
    stream, summary = delta(old, new)
    assert set(summary.by) == {"kept"}
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW_LIB: nar(new.on_disk(NEW_LIB))[0]}


def test_a_patch_is_made_against_what_is_rewritten(tmp_path: Path) -> None:
    rng = random.Random(8)
    part = [rng.randbytes(300) + OLD_LIB.encode() for _ in range(100)]
    old = closure(tmp_path, {OLD_LIB: {b"bin": b"".join(part)}})
    changed = [plainly(one) for one in part]
    changed[20] = changed[20][:-100] + b"one" + changed[20][-97:]
    changed[70] = changed[70][:-90] + b"another" + changed[70][-83:]
    new = closure(tmp_path, {NEW_LIB: {b"bin": b"".join(changed)}}, {NEW_LIB: (NEW_LIB,)})
    stream, summary = delta(old, new)
    assert set(summary.by) <= {"hdiff", "zstd"}
    assert len(stream) < 400
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW_LIB: nar(new.on_disk(NEW_LIB))[0]}


def test_a_reference_across_two_segments_is_not_rewritten(tmp_path: Path) -> None:
    size = 4096

    def content(path: str, over: str) -> bytes:
        start = path.encode() + bytes(size - len(path) - 20)
        return start + over.encode() + path.encode()

    for spec in (content(NEW_LIB, OLD_LIB), content(NEW_LIB, NEW_LIB)):
        (real := tmp_path / spec[size : size + 4].hex()).mkdir()
        old = closure(real, {OLD_LIB: {b"big": content(OLD_LIB, OLD_LIB)}})
        new = closure(real, {NEW_LIB: {b"big": spec}}, {NEW_LIB: (NEW_LIB, OLD_LIB)})
        stream, _ = delta(old, new, Effort.FAST, segment_size=size)
        assert len(stream) < 300
        made = rebuild(stream, real, tmp_path / "spool", segment_size=size)
        assert made == {NEW_LIB: nar(new.on_disk(NEW_LIB))[0]}
