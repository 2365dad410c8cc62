"""Names in the Nix store that the expressions give."""

from nixoci.errors import DocumentError
from nixoci.lock.model import Lock
from nixoci.nix_language.escape import value
from nixoci.nix_language.shipped import shipped
from nixoci.nix_store.commands import evaluate


def image_path_names(lock: Lock) -> dict[str, str]:
    """Return the names that the image paths of a lock have in the Nix store, by image.

    Nix evaluates them, so that they are those of the derivations.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    references = value({name: image.reference for name, image in lock.images.items()})
    match evaluate(f"builtins.mapAttrs ({shipped('reference.nix')}).storeName {references}"):
        case dict(names):
            return names
    raise DocumentError("nix-instantiate: the names of image paths are not an object; this Nix is not supported")
