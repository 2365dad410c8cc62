"""A self-contained `default.nix` for a lock: its data, and the expressions of `nix/` that build it."""

from nixoci.document import unstructure
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import Lock
from nixoci.nix.escape import attribute_name, integer, shipped, string, value
from nixoci.nix.render import render

DEFAULT_FLAKE = "flake:nixoci"

EXPRESSIONS = {
    "reference": "reference.nix",
    "blob": "blob.nix",
    "image": "image.nix",
    "imageStore": "image-store.nix",
    "fromLock": "lock.nix",
}
"""What a generated file binds, and the file under `nix/` that holds it."""


def generate(lock: Lock, *, flake: str = DEFAULT_FLAKE) -> str:
    """Return the text of a `default.nix` that needs no other file.

    It is a function of the tools and gives `{ images.NAME; imageStore; }`.

    Args:
        lock: What it builds.
        flake: The reference of the flake whose packages are the default tools.

    Raises:
        EscapeError: The lock holds a value that Nix has no literal for.
    """
    return render(
        "default.nix.j2",
        flake=string(flake),
        lock=value(unstructure(lock)),
        expressions=[(attribute_name(name), shipped(file)) for name, file in EXPRESSIONS.items()],
        format_version=integer(FORMAT_VERSION),
    )
