"""Every bad input gives one line that names the thing, exit code 1, and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

from nixoci.bundle.seccomp import read_profile
from nixoci.cli import main
from nixoci.errors import NO_ACCESS, NixociError
from nixoci.image_path import ImagePath
from nixoci.image_store.contents import read_image_store
from nixoci.oci.digest import Digest
from nixoci.oci.sources import open_source
from nixoci.publish.cache import check_cache
from nixoci.switch.contents import read_contents
from nixoci.switch.places import Places
from tests.compose.samples import document
from tests.support.layout import add_blob, blob_path, encode, tag_blob, tar_stream, write_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAYER = tar_stream({"etc/hostname": b"here\n" * 400})


def entry(name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, target, size
        archive.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def layer_blob(layout: Path) -> Path:
    """Return the file of the only layer of a layout."""
    manifest = json.loads(
        blob_path(
            layout, Digest.parse(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
        ).read_text()
    )
    return blob_path(layout, Digest.parse(manifest["layers"][0]["digest"]))


def rewrite_manifest(layout: Path, change: Callable[[dict[str, object], dict[str, object]], None]) -> None:
    """Change the manifest and its first layer's descriptor, and tag the result."""
    tagged = json.loads((layout / "index.json").read_text())["manifests"][0]
    manifest = json.loads(blob_path(layout, Digest.parse(tagged["digest"])).read_text())
    change(manifest, manifest["layers"][0])
    tag_blob(layout, add_blob(layout, encode(manifest), tagged["mediaType"]), "latest")


def flip(layout: Path) -> None:
    blob = layer_blob(layout)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)


def wrong_size(layout: Path) -> None:
    rewrite_manifest(layout, lambda _, layer: layer.update(size=layer_blob(layout).stat().st_size + 1))


def missing(layout: Path) -> None:
    layer_blob(layout).unlink()


def unknown_type(layout: Path) -> None:
    rewrite_manifest(layout, lambda _, layer: layer.update(mediaType="application/x-tar"))


def encrypted(layout: Path) -> None:
    rewrite_manifest(layout, lambda _, layer: layer.update(mediaType=f"{layer['mediaType']}+encrypted"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, and return the one line that it failed with."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    out, err = capsys.readouterr()
    assert exit_.value.code == 1
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flip, "the blob is damaged"),
        (wrong_size, "the blob is cut short"),
        (missing, "is missing"),
        (unknown_type, "'application/x-tar'"),
        (encrypted, "is encrypted"),
    ],
)
def test_a_damaged_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], says: str
) -> None:
    layout = tmp_path / "layout"
    write_layout(layout, [LAYER])
    damage(layout)
    message = run(capsys, "extract", f"oci:{layout}", str(tmp_path / "out"))
    assert says in message
    assert "sha256:" in message
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


@pytest.mark.parametrize(
    ("layer", "options", "says"),
    [
        (entry("a/../../b"), [], "'a/../../b': a '..' in its name"),
        (entry("h", kind=tarfile.LNKTYPE, target="nowhere"), [], "'h': a hardlink to 'nowhere', which is not there"),
        (entry("zeros", size=100_000), ["--max-size", "50000"], "raise it with --max-size"),
        (entry("a/b/c"), ["--max-depth", "2"], "raise it with --max-depth"),
        (tar_stream({"a": b"", "b": b""}), ["--max-entries", "3"], "raise it with --max-entries"),
        (LAYER[:700], [], "the archive is truncated"),
    ],
)
def test_a_bad_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layer: bytes, options: list[str], says: str
) -> None:
    write_layout(tmp_path / "layout", [LAYER, layer])
    message = run(capsys, "extract", f"oci:{tmp_path / 'layout'}", str(tmp_path / "out"), *options)
    assert says in message
    assert str(Digest.of(layer_bytes(tmp_path / "layout"))) in message
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


def layer_bytes(layout: Path) -> bytes:
    """Return the upper layer's blob."""
    tagged = json.loads((layout / "index.json").read_text())["manifests"][0]
    manifest = json.loads(blob_path(layout, Digest.parse(tagged["digest"])).read_text())
    return blob_path(layout, Digest.parse(manifest["layers"][1]["digest"])).read_bytes()


def test_a_platform_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_layout(tmp_path / "layout", [LAYER])
    message = run(capsys, "extract", f"oci:{tmp_path / 'layout'}", str(tmp_path / "out"), "--platform", "linux/s390x")
    assert message.endswith("no image for linux/s390x; choose with --platform from what there is: linux/amd64")
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


