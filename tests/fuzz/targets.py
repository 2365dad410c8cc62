"""The inputs that are attacked: each target writes one random input and returns the steps that read it."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import lzma
import tarfile
from typing import TYPE_CHECKING, Any

from nixoci.cli import main
from nixoci.compression import compress
from nixoci.gc_roots.image_stores import built_stores, find_images
from nixoci.gc_roots.kept_store import update_kept_store
from nixoci.image_store.build import build_image_store
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from tests.container.samples import make_image
from tests.fuzz.documents import DEPLOYMENT, IMAGE_CONFIG, LABELS
from tests.fuzz.projects import projects, switches
from tests.fuzz.round_trips import round_trips
from tests.fuzz.step import Step, command
from tests.fuzz.streams import (
    cds_payloads,
    deflate_payloads,
    deltas,
    elf_patches,
    jimage_payloads,
    reupnix_streams,
)
from tests.fuzz.tars import NAMES, changed_tar, random_layer
from tests.fuzz.values import changed_bytes, changed_json, json_text, odd_value
from tests.host.stacks import random_stack
from tests.image_store.trees import image_path, small_tree
from tests.layer_cache.samples import MKFS
from tests.support.layers import directory, file, hardlink, layer, symlink
from tests.support.layout import add_blob, config_value, encode, tag_blob, write_docker_archive, write_tar
from tests.units.samples import GENERATOR, MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

LIMIT = "20000000"
"""Bytes that an image may have, so that an honest bomb does not fill the disk."""

_SOUND = layer(directory(b"etc"), file(b"etc/passwd", b"root:x:0:0::/:\n"), symlink(b"s", b"etc"), hardlink(b"h", b"s"))

_FIELDS = (
    *(b"", b"-", b"0", b"-1", b"@100644", b"120777", b"40755", b"/", b"\\x2f", b"..", b"a=b", b"/bin/../x", b"/bin/su"),
    *(b"\\", b"\\xzz", b"a" * 300, b"/a" * 3000, b"0.999999999"),
)
"""Fields of a line of a metadata dump that belong elsewhere, or nowhere."""


def _extract(source: str) -> list[Step]:
    """Return the steps that pin a source, extract it and put it in a store."""
    return [
        command("add", source, "--name=x", "--platform=linux/amd64", makes=["nixoci.lock.json"]),
        command("extract", source, "out", "--platform=linux/amd64", "--max-size", LIMIT, "--json", makes=["out"]),
        command("image-store", "store", "out", "--mkcomposefs=./mkcomposefs", "--json", makes=["store"], sure=True),
        command(
            "layer-cache",
            "cache",
            source,
            "--platform=linux/amd64",
            "--mkfs-erofs=./mkfs.erofs",
            "--max-size",
            LIMIT,
            makes=["cache"],
        ),
    ]


def _packed(random: Random, data: bytes) -> bytes:
    data = random.choice((bytes, bytes, gzip.compress, compress, bz2.compress, lzma.compress))(data)
    return changed_bytes(random, data) if random.random() < 0.08 else data


def _write_layout(random: Random, path: Path, layers: list[bytes], *, wild: bool) -> None:
    """Write an image to a layout; a `wild` one has changed documents, whose digests are right again."""

    def text(value: Any) -> bytes:
        return json_text(random, changed_json(random, value)) if wild and random.random() < 0.4 else encode(value)

    oci = random.random() < 0.7
    config = config_value(layers) | IMAGE_CONFIG
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST if oci else DOCKER_MANIFEST,
        "config": add_blob(path, text(config), OCI_CONFIG),
        "layers": [
            add_blob(path, _packed(random, data), OCI_LAYER + random.choice(("", "+gzip", "+zstd"))) for data in layers
        ],
        "annotations": LABELS,
    }
    descriptor = add_blob(path, text(manifest), manifest["mediaType"])  # type: ignore[arg-type]
    if wild and random.random() < 0.4:
        entry = descriptor | {"platform": {"os": "linux", "architecture": "amd64"}}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry, descriptor]}
        descriptor = add_blob(path, text(index), OCI_INDEX)
    tag_blob(path, descriptor, "t")
    if wild and random.random() < 0.3:
        for name in ("index.json", "oci-layout"):
            (path / name).write_bytes(text(json.loads((path / name).read_bytes())))


def layers(random: Random, folder: Path) -> list[Step]:
    """Images of random layers, whose digests are right."""
    found = [random_layer(random) for _ in range(random.choice((1, 1, 2, 3)))]
    if random.random() < 0.2:
        found = [changed_tar(random, data) for data in random_stack(random.randrange(10_000)).layers]
    _write_layout(random, folder / "layout", found, wild=False)
    return _extract("oci:layout:t")


def images(random: Random, folder: Path) -> list[Step]:
    """Images of one sound layer whose config, manifest, index or layout is changed."""
    _write_layout(random, folder / "layout", [_SOUND] * random.choice((0, 1, 1, 2)), wild=True)
    return [*_extract("oci:layout:t"), command("bundle", "out", "bundle", "--seccomp=unconfined", makes=["bundle"])]


def archives(random: Random, folder: Path) -> list[Step]:
    """Archives around images: docker-archive and oci-archive, with changed members."""
    made = folder / "archive"
    if random.random() < 0.5:
        write_docker_archive(made, [random.choice((_SOUND, random_layer(random))), _SOUND, _SOUND], tags=["a:1"])
        source = "docker-archive:archive"
    else:
        _write_layout(random, folder / "layout", [_SOUND], wild=random.random() < 0.3)
        members = {str(path.relative_to(folder / "layout")): path for path in sorted((folder / "layout").rglob("*"))}
        write_tar(made, {name: path.read_bytes() for name, path in members.items() if path.is_file()})
        source = "oci-archive:archive"
    if random.random() < 0.7:
        made.write_bytes(_other_members(random, made.read_bytes()))
    data = made.read_bytes()
    if random.random() < 0.3:
        data = changed_tar(random, data)
    made.write_bytes(_packed(random, data) if random.random() < 0.4 else data)
    return _extract(source)


def _other_members(random: Random, data: bytes) -> bytes:
    """Return an archive with a member renamed, dropped, repeated, linked, or with other JSON in it."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(info, archive.extractfile(info).read() if info.isreg() else b"") for info in archive]  # type: ignore[union-attr]
    at = random.randrange(len(members))
    info, body = members[at]
    kind = random.randrange(6)
    if kind == 0:
        info.name = random.choice((*NAMES, b"manifest.json", b"index.json")).decode("utf-8", "surrogateescape")
    elif kind == 1:
        del members[at]
    elif kind == 2:
        members.insert(random.randrange(len(members)), random.choice(members))
    elif kind == 3:
        info.type = random.choice(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
        )
        info.linkname = random.choice((info.name, members[0][0].name, "../x", "/etc/passwd", ""))
        info.size = 0
    else:
        texts = [place for place, (_, text) in enumerate(members) if text[:1] in b"[{" and text]
        place = random.choice(texts)
        members[place] = (members[place][0], json_text(random, changed_json(random, json.loads(members[place][1]))))
        members[place][0].size = len(members[place][1])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


