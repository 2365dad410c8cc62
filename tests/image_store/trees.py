"""Trees with content, random and fixed, and image paths made from them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from nixoci.document import dump
from nixoci.image_path import FORMAT_VERSION, ImageDocument, ImagePath, LayerDocument, TextBlob
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from nixoci.oci.model import Platform
from nixoci.tree.dump import write_dump
from nixoci.tree.model import Inode, Kind, walk

if TYPE_CHECKING:
    from pathlib import Path

CREATED = "2024-05-06T07:08:09.123456789Z"
HISTORY = [
    {"created": CREATED, "created_by": "ADD base"},
    {"created": CREATED, "created_by": "ENV a=b", "empty_layer": True},
    {"created": CREATED, "created_by": "RUN install"},
    {"created": CREATED, "created_by": 'CMD ["x"]', "empty_layer": True},
]


@dataclass
class Tree:
    """A tree and the content of its files, by their inode's identity."""

    root: Inode
    content: dict[int, bytes] = field(default_factory=dict)

    def file(self, parent: Inode, name: bytes, data: bytes, **attributes: int) -> Inode:
        inode = Inode(Kind.REGULAR, size=len(data), **attributes)  # type: ignore[arg-type]
        parent.children[name] = inode
        self.content[id(inode)] = data
        return inode

    def write(self, rootfs: Path) -> None:
        """Write the part of the tree that a rootfs can hold."""
        first: dict[int, Path] = {}
        for path, inode in walk(self.root):
            target = rootfs / os.fsdecode(path)
            canonical = first.setdefault(id(inode), target)
            if inode.is_directory:
                target.mkdir()
            elif canonical != target and inode.kind in {Kind.REGULAR, Kind.SYMLINK}:
                os.link(canonical, target, follow_symlinks=False)
            elif inode.kind is Kind.SYMLINK:
                target.symlink_to(os.fsdecode(inode.target))
            elif inode.kind is Kind.REGULAR:
                target.write_bytes(self.content[id(inode)])


def small_tree(text: bytes = b"hello\n") -> Tree:
    """Return a tree with every kind of file that matters to a store."""
    tree = Tree(Inode(Kind.DIRECTORY))
    bin_ = tree.root.children[b"bin"] = Inode(Kind.DIRECTORY)
    su = tree.file(bin_, b"su", text, mode=0o4755, mtime=1_700_000_000_000_000_000)
    bin_.children[b"su2"] = su
    tree.file(bin_, b"empty", b"", uid=33, gid=7)
    bin_.children[b"link"] = Inode(Kind.SYMLINK, mode=0o777, target=b"su")
    tree.root.children[b"null"] = Inode(Kind.CHARACTER, mode=0o666, device=(1, 3))
    return tree


def image_path(
    path: Path,
    tree: Tree,
    *,
    reference: str | None = "docker.io/library/sample:1",
    config: dict[str, object] | None = None,
    **changes: object,
) -> ImagePath:
    """Write an image path, as extraction does."""
    path.mkdir()
    tree.write(path / "rootfs")
    (path / "metadata.dump").write_bytes(b"".join(write_dump(tree.root)))
    diff_ids = [str(Digest.of(b"one")), str(Digest.of(b"two"))]
    config = {
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=<b>"], "Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": HISTORY,
        "x-unknown": {"kept": [1, 2.5, "ü"]},
    } | (config or {})
    config_blob = _blob(OCI_CONFIG, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": str(config_blob.digest), "size": len(config_blob.text)},
        "layers": [{"mediaType": f"{OCI_LAYER}+gzip", "digest": diff_id, "size": 3} for diff_id in diff_ids],
        "annotations": {"a": "b"},
    } | changes
    manifest_blob = _blob(str(manifest["mediaType"]), manifest)
    document = ImageDocument(
        version=FORMAT_VERSION,
        name="sample",
        reference=reference,
        digest=Digest.of(b"index"),
        platform=Platform(os="linux", architecture="amd64"),
        manifest=manifest_blob,
        config=config_blob,
        layers=[
            LayerDocument(media_type=f"{OCI_LAYER}+gzip", digest=digest, size=3, diff_id=digest)
            for digest in map(Digest.parse, diff_ids)
        ],
    )
    (path / "image.json").write_text(dump(document), encoding="utf-8")
    return ImagePath.open(path)


def _blob(media_type: str, value: object) -> TextBlob:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return TextBlob(media_type=media_type, digest=Digest.of(text.encode()), text=text)


_names = st.one_of(
    st.sampled_from([b"a", b"b c", "ü".encode(), b"\xff\xfe", b'"\\\n', b"x" * 120]),
    st.binary(min_size=1, max_size=8).filter(lambda name: not set(name) & {0, ord("/")} and name not in {b".", b".."}),
)
_contents = st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(lambda size: b"z" * size))


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Draw a tree of a few files of any kind, with hardlinks."""
    tree = Tree(Inode(Kind.DIRECTORY))
    directories = [tree.root]
    files: list[Inode] = []
    for name in draw(st.lists(_names, max_size=12, unique=True)):
        parent = draw(st.sampled_from(directories))
        kind = draw(st.sampled_from([*Kind, Kind.REGULAR, None]))
        attributes = {
            "mode": draw(st.integers(0, 0o7777)),
            "uid": draw(st.sampled_from([0, 33, 3_000_000])),
            "mtime": draw(st.sampled_from([0, 1_700_000_000_000_000_000, 1_700_000_000_123_456_789])),
        }
        if kind is None and files:
            parent.children[name] = draw(st.sampled_from(files))
        elif kind is Kind.REGULAR or kind is None:
            files.append(tree.file(parent, name, draw(_contents), **attributes))
        else:
            inode = parent.children[name] = Inode(kind, **attributes)  # type: ignore[arg-type]
            inode.target = b"../t" if kind is Kind.SYMLINK else b""
            inode.device = (7, 9) if kind in {Kind.CHARACTER, Kind.BLOCK} else (0, 0)
            if inode.is_directory:
                directories.append(inode)
    return tree