def test_a_lock_with_an_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "nixoci.lock.json"
    lock.write_text('{"version": 1, "images": {}, "surprise": 1}')
    message = run(capsys, "generate", "--lock", str(lock), "--output", str(tmp_path / "default.nix"))
    assert message == f"{lock}: unknown key 'surprise'"
    assert [path.name for path in tmp_path.iterdir()] == ["nixoci.lock.json"]


def test_a_name_of_control_characters_stays_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_layout(tmp_path / "layout", [entry("new\nline\x1b[2J/..")])
    message = run(capsys, "extract", f"oci:{tmp_path / 'layout'}", str(tmp_path / "out"))
    assert "\x1b" not in message


def test_a_message_about_a_long_text_is_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "nixoci.lock.json"
    lock.write_text('{"version": 1, "images": {"%s": {}}}' % ("x" * 100_000))
    message = run(capsys, "list", "--lock", str(lock))
    assert len(message) < 2000
    assert message.startswith(f"{lock}: images[")
    assert message.endswith("key 'reference' is missing")


def test_limits_hold_for_the_archive_around_the_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("name" * 100))
    source, out = f"docker-archive:{archive}", str(tmp_path / "out")
    message = run(capsys, "extract", source, out, "--max-header-size", "300")
    assert message.startswith(f"{source}: tar offset 512: an extended header of more than 300 bytes, the limit;")
    archive.write_bytes(gzip.compress(archive.read_bytes()))
    message = run(capsys, "extract", source, out, "--max-size", "300")
    assert message.startswith(f"{source}: more than 300 bytes when decompressed, the limit; raise it with --max-size")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize(
    "command",
    [
        "list --lock loop",
        "add oci:layout --lock loop",
        "prefetch --lock loop",
        "generate --lock loop",
        "image-store loop layout",
        "image-store out loop",
        "extract oci:layout loop",
        "switch loop",
        "delta push --lock loop",
    ],
)
def test_a_loop_of_symlinks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_layout(tmp_path / "layout", [LAYER])
    (tmp_path / "loop").symlink_to("loop")
    message = run(capsys, *command.split())
    assert "loop" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "loop"]


@pytest.mark.parametrize(
    "command",
    [
        "add https://me:secret@registry.example/web:1",
        "extract https://me:secret@registry.example/web:1 out",
        "copy --to http://me:secret@host /nix/store/x",
        "copy --to ssh://me:secret@host /nix/store/x",
        "publish --cache https://me:secret@cache.example --from a --to b",
        "substituter --upstream ftp://me:secret@cache.example",
        "list --lock https://me:secret@host/nixoci.lock.json",
    ],
)
def test_a_password_in_an_address_is_in_no_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = run(capsys, *command.split())
    assert "secret" not in message
    assert "...@" in message


def test_an_at_sign_is_no_login(capsys: pytest.CaptureFixture[str]) -> None:
    digest = f"sha256:{'0' * 64}"
    assert f"layout:1@{digest}" in run(capsys, "extract", f"oci:/nowhere/layout:1@{digest}", "out")


NONE = cast("Any", None)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """Return the path of a directory below one that this process may not enter."""
    (tmp_path / "closed/inside").mkdir(parents=True)
    (tmp_path / "closed").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield tmp_path / "closed/inside"
    os.seteuid(user)
    (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize(
    "read",
    [
        ImagePath.open,
        read_image_store,
        read_profile,
        lambda path: ImagePath(path, NONE, NONE).tree(),
        lambda path: document(f"include: [{path}/x.yaml]"),
        lambda path: document(f"services: {{a: {{image: a, label_file: {path}/labels}}}}"),
        lambda path: read_contents(path, Places.default(user=True)),
        check_cache,
        lambda path: ExitStack().enter_context(open_source(f"oci:{path}")),
        lambda path: ExitStack().enter_context(open_source(f"oci-archive:{path}")),
        lambda path: ExitStack().enter_context(open_source(f"docker-archive:{path}")),
    ],
)
def test_what_may_not_be_looked_at_is_not_called_missing(closed: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises((NixociError, PermissionError), match="Permission denied") as caught:
        read(closed)
    assert "no such" not in str(caught.value)
    assert " not a" not in str(caught.value)
    assert isinstance(caught.value, PermissionError) or str(caught.value).endswith(f"; {NO_ACCESS}")
