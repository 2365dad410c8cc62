"""Image paths from a delta of their contents."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from nixoci.delta.closure import Closure
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.send import send_delta
from nixoci.errors import DeltaError, StoreError
from nixoci.extraction import extract
from nixoci.image_delta.contents import ImageContents, image_nar_size, rebuilt_parts, write_image_nar
from nixoci.image_path import DOCUMENT, ImagePath
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import store_path_name
from nixoci.oci.model import Platform
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import open_source
from nixoci.openat import open_below
from tests.delta.trees import closure, store_path
from tests.support.layers import directory, file, layer, symlink
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * 300


def image(folder: Path, name: str, *files: bytes, config: dict[str, object] | None = None) -> ImagePath:
    """Extract an image of these files to an image path of this name."""
    layout = folder / f"{name}-layout"
    write_layout(layout, [layer(directory(b"usr"), *files, symlink(b"link", b"usr"))], config=config)
    with open_source(f"oci:{layout}") as source:
        extract(resolve_image(source, Platform.parse("linux/amd64")), source, folder / name, name=name)
    return ImagePath.open(folder / name)


def nar_of(path: Path) -> bytes:
    out = io.BytesIO()
    nar = NarWriter(out, limit=1 << 40, what=str(path))
    open_below(path, b"", nar.dump)
    return out.getvalue()


def delta_of(old: Closure, new: Closure) -> bytes:
    out = io.BytesIO()
    send_delta(old, new, out)
    return out.getvalue()


def rebuilt(stream: bytes, base: Path, document: bytes, folder: Path, *, largest: int = 1 << 30) -> bytes:
    folder.mkdir()
    parts = rebuilt_parts(DeltaReader(io.BytesIO(stream).read, what="the delta"), base, folder, largest=largest)
    out = io.BytesIO()
    write_image_nar(out, document, parts, what="the delta")
    assert len(out.getvalue()) == image_nar_size(document, parts)
    return out.getvalue()


@pytest.fixture
def old(tmp_path: Path) -> ImagePath:
    return image(tmp_path, "old", file(b"usr/a", CONTENT), file(b"usr/b", b"one", mode=0o4755, uid=7))


@pytest.mark.parametrize(
    "files",
    [
        (file(b"usr/a", CONTENT + b"!"), file(b"usr/b", b"two")),
        (file(b"usr/a", CONTENT), file(b"usr/b", b"one", mode=0o700)),
    ],
    ids=["both parts", "the metadata alone"],
)
def test_an_image_path_comes_back(tmp_path: Path, old: ImagePath, files: tuple[bytes, ...]) -> None:
    new = image(tmp_path, "new", *files)
    stream = delta_of(ImageContents.of(old), ImageContents.of(new))
    assert len(stream) < 1000
    document = (new.path / DOCUMENT).read_bytes()
    assert rebuilt(stream, old.path, document, tmp_path / "payloads") == nar_of(new.path)


def test_more_than_is_plausible_is_not_begun(tmp_path: Path, old: ImagePath) -> None:
    contents = ImageContents.of(image(tmp_path, "new", file(b"usr/a", bytes(1 << 20))))
    stream = delta_of(ImageContents.of(old), contents)
    size = sum(info.nar_size for info in contents.paths.values())
    rebuilt(stream, old.path, b"{}", tmp_path / "enough", largest=size)
    with pytest.raises(DeltaError, match=f"^the delta: makes more than {size - 1} bytes"):
        rebuilt(stream, old.path, b"{}", tmp_path / "payloads", largest=size - 1)
    assert list((tmp_path / "payloads").iterdir()) == []


def test_an_image_of_which_only_the_config_changed(tmp_path: Path, old: ImagePath) -> None:
    files = (file(b"usr/a", CONTENT), file(b"usr/b", b"one", mode=0o4755, uid=7))
    new = image(tmp_path, "new", *files, config={"config": {"Env": ["A=1"]}})
    contents = ImageContents.of(new)
    assert contents.paths == ImageContents.of(old).paths
    stream = delta_of(ImageContents.of(old), contents)
    document = (new.path / DOCUMENT).read_bytes()
    assert rebuilt(stream, old.path, document, tmp_path / "payloads") == nar_of(new.path)


def test_the_parts_have_no_name_of_a_lock(tmp_path: Path, old: ImagePath) -> None:
    other = image(tmp_path, "other", file(b"usr/a", CONTENT), file(b"usr/b", b"one", mode=0o4755, uid=7))
    contents = ImageContents.of(other)
    assert contents.paths == ImageContents.of(old).paths
    assert [store_path_name(root) for root in contents.roots] == ["metadata.dump", "rootfs"]
    assert contents.on_disk(contents.roots[1]) == other.rootfs


def test_a_delta_of_other_paths_is_refused(tmp_path: Path, old: ImagePath) -> None:
    (tmp_path / "store").mkdir()
    app = closure(tmp_path / "store", {store_path("app-1", "a"): {b"file": b"x"}})
    contents = ImageContents.of(old)
    only = Closure(
        roots=contents.roots[:1], paths={contents.roots[0]: contents.paths[contents.roots[0]]}, real=old.path
    )
    nothing = Closure(roots=(), paths={})
    for stream in (delta_of(nothing, app), delta_of(contents, only)):
        with pytest.raises(DeltaError, match=r"^the delta: its paths are not the parts of an image"):
            rebuilt(stream, old.path, b"", tmp_path / f"payloads-{len(stream)}")


def test_a_base_without_its_files_is_named(tmp_path: Path, old: ImagePath) -> None:
    new = image(tmp_path, "new", file(b"usr/a", CONTENT), file(b"usr/b", b"two"))
    stream = delta_of(ImageContents.of(old), ImageContents.of(new))
    (old.rootfs / "usr/a").unlink()
    with pytest.raises((DeltaError, StoreError), match="rootfs"):
        rebuilt(stream, old.path, b"", tmp_path / "payloads")


def test_a_size_that_no_nar_has_is_refused() -> None:
    nar = NarWriter(io.BytesIO(), limit=1 << 40, what="the path")
    nar.skip(1 << 39)
    with pytest.raises(StoreError, match=r"^the path: its NAR is larger"):
        nar.skip(1 << 39)
