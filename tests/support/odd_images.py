"""Images that follow no specification to the letter, but that podman runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nixoci.oci.media_types import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.layers import GNU, directory, file, gnu_long, hardlink, header, layer, opaque, pax, symlink, whiteout
from tests.support.layout import add_blob, config_value, encode, tag_blob

if TYPE_CHECKING:
    from pathlib import Path

ONE = layer(file(b"x", b"data"))
LEFT_OUT = object()


def write_image(path: Path, layers: list[bytes], *, tag: str = "t", **changes: Any) -> None:
    """Tag an image whose config and manifest are changed: `config_os=LEFT_OUT`, `manifest_layers=None`."""
    config: dict[str, Any] = config_value(layers)
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    manifest["layers"] = [add_blob(path, data, OCI_LAYER) for data in layers]
    for key, value in changes.items():
        part, _, name = key.partition("_")
        target = config if part == "config" else manifest
        target[name] = value
        if value is LEFT_OUT:
            del target[name]
    media_type = manifest.get("mediaType") or OCI_MANIFEST
    config_type = DOCKER_CONFIG if media_type == DOCKER_MANIFEST else OCI_CONFIG
    manifest["config"] = add_blob(path, encode(config), config_type)
    tag_blob(path, add_blob(path, encode(manifest), media_type), tag)


ODD_DOCUMENTS: dict[str, dict[str, Any]] = {
    "a time without a zone": {"config_created": "2024-01-02T03:04:05"},
    "a time that is none": {"config_created": "soon"},
    "an empty time in the history": {"config_history": [{"created": ""}]},
    "no platform": {"config_os": LEFT_OUT, "config_architecture": LEFT_OUT},
    "an empty platform": {"config_os": "", "config_architecture": ""},
    "a platform spelled otherwise": {"config_os": "Linux", "config_architecture": "x86_64"},
    "nulls in the config": {"config_history": None, "config_config": None},
    "null labels": {"config_config": {"Labels": {"a": None}}},
    "an empty media type": {"manifest_mediaType": ""},
    "nulls in the manifest": {"manifest_mediaType": None, "manifest_annotations": {"a": None}},
    "keys in another case": {
        "config_config": {"cmd": ["/x"], "workingdir": "/"},
        "config_History": [{"Created_By": "a"}],
    },
    "an artifact type": {"manifest_artifactType": "application/vnd.example.app"},
}
"""Changes of config and manifest, as `write_image` takes them."""

LOWER = layer(directory(b"a"), file(b"a/f"), directory(b"b"), file(b"b/f"), file(b"gone"))
UNCHANGED = ["/a", "/a/f", "/b", "/b/f", "/gone"]

ODD_LAYERS: dict[str, tuple[list[bytes], list[str]]] = {
    "a whiteout below a new symlink": ([symlink(b"a", b"/b"), whiteout(b"a/f")], ["/a", "/b", "/b/f", "/gone"]),
    "a whiteout below a symlink to come": ([whiteout(b"a/f"), symlink(b"a", b"/b")], ["/a", "/b", "/b/f", "/gone"]),
    "an opaque marker in a new symlink": ([symlink(b"a", b"/b"), opaque(b"a")], ["/a", "/b", "/b/f", "/gone"]),
    "overlayfs's whiteout": ([header(b"gone", b"3", device=(0, 0))], ["/a", "/a/f", "/b", "/b/f"]),
    "a parent that stays inside": ([file(b"a/../new")], [*UNCHANGED, "/new"]),
    "a link of AUFS": (
        [directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2", b"data"), hardlink(b"h", b".wh..wh.plnk/1.2")],
        [*UNCHANGED, "/h"],
    ),
    "directories of AUFS": ([directory(b".wh..wh.aufs"), directory(b".wh..wh.orph")], UNCHANGED),
    "a prefix of old Go": (
        [header(b"name", magic=GNU, tail=b"of/old/go")],
        [*UNCHANGED, "/of", "/of/old", "/of/old/go", "/of/old/go/name"],
    ),
    "a GNU name beside a PAX path": (
        [pax({b"path": b"pax"}), gnu_long(b"gnu"), file(b"short")],
        [*UNCHANGED[:-1], "/gnu", "/gone"],
    ),
    "a sparse name on a symlink": ([pax({b"GNU.sparse.name": b"real"}), symlink(b"l", b"x")], [*UNCHANGED, "/l"]),
    "an xattr without a namespace": ([pax({b"LIBARCHIVE.xattr.nodot": b"AQ=="}), file(b"n")], [*UNCHANGED, "/n"]),
    "an xattr with an equals sign": ([pax({b"LIBARCHIVE.xattr.user.a%3Db": b"AQ=="}), file(b"n")], [*UNCHANGED, "/n"]),
    "a number with garbage": ([header(b"n", mode=b"0644\0 garbage"[:8])], [*UNCHANGED, "/n"]),
    "long PAX numbers": ([pax({b"size": b"0" * 40, b"mtime": b"0" * 40 + b"1.5"}), file(b"n")], [*UNCHANGED, "/n"]),
}
"""The members of a layer over `LOWER`, and the paths of the tree that they make."""
