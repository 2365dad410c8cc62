"""Small image paths for tests, with a tree of a few files and a config as given, and containers of them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from nixoci.container.image_tree import ImageTree
from nixoci.container.model import Container, Deployment
from nixoci.container.parse import parse_container
from nixoci.container.resolve import resolve
from nixoci.document import dump
from nixoci.image_path import FORMAT_VERSION, ImageDocument, TextBlob
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from nixoci.oci.model import Platform
from nixoci.tree.dump import write_dump
from nixoci.tree.model import Children, Inode, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.container.resolve import ResolvedContainer

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\nbroken:x:y:z::\nbare:x:77:78::/:\n"  # noqa: S105 - the file of that name
GROUP = "root:x:0:\nweb:x:34:\nlogs:x:4:web,root\ntty:x:5:other,web\n"


def make_image(
    path: Path, config: dict[str, Any] | None = None, *, passwd: str = PASSWD, extra: dict[str, Inode] | None = None
) -> ImageTree:
    """Make an image path with /etc/passwd (behind a symlink), /etc/group, /data and what `extra` adds at the top."""
    etc = path / "rootfs/etc"
    etc.mkdir(parents=True)
    (etc / "group").write_text(GROUP)
    (etc / "real").write_text(passwd)
    (etc / "passwd").symlink_to("/etc/real")
    files = {
        b"group": Inode(Kind.REGULAR, 0o644, size=len(GROUP)),
        b"real": Inode(Kind.REGULAR, 0o644, size=len(passwd.encode())),
    }
    files[b"passwd"] = Inode(Kind.SYMLINK, 0o777, target=b"/etc/real")
    names = {name: Inode(Kind.DIRECTORY) for name in ("proc", "sys", "dev", "run", "tmp", "srv")}
    names |= {
        "etc": Inode(Kind.DIRECTORY, children=Children(files)),
        "data": Inode(Kind.DIRECTORY, 0o750, uid=33, gid=34),
    }
    names |= {"var": Inode(Kind.DIRECTORY, children=Children({b"tmp": Inode(Kind.DIRECTORY)}))} | (extra or {})
    root = Inode(Kind.DIRECTORY, children=Children({name.encode(): inode for name, inode in names.items()}))
    (path / "metadata.dump").write_bytes(b"".join(write_dump(root)))
    text = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": config or {}}
    )
    about = json.dumps({"annotations": {"path": str(path)}})
    manifest = TextBlob(media_type=OCI_MANIFEST, digest=_digest(about), text=about)
    document = ImageDocument(
        version=FORMAT_VERSION,
        name="sample",
        digest=manifest.digest,
        platform=Platform(os="linux", architecture="amd64"),
        manifest=manifest,
        config=TextBlob(media_type=OCI_CONFIG, digest=_digest(text), text=text),
        layers=[],
    )
    (path / "image.json").write_text(dump(document))
    return ImageTree.open(path)


def resolved(tree: ImageTree, **options: Any) -> ResolvedContainer:
    """Resolve a container `c` of an image without checking it; `options` are the fields of `Container`."""
    return resolve(parse_container("c", Container(image="i", **options), Deployment()), tree)


def _digest(text: str) -> Digest:
    return Digest("sha256", hashlib.sha256(text.encode()).hexdigest())
