import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.effort import Effort
from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.delta.plan import Plan
from nixoci.delta.send import _Encoded
from tests.delta.trees import Spec, closure, delta, nar, rebuild, store_path

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")

names = st.binary(min_size=1, max_size=12).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 0x2F})
contents = st.one_of(st.binary(max_size=60), st.binary(min_size=1, max_size=8).map(lambda part: part * 300))
leaves = st.one_of(
    contents,
    contents.map(lambda content: ("x", content)),
    st.binary(min_size=1, max_size=20).filter(lambda target: 0 not in target).map(lambda target: ("l", target)),
)
trees: st.SearchStrategy[Spec] = st.recursive(
    leaves, lambda children: st.dictionaries(names, children, max_size=5), max_leaves=12
)


def check(old_spec: Spec, new_spec: Spec, effort: Effort = Effort.DEFAULT) -> None:
    with tempfile.TemporaryDirectory() as name:
        real = Path(name) / "store"
        real.mkdir()
        old, new = closure(real, {OLD: old_spec}), closure(real, {NEW: new_spec})
        stream, _ = delta(old, new, effort)
        made = rebuild(stream, real, Path(name) / "spool")
        assert made == {NEW: nar(new.on_disk(NEW))[0]}
        assert delta(old, new, effort)[0] == stream


@given(trees, trees, st.sampled_from(Effort))
@example(b"\0", b"\0\0", Effort.FAST)  # less than zstd takes as a prefix
@settings(deadline=None, max_examples=40)
def test_any_tree_comes_from_any_other(old: Spec, new: Spec, effort: Effort) -> None:
    check(old, new, effort)


@given(trees, names, leaves)
@settings(deadline=None, max_examples=20)
def test_a_tree_comes_from_one_that_differs_a_little(tree: Spec, name: bytes, leaf: Spec) -> None:
    old = {b"same": tree, name + b"1": leaf}
    check(old, {b"moved": {b"same": tree}, name + b"2": leaf, b"new": leaf})


@pytest.mark.parametrize("effort", Effort)
def test_a_changed_binary_is_patched(tmp_path: Path, effort: Effort) -> None:
    content = random.Random(1).randbytes(400_000)
    changed = content[:1000] + b"changed" + content[1007:300_000] + b"inserted" + content[300_000:]
    old = closure(tmp_path, {OLD: {b"lib": {b"libfoo.so.1.2": content}}})
    new = closure(tmp_path, {NEW: {b"lib": {b"libfoo.so.1.3": ("x", changed)}}})
    stream, summary = delta(old, new, effort)
    assert len(stream) < 2000
    assert set(summary.by) == {"zstd" if effort is Effort.FAST else "hdiff"}
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW: nar(new.on_disk(NEW))[0]}


@pytest.mark.parametrize("files", [1, 3, 10, 40])
def test_more_effort_does_not_make_more(tmp_path: Path, files: int) -> None:
    rng = random.Random(files)
    words = [rng.randbytes(rng.randrange(1, 5)).hex().encode() for _ in range(200)]

    def lines(count: int) -> list[bytes]:
        return [b" ".join(rng.choices(words, k=8)) for _ in range(count)]

    old: dict[bytes, Spec] = {}
    new: dict[bytes, Spec] = {}
    for number in range(files):
        text = lines(rng.randrange(3, 200))
        old[b"%d" % number] = b"\n".join(text)
        for _ in range(3):
            text[rng.randrange(len(text))] = b"\n".join(lines(rng.randrange(1, 3)))
        new[b"%d" % number] = b"\n".join(text)
    before, after = closure(tmp_path, {OLD: old}), closure(tmp_path, {NEW: new})
    fast, default = (delta(before, after, effort)[0] for effort in (Effort.FAST, Effort.DEFAULT))
    assert len(default) <= len(fast)
    assert rebuild(default, tmp_path, tmp_path / "spool") == {NEW: nar(after.on_disk(NEW))[0]}


def test_a_renamed_and_changed_file_is_found_by_its_content(tmp_path: Path) -> None:
    lines = [random.Random(line).randbytes(30).hex().encode() for line in range(500)]
    old = closure(tmp_path, {OLD: {b"before.txt": b"\n".join(lines)}})
    new = closure(
        tmp_path, {NEW: {b"quite-another-name": b"\n".join([*lines[:200], b"more", *lines[201:300], *lines[301:]])}}
    )
    stream, summary = delta(old, new)
    assert set(summary.by) <= {"hdiff", "zstd"}
    assert len(stream) < 1500


def test_each_content_travels_once(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(50_000)
    new = closure(tmp_path, {NEW: {b"one": content, b"two": ("x", content), b"three": content}})
    stream, summary = delta(closure(tmp_path, {}), new)
    assert len(stream) < 52_000
    assert summary.by["plain"].count == 1
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW: nar(new.on_disk(NEW))[0]}


def test_what_is_there_does_not_travel(tmp_path: Path) -> None:
    content = random.Random(3).randbytes(50_000)
    old = closure(tmp_path, {OLD: {b"a": {b"file": content}}})
    new = closure(tmp_path, {NEW: {b"b": {b"file": content}, b"c": ("x", content)}})
    stream, summary = delta(old, new)
    assert len(stream) < 700
    assert summary.by["kept"].size == 100_000
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW: nar(new.on_disk(NEW))[0]}


