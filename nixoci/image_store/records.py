"""The image and layer records of containers/storage, with the JSON keys of its `Image` and `Layer`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.document import key, parse, unstructure
from nixoci.image_store.names import IMAGE_LIST
from nixoci.image_store.times import go_time
from nixoci.oci.digest import Digest

EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An entry of `images.json`.

    podman finds the image by its `id`, its `names`, its `digest`, and every value of `big_data_digests` whose name
    begins with `manifest`. `layer` is a `LayerRecord.id`; sizes are in bytes.
    """

    id: str
    digest: Digest
    names: list[str] = field(default_factory=list)
    layer: str
    big_data_names: list[str] = field(metadata=key("big-data-names"))
    big_data_sizes: dict[str, int] = field(metadata=key("big-data-sizes"))
    big_data_digests: dict[str, Digest] = field(metadata=key("big-data-digests"))
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """An entry of `layers.json`.

    `diff_digest` and `diff_size` are those of the uncompressed tar. `uidset` and `gidset` are all ids in it; podman
    sizes the user namespace of `--userns=auto` by them.
    """

    id: str
    created: str
    diff_digest: Digest = field(metadata=key("diff-digest"))
    diff_size: int = field(metadata=key("diff-size"))
    uidset: list[int]
    gidset: list[int]


def records_text(records: Sequence[ImageRecord | LayerRecord]) -> str:
    """Return the text of `images.json` or `layers.json`."""
    return json.dumps([unstructure(record) for record in records], separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """The part of an `ImageRecord` that says which image a name means."""

    id: str
    names: list[str] = field(default_factory=list)


def named_images(store: Path) -> list[NamedImage]:
    """Return the ids and names of the images of an image store or of podman's own storage.

    Raises:
        DocumentError: Its `images.json` is not one.
        OSError: It cannot be read.
    """
    file = store / IMAGE_LIST
    return parse(list[NamedImage], file.read_bytes(), what=str(file))


def ids_by_name(images: Iterable[NamedImage]) -> dict[str, str]:
    """Return the image ids by name."""
    return {name: image.id for image in images for name in image.names}


def record_time(created: str | None) -> str:
    """Return a config's creation time as Go reads it, or the epoch if it has none.

    A single record with a time that Go does not read makes podman refuse the whole image store.
    """
    return (created and go_time(created)) or EPOCH
