"""storage.conf: what makes a podman outside of NixOS use an image store (containers-storage.conf(5))."""

import json
from pathlib import Path

FUSE_OVERLAYFS = Path("/usr/bin/fuse-overlayfs")


def storage_conf(store: Path, *, fuse_overlayfs: Path | None = None) -> str:
    """Return a storage.conf with an image store.

    podman reads it from /etc/containers or, for a rootless user, from ~/.config/containers. Every podman command
    fails while `store` does not exist, so the two belong in one Nix closure.

    Args:
        store: The image store's absolute path.
        fuse_overlayfs: The program that mounts, for a rootless user of a store without EROFS files. The kernel's
            own overlay would not let such a user's container write to any directory of the image, since those
            belong to a root that is not the container's; podman fails at the first it writes, /etc/mtab.
    """
    text = f'[storage]\ndriver = "overlay"\n\n[storage.options]\nadditionalimagestores = [{_quoted(store)}]\n'
    if fuse_overlayfs is not None:
        text += f"\n[storage.options.overlay]\nmount_program = {_quoted(fuse_overlayfs)}\n"
    return text


def _quoted(path: Path) -> str:
    # a JSON string is a TOML basic string, as long as it does not escape what is not ASCII
    return json.dumps(str(path), ensure_ascii=False)
