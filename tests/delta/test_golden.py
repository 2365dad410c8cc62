"""Deltas of this version of the format that were made once and for all."""

import io
from pathlib import Path

import pytest

from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.codecs.splice import SPLICE
from nixoci.delta.effort import Effort
from nixoci.delta.format.body import BodyReader, ContentHead
from nixoci.delta.format.model import Header
from nixoci.delta.format.recipe import Copy, Directory, Drop, File, OldSegment, RecipeReader, Symlink, walk
from nixoci.delta.format.stream import DeltaReader
from tests.delta.golden import FILES, NEW_APP, NEW_LIB, closures
from tests.delta.trees import delta, nar, rebuild


def parts(stream: bytes) -> tuple[Header, bytes, list[tuple[ContentHead, bytes]]]:
    """Return the parts of a delta before compression."""
    reader = DeltaReader(io.BytesIO(stream).read, what="it")
    header = reader.header()
    body = BodyReader(reader)
    recipes, contents = body.recipes(), []
    for _ in range(body.count()):
        head = body.head()
        contents.append((head, b"".join(body.payload(head))))
    reader.finish()
    return header, recipes, contents


@pytest.mark.parametrize("file", FILES.values())
def test_it_is_read(file: Path, tmp_path: Path) -> None:
    with closures() as (old, new):
        made = rebuild(file.read_bytes(), old.real, tmp_path / "spool")
        assert made == {path: nar(new.on_disk(path))[0] for path in (NEW_LIB, NEW_APP)}


@pytest.mark.parametrize("effort", FILES)
def test_it_is_still_made(effort: Effort) -> None:
    """Bytes of patches and compression may differ, because they depend on the libraries."""
    with closures() as (old, new):
        made = parts(delta(old, new, effort)[0])
    golden = parts(FILES[effort].read_bytes())
    assert made[:2] == golden[:2]
    assert _ways(made[2]) == _ways(golden[2])
    assert _own(made[2]) == _own(golden[2])


def _ways(contents: list[tuple[ContentHead, bytes]]) -> list[tuple[int, bool]]:
    return [(head.codec, head.rewritten) for head, _ in contents]


def _own(contents: list[tuple[ContentHead, bytes]]) -> list[bytes]:
    return [payload for head, payload in contents if head.codec in (PLAIN.number, SPLICE.number)]


def test_they_have_every_kind_of_node_and_codec() -> None:
    header, recipes, contents = parts(FILES[Effort.DEFAULT].read_bytes())
    kinds, at = set(), 0
    first_uses: dict[int, OldSegment | None] = {}
    for info, predecessor in zip(header.paths, header.predecessors, strict=True):
        recipe = RecipeReader(recipes, at, predecessor=predecessor, bases=len(header.bases), what=info.path)
        at = recipe.check(first_uses, set())
        for node in walk(recipe.node()):
            match node:
                case Copy():
                    kinds.add(f"copy, rewritten: {node.rewritten}")
                case File():
                    kinds.add(f"file, executable: {node.executable}, size: {node.size}")
                case Directory():
                    kinds.add(f"directory, changed: {node.changed}")
                case Symlink() | Drop():
                    kinds.add(type(node).__name__)
    assert kinds == {
        *[f"copy, rewritten: {rewritten}" for rewritten in (False, True)],
        *[f"file, executable: {executable}, size: {size}" for executable in (False, True) for size in (None, 0)],
        *[f"directory, changed: {changed}" for changed in (None, "copy", "rewrite")],
        *["Symlink", "Drop"],
    }
    contents += parts(FILES[Effort.FAST].read_bytes())[2]
    assert {head.codec for head, _ in contents} == {0, 1, 2, 3}