def dumps(random: Random, folder: Path) -> list[Step]:
    """Image paths with a changed metadata dump."""
    made = image_path(folder / "out", small_tree()).metadata
    lines = made.read_bytes().splitlines(keepends=True)
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(len(lines))
        fields = lines[at].split(b" ")
        kind = random.randrange(6)
        if kind == 0:
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        elif kind == 2:
            lines[at] = changed_bytes(random, lines[at])
        elif kind == 3:
            random.shuffle(lines)
        else:
            number = b"%d" % random.getrandbits(65)
            fields[random.randrange(len(fields))] = random.choice((*_FIELDS, number))
            lines[at] = b" ".join(fields)
    made.write_bytes(b"".join(lines))
    return _use_image()


def documents(random: Random, folder: Path) -> list[Step]:
    """Image paths with a changed image.json; digests of the texts in it are mostly right."""
    made = image_path(folder / "out", small_tree()).path / "image.json"
    value = json.loads(made.read_bytes())
    part = random.choice(("", "config", "manifest"))
    if part:
        text = json_text(random, changed_json(random, json.loads(value[part]["text"]))).decode("utf-8", "replace")
        value[part] |= {"text": text, "digest": str(Digest.of(text.encode()))}
    else:
        value = changed_json(random, value)
    made.write_bytes(json_text(random, value))
    return _use_image()


def _use_image() -> list[Step]:
    return [
        command("image-store", "store", "out", "--mkcomposefs=./mkcomposefs", makes=["store"]),
        command("image-store", "rootless", "out", "--rootless", makes=["rootless"]),
        command("image-store", "plain", "out", "--no-erofs", "--drop-in=drop-in", makes=["plain", "drop-in"]),
        command("bundle", "out", "bundle", "--seccomp=unconfined", makes=["bundle"]),
    ]


