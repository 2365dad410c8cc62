"""The choice of images to prefetch; tests/host has tests with a real store."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import LockError, PlatformError
from nixoci.lock import prefetch as module
from nixoci.lock.context import LockContext
from nixoci.lock.model import EMPTY_LOCK, LockedNarHash
from nixoci.lock.names import blob_name
from nixoci.lock.pin import add_image
from nixoci.lock.prefetch import (
    PrefetchTarget,
    add_image_path,
    blob_path,
    compute_nar_hash,
    fetch_blobs,
    prefetch_blobs,
    prefetch_targets,
    with_nar_hash,
)
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from tests.nix_language.locks import image, lock, platform
from tests.support.layers import file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK = lock(
    web=image("docker.io/library/nginx:1.27", amd64=platform("web", "a", "b"), arm64=platform("web on arm", "a")),
    data=image("docker.io/library/redis:7", amd64=platform("data", "a")),
)


def chosen(*names: str, platforms: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [
        (each.name, each.platform)
        for each in prefetch_targets(LOCK, names, [Platform.parse(text) for text in platforms])
    ]


def test_all_that_is_locked_by_default() -> None:
    assert chosen() == [("web", "linux/amd64"), ("web", "linux/arm64"), ("data", "linux/amd64")]
    assert chosen("data") == [("data", "linux/amd64")]


def test_platforms_may_be_chosen_in_any_spelling() -> None:
    assert chosen(platforms=("linux/arm64/v8",)) == [("web", "linux/arm64")]


def test_a_platform_that_is_not_locked() -> None:
    with pytest.raises(PlatformError) as caught:
        chosen("data", platforms=("linux/amd64", "linux/arm64"))
    says = "platform linux/arm64: no image is locked for it; add it with `nixoci add REF --platform linux/arm64`"
    assert str(caught.value) == says


def test_an_image_that_is_not_locked() -> None:
    with pytest.raises(LockError, match=r"^image x: not in the lock; there is data, web$"):
        chosen("x")


def test_the_blobs_are_all_that_the_derivations_fetch() -> None:
    web = prefetch_targets(LOCK, ["web"], [Platform.parse("linux/amd64")])[0]
    assert [blob.digest for blob in web.blobs] == [
        web.locked.manifest.digest,
        web.locked.config.digest,
        *(layer.digest for layer in web.locked.layers),
    ]


@pytest.mark.parametrize(
    ("digest", "hash_part"),
    [
        (
            Digest("sha256", "dc08d190a8e4908fd551e4148256dba333c6847d206b6d92bfcc39e6c6fa04ff"),
            "vbpakd4w7vkdyq7zpyj5rm2xsq848ra0",
        ),
        (Digest("sha512", "ab" * 64), "q713srbapbygwmydbi7x5fq9q2pjnnaf"),
    ],
)
def test_a_blob_is_at_the_path_that_nix_gives_a_file_of_its_digest(digest: Digest, hash_part: str) -> None:
    """`nix-store --print-fixed-path` of Nix 2.34 printed these."""
    assert str(blob_path(digest)) == f"/nix/store/{hash_part}-{digest.algorithm}-{digest.hex}"


def test_a_hash_is_pinned_for_one_platform_only() -> None:
    web = prefetch_targets(LOCK, ["web"])[1]
    hashed = LockedNarHash(format=1, hash="sha256-x")
    images = with_nar_hash(LOCK, web, hashed).images
    assert images["web"].platforms["linux/arm64"].nar_hash == hashed
    assert images["web"].platforms["linux/amd64"] == LOCK.images["web"].platforms["linux/amd64"]
    assert images["data"] == LOCK.images["data"]


NIX_STORE = """\
#!/bin/sh
case $1 in
*) echo "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused" >&2; exit 1 ;;
esac
"""
NIX_HASH = f"#!/bin/sh\necho {'0' * 64}\n"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrefetchTarget:
    """An image whose blobs are there, with a Nix that cannot add paths."""
    write_layout(tmp_path / "web", [layer(file(b"data", b"x" * 1000)), layer(file(b"more", b"y" * 2000))])
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for blob in (tmp_path / "web/blobs").glob("*/*"):
        (blobs / f"{blob.parent.name}-{blob.name}").symlink_to(blob)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("nix-store", NIX_STORE), ("nix-hash", NIX_HASH)):
        (programs / name).write_text(text, encoding="ascii")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "blob_path", lambda digest: blobs / blob_name(digest))
    pinned, _ = add_image(
        EMPTY_LOCK,
        f"oci:{tmp_path}/web",
        context=LockContext(directory=tmp_path),
        platforms=[Platform.parse("linux/amd64")],
    )
    return prefetch_targets(pinned)[0]


def test_a_store_that_takes_no_path_is_a_warning(target: PrefetchTarget) -> None:
    warnings: list[str] = []
    added = add_image_path(target, "web-0-latest", warn=warnings.append)
    assert added.path is None
    assert added.nar_hash == compute_nar_hash(target)
    assert len(warnings) == 1
    assert warnings[0].startswith("image web: Nix cannot add its image path: cannot connect to socket")
    assert warnings[0].endswith("; the next build fetches it again")


def test_the_layers_are_counted_once(target: PrefetchTarget) -> None:
    counted: list[int] = []
    compute_nar_hash(target, advance=counted.append)
    assert sum(counted) == sum(blob.size for blob in target.locked.layers)


class FullDisk(BytesIO):
    """A blob whose copy finds no space left: that error names no file."""

    def read(self, _: int | None = -1, /) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named(target: PrefetchTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(*_: object) -> Iterator[tuple[Callable[[object], FullDisk], tuple[()]]]:
        yield (lambda _: FullDisk()), ()

    monkeypatch.setattr(module, "_open_blobs", full)
    missing = {blob.digest: blob for blob in target.blobs}
    context = LockContext(directory=tmp_path)
    with pytest.raises(OSError, match="No space left on device; free some") as fetched:
        fetch_blobs(target, missing, tmp_path / "fetched", context=context)
    assert fetched.value.filename == str(tmp_path / "fetched")
    with pytest.raises(OSError, match="No space left on device; free some") as added:
        prefetch_blobs([target], missing, context=context)
    assert added.value.filename == tempfile.gettempdir()
