"""An image becomes an image path: the same bytes every time, whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from nixoci.document import parse
from nixoci.errors import BlobError, LayerError, LimitError, NixociError, StoreError
from nixoci.extraction import extract, total_bytes
from nixoci.image_path import ImageDocument, ImagePath
from nixoci.oci.digest import Digest
from nixoci.tree.dump import read_dump
from nixoci.tree.limits import Limits
from tests.support.layers import (
    description,
    directory,
    file,
    hardlink,
    header,
    layer,
    merge,
    opaque,
    pax,
    symlink,
    whiteout,
)
from tests.support.memory import PLATFORM, image_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAYERS = (
    layer(
        directory(b"./", mode=0o555),
        directory(b"etc/", mode=0o750, gid=4),
        file(b"etc/shadow", b"secret", mode=0o600),
        file(b"bin/su", b"program", mode=0o4755, mtime=1),
        hardlink(b"bin/sg", b"bin/su"),
        symlink(b"sh", b"/bin/su"),
        header(b"dev/null", b"3", device=(1, 3)),
        file(b"gone", b"x"),
    ),
    layer(whiteout(b"gone"), opaque(b"etc"), file(b"etc/passwd", b"root")),
)


def listing(path: Path) -> dict[str, tuple[int, bytes]]:
    """Every name under a path, with its mode and its bytes or target."""
    found = {}
    for item in sorted(path.rglob("*")):
        mode = item.lstat().st_mode
        body = os.fsencode(item.readlink()) if item.is_symlink() else b"" if item.is_dir() else item.read_bytes()
        found[str(item.relative_to(path))] = (mode, body)
    return found


def test_an_image_path_holds_the_tree_its_metadata_and_its_document(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS, compression="+gzip")
    document = extract(image, source, tmp_path / "out", name="app", reference="example.org/app:1")
    opened = ImagePath.open(tmp_path / "out")
    assert opened.document == document
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["image.json", "metadata.dump", "rootfs"]
    assert {name: body for name, (_, body) in listing(opened.rootfs).items() if body} == {
        "bin/sg": b"program",
        "bin/su": b"program",
        "etc/mtab": b"/proc/mounts",  # a mount point that the image lacks
        "etc/passwd": b"root",
        "sh": b"/bin/su",
    }
    with opened.metadata.open("rb") as lines:
        assert description(read_dump(lines)) == description(merge(*LAYERS))


def test_the_document_says_where_the_image_came_from_verbatim(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS, compression="+zstd")
    extract(image, source, tmp_path / "out", name="app")
    document = parse(ImageDocument, (tmp_path / "out" / "image.json").read_bytes(), what="image.json", strict=True)
    assert (document.version, document.name, document.reference, document.warnings) == (1, "app", None, [])
    assert (document.digest, document.platform) == (image.digest, PLATFORM)
    for blob in (document.manifest, document.config):
        assert Digest.of(blob.text.encode()) == blob.digest
    assert [item.digest for item in document.layers] == [item.descriptor.digest for item in image.layers]
    assert [item.diff_id for item in document.layers] == [Digest.of(tar) for tar in LAYERS]
    assert [item.size for item in document.layers] == [item.descriptor.size for item in image.layers]


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_same_image_gives_the_same_bytes_and_modes_under_any_umask(tmp_path: Path, umask: int) -> None:
    image, source = image_of(*LAYERS)
    for name in ("a", "b"):
        extract(image, source, tmp_path / name, name="app")
    assert listing(tmp_path / "a") == listing(tmp_path / "b")
    modes = {name: mode for name, (mode, _) in listing(tmp_path / "a").items()}
    assert modes["metadata.dump"] == modes["image.json"] == modes["rootfs/etc/passwd"] == 0o100444
    assert modes["rootfs/bin/su"] == 0o100555
    assert modes["rootfs"] == modes["rootfs/etc"] == 0o040755
    assert (tmp_path / "a").stat().st_mode == 0o040755, oct(umask)


def test_compression_makes_no_difference_to_the_tree(tmp_path: Path) -> None:
    for name, compression in (("a", ""), ("b", "+gzip"), ("c", "+zstd")):
        image, source = image_of(*LAYERS, compression=compression)
        extract(image, source, tmp_path / name, name="app")
    trees = [listing(tmp_path / name / "rootfs") for name in "abc"]
    dumps = [(tmp_path / name / "metadata.dump").read_bytes() for name in "abc"]
    assert trees[0] == trees[1] == trees[2]
    assert dumps[0] == dumps[1] == dumps[2]


def test_no_layers_empty_layers_and_the_same_layer_twice(tmp_path: Path) -> None:
    for number, layers in enumerate([(), (layer(), b""), (LAYERS[0], LAYERS[0])]):
        image, source = image_of(*layers)
        extract(image, source, tmp_path / str(number), name="app")
        assert (tmp_path / str(number) / "rootfs").is_dir()


def test_progress_is_the_bytes_of_the_blobs(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS, compression="+gzip")
    done: list[int] = []
    extract(image, source, tmp_path / "out", name="app", advance=done.append)
    assert sum(done) == total_bytes(image) == sum(layer.descriptor.size for layer in image.layers)


def test_what_was_dropped_is_told(tmp_path: Path) -> None:
    data = layer(pax({b"SCHILY.xattr.trusted.overlay.opaque": b"y"}) + directory(b"d/"))
    image, source = image_of(data)
    document = extract(image, source, tmp_path / "out", name="app")
    assert document.warnings == [
        f"layer {Digest.of(data)}: entry 'd': xattr 'trusted.overlay.opaque' dropped: it would steer the overlay mount"
    ]
    assert ImagePath.open(tmp_path / "out").document.warnings == document.warnings


BROKEN = {
    "..": (layer(file(b"../x")), LayerError),
    "a hardlink to nowhere": (layer(file(b"f", b"x"), hardlink(b"h", b"nowhere")), LayerError),
    "a file as the root": (layer(file(b"./")), LayerError),
    "a cut stream": (file(b"f", bytes(2000))[:1500], LayerError),
    "no tar": (b"no tar" * 200, LayerError),
}


@pytest.mark.parametrize(("data", "error"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("compression", ["", "+gzip", "+zstd"])
def test_a_bad_layer_leaves_nothing(tmp_path: Path, data: bytes, error: type[NixociError], compression: str) -> None:
    image, source = image_of(LAYERS[0], data, compression=compression)
    with pytest.raises(error, match=f"^layer {image.layers[1].descriptor.digest}: ") as caught:
        extract(image, source, tmp_path / "out", name="app")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_blob_that_is_damaged_behind_the_end_of_its_tar_leaves_nothing(tmp_path: Path) -> None:
    image, source = image_of(LAYERS[0] + bytes(4096))
    digest = image.layers[0].descriptor.digest
    source.blobs[digest] = source.blobs[digest][:-1] + b"x"
    with pytest.raises(BlobError, match=f"^layer {digest}: the blob's digest is sha256:[0-9a-f]+; the blob is damaged"):
        extract(image, source, tmp_path / "out", name="app")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_blob_leaves_nothing(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS)
    del source.blobs[image.layers[1].descriptor.digest]
    with pytest.raises(BlobError, match=r"not there$"):
        extract(image, source, tmp_path / "out", name="app")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", ["", "+gzip", "+zstd"])
def test_a_bomb_is_stopped_over_all_layers(tmp_path: Path, compression: str) -> None:
    bombs = [layer(file(b"zeros%d" % number, bytes(1 << 20))) for number in range(3)]
    image, source = image_of(*bombs, compression=compression)
    message = (
        f"layer {image.layers[2].descriptor.digest}: more than 3000000 uncompressed bytes in the image, the limit;"
        " raise it with --max-size if you trust the image"
    )
    with pytest.raises(LimitError, match=f"^{re.escape(message)}$"):
        extract(image, source, tmp_path / "out", name="app", limits=Limits(total_size=3_000_000))
    assert list(tmp_path.iterdir()) == []
    extract(image, source, tmp_path / "out", name="app", limits=Limits(total_size=4_000_000))


def test_a_destination_that_exists_is_left_alone(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        dest = tmp_path / name
        message = f"{dest}: exists already; remove it or choose another destination"
        with pytest.raises(StoreError, match=f"^{re.escape(message)}$"):
            extract(image, source, dest, name="app")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_destination_without_a_parent_is_refused(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS)
    dest = tmp_path / "missing" / "out"
    with pytest.raises(
        StoreError, match=f"^{re.escape(f'{dest}: its parent directory does not exist; make it first')}$"
    ):
        extract(image, source, dest, name="app")


def full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["mkdir", "pwrite", "symlink", "link", "rename"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    image, source = image_of(*LAYERS)
    real: Callable[..., int] = getattr(os, call)

    def sometimes(*args: object, **kwargs: object) -> int:
        first = args[0]
        inside = call != "mkdir" or (isinstance(first, bytes) and b"rootfs/" in first)
        return full() if inside else real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, sometimes)
        with pytest.raises(OSError, match="No space left on device"):
            extract(image, source, tmp_path / "out", name="app")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    """The kernel refuses, not a stand-in: the limit of a file's size is below that of the image's largest file."""
    image, source = image_of(layer(file(b"a", b"x"), file(b"big", bytes(100_000))))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            extract(image, source, tmp_path / "out", name="app")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    image, source = image_of(*LAYERS)

    def stop(_: int) -> None:
        if list(tmp_path.iterdir()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(image, source, tmp_path / "out", name="app", advance=stop)
    assert list(tmp_path.iterdir()) == []