def stores(random: Random, folder: Path) -> list[Step]:
    """Image stores with changed lists of images and layers, from which the images of old containers are kept."""
    image = image_path(folder / "0-image", small_tree())
    store = folder / "0-nixoci-image-store"
    (stored,) = build_image_store(store, [image], mkcomposefs=None)
    for name in random.choice((("images",), ("layers",), ("images", "layers"))):
        made = store / f"overlay-{name}/{name}.json"
        made.chmod(0o644)
        made.write_bytes(json_text(random, changed_json(random, json.loads(made.read_bytes()))))
    (folder / "kept").mkdir()
    return [Step(run=lambda: _keep(stored.id, folder), makes=["kept", "drop-in"])] * 2


def _keep(image: str, folder: Path) -> None:
    found = find_images([image], [folder / "kept", *built_stores(folder)], store_dir=folder)
    update_kept_store(folder / "kept", {key: value for key, value in found.items() if value.whole}, folder / "drop-in")


def locks(random: Random, folder: Path) -> list[Step]:
    """Changed lock files."""
    _write_layout(random, folder / "layout", [_SOUND], wild=False)
    try:
        main(["add", "oci:layout:t", "--name=x", "--platform=linux/amd64"])
    except SystemExit as end:
        if end.code:
            return []
    made = folder / "nixoci.lock.json"
    made.write_bytes(json_text(random, changed_json(random, json.loads(made.read_bytes()))))
    return [
        command("list"),
        command("list", "--json"),
        command("show", "x"),
        command("show", "x", "--json"),
        command("verify", "--offline"),
        command("verify", "--json"),
        command("outdated", "--json"),
        command("generate", "--output=default.nix", makes=["default.nix"]),
        command("update", "--dry-run"),
        command("update", "--json", makes=["nixoci.lock.json"]),
        command("remove", "x", makes=["nixoci.lock.json"]),
    ]


def deployments(random: Random, folder: Path) -> list[Step]:
    """Changed documents of containers, and the units of them, with stand-ins for podman's generator and mkcomposefs."""
    make_image(folder / "i", IMAGE_CONFIG["config"])
    stored = image_path(folder / "s", small_tree())
    build_image_store(folder / "store", [stored], mkcomposefs=None)
    containers = {}
    for name in random.sample("abcd", 2):
        kind = random.choice(list(DEPLOYMENT["containers"]))
        backend = random.choice(("podman", "rootfs")) if kind == "podman" else "bundle"
        image = "s" if kind == "podman" else "i"
        containers[name] = copy.deepcopy(DEPLOYMENT["containers"][kind]) | {"backend": backend, "image": image}
    images = {name: str(folder / name) for name in "is"}
    value = DEPLOYMENT | {"images": images, "imageStore": str(folder / "store"), "containers": containers}
    (folder / "d.json").write_bytes(json_text(random, changed_json(random, value)))
    executable(folder / "quadlet", GENERATOR)
    tools = ("--seccomp=unconfined", "--mkcomposefs=./mkcomposefs", "--quadlet=./quadlet", "--crun=/bin/true")
    return [
        command("units", "d.json", "units", *tools, makes=["units"]),
        command("units", "d.json", "user", "--user", *tools, makes=["user"]),
    ]


def texts(random: Random, folder: Path) -> list[Step]:
    """Arguments: references, sources, names, platforms."""
    _write_layout(random, folder / "layout", [_SOUND], wild=False)
    values = [value for value in (odd_value(random) for _ in range(40)) if isinstance(value, str)]
    values = [value for value in values if value[:1] not in ("", "-") and not {"\0", "\ud800"} & set(value)] or ["x"]
    kind = random.choice(("oci:", "oci-archive:", "docker-archive:", "oci:layout:", "oci:layout@"))
    source = kind + random.choice(values)
    name = random.choice(values)
    return [
        command("extract", source, "out", "--platform=linux/amd64", makes=["out"]),
        command("add", source, "--name=x", "--platform=linux/amd64", makes=["nixoci.lock.json"]),
        command("add", "oci:layout:t", f"--name={name}", "--platform=linux/amd64", makes=["nixoci.lock.json"]),
        command("show", name),
        command("remove", name, makes=["nixoci.lock.json"]),
    ]


TARGETS = {
    target.__name__: target
    for target in (
        layers,
        images,
        archives,
        dumps,
        documents,
        stores,
        locks,
        deployments,
        projects,
        switches,
        deltas,
        deflate_payloads,
        cds_payloads,
        jimage_payloads,
        elf_patches,
        reupnix_streams,
        round_trips,
        texts,
    )
}


def write_tools(folder: Path) -> None:
    """Write the stand-ins for programs that steps name."""
    executable(folder / "mkcomposefs", MKCOMPOSEFS)
    executable(folder / "mkfs.erofs", MKFS)