@pytest.mark.parametrize("effort", Effort)
def test_a_file_of_several_segments(tmp_path: Path, effort: Effort) -> None:
    size = 4096
    rng = random.Random(11)
    parts = [rng.randbytes(size) for _ in range(5)]
    old = closure(tmp_path, {OLD: {b"big": b"".join(parts) + b"one" * 100, b"other": parts[2] + parts[0]}})
    changed = parts[1][:100] + b"changed" + parts[1][107:]
    new: Spec = {
        b"big": ("x", parts[0] + changed + parts[4] + parts[2] + bytes(2 * size) + b"one" * 101),
        b"shorter": b"".join(parts[:3]) + b"end",
        b"empty": ("x", b""),
    }
    after = closure(tmp_path, {NEW: new})
    stream, summary = delta(old, after, effort, segment_size=size)
    assert len(stream) < 1000
    assert summary.by["kept"].size == 6 * size
    made = rebuild(stream, tmp_path, tmp_path / "spool", segment_size=size)
    assert made == {NEW: nar(after.on_disk(NEW))[0]}


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every content a large one, and windows small."""
    monkeypatch.setattr("nixoci.delta.codecs.choose._LARGE", 0)
    for name, value in {"_BLOCK": 256, "PIECE": 3072, "_BESIDE": 4, "_MORE": 4, "_RARITY": 64}.items():
        monkeypatch.setattr(f"nixoci.delta.codecs.windows.{name}", value)


@given(contents, contents, st.sampled_from(Effort))
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@pytest.mark.usefixtures("little_memory")
def test_any_large_file_comes_from_any_other(old: bytes, new: bytes, effort: Effort) -> None:
    check({b"file": old}, {b"file": new}, effort)


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("large", [False, True])
def test_a_large_file_that_names_its_path_and_changed(
    tmp_path: Path, request: pytest.FixtureRequest, effort: Effort, *, large: bool
) -> None:
    if large:
        request.getfixturevalue("little_memory")
    rng = random.Random(12)

    def content(path: str, more: bytes) -> bytes:
        lines = (b"%s/lib/%d and %s\n" % (path.encode(), line, words) for line, words in enumerate(noise))
        return b"".join(lines) + more

    noise = [rng.randbytes(20).hex().encode() for _ in range(400)]
    old = closure(tmp_path, {OLD: {b"file": content(OLD, b"")}}, {OLD: (OLD,)})
    new = closure(tmp_path, {NEW: {b"file": content(NEW, rng.randbytes(100))}}, {NEW: (NEW,)})
    stream, summary = delta(old, new, effort)
    assert "plain" not in summary.by
    assert len(stream) < 800
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW: nar(new.on_disk(NEW))[0]}


@pytest.mark.usefixtures("little_memory")
def test_a_large_content_unlike_its_predecessor_travels_as_it_is(tmp_path: Path) -> None:
    one, other = random.Random(1).randbytes(70_000), random.Random(2).randbytes(70_000)
    old = closure(tmp_path, {OLD: {b"a": one, b"b": b"short", b"c": one[:66_000]}})
    new = closure(tmp_path, {NEW: {b"a": other, b"b": other[1000:], b"c": one[:66_000] + b"more of it"}})
    stream, summary = delta(old, new)
    assert summary.by["plain"].payload == 2 * len(other) - 1000
    assert sum(totals.payload for name, totals in summary.by.items() if name != "plain") < 200
    assert len(summary.by) > 1
    assert rebuild(stream, tmp_path, tmp_path / "spool") == {NEW: nar(new.on_disk(NEW))[0]}


def test_a_segment_has_the_size_that_the_format_says() -> None:
    assert SEGMENT_SIZE == 64 << 20


@pytest.mark.parametrize("effort", Effort)
def test_incompressible_contents_travel_as_they_are(tmp_path: Path, effort: Effort) -> None:
    one, other = random.Random(1).randbytes(70_000), random.Random(2).randbytes(70_000)
    text = b"".join(b"line %d\n" % line for line in range(3_000))
    old = closure(tmp_path, {store_path("app-1", "a"): {b"a.gz": one, b"b.gz": one[:66_000], b"c": b"text"}})
    new = closure(tmp_path, {store_path("app-2", "b"): {b"a.gz": other, b"b.gz": one[:66_001] + b"!", b"z": text}})
    made, summary = delta(old, new, effort)
    assert summary.by["plain"].payload == len(other) + len(text)
    assert len(made) < len(other) + len(text) // 4
    path = store_path("app-2", "b")
    assert rebuild(made, tmp_path, tmp_path / "spool") == {path: nar(new.on_disk(path))[0]}
    assert delta(old, new, effort)[0] == made


def test_paths_come_after_what_they_refer_to(tmp_path: Path) -> None:
    library, tool = store_path("library-2", "z"), store_path("tool-2", "b")
    base = store_path("base", "c")
    old = closure(tmp_path, {base: b"base"})
    new = closure(
        tmp_path, {tool: b"tool", library: b"library", base: b"base"}, {tool: (library, tool), library: (base,)}
    )
    stream, _ = delta(old, new)
    assert list(rebuild(stream, tmp_path, tmp_path / "spool")) == [library, tool]


def test_no_payload_is_in_memory_while_the_next_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[object] = []

    class Payload(bytes):
        def __del__(self) -> None:
            held.pop()

    def encode_all(plan: Plan, _effort: Effort) -> Iterator[_Encoded]:
        for content in plan.contents:
            assert not held
            held.append(content)
            yield _Encoded(content, PLAIN, rewritten=False, payload=Payload(content.read()))

    monkeypatch.setattr("nixoci.delta.send._encode_all", encode_all)
    files = {b"%d" % number: b"%d" % number * 50 for number in range(3)}
    _, summary = delta(closure(tmp_path, {}), closure(tmp_path, {NEW: files}), Effort.FAST)
    assert (summary.by["plain"].count, held) == (3, [])
