"""storage.conf: what makes a podman outside of NixOS use an image store (containers-storage.conf(5))."""

import json
from pathlib import Path

FUSE_OVERLAYFS = Path("/usr/bin/fuse-overlayfs")


def storage_conf(store: Path, *, mount_program: Path | None = None) -> str:
    """Return a storage.conf with an image store.

    podman reads it from /etc/containers or, for a rootless user, from ~/.config/containers. Every podman command
    fails while `store` does not exist, so the two belong in one Nix closure.

    Args:
        store: The image store's absolute path.
        mount_program: The program that mounts for a rootless user: the one of a store for rootless users, or
            fuse-overlayfs for a store without any metadata. The kernel's own overlay of such a store would not let
            a user's container write to any directory of the image, since those belong to a root that is not its.
    """
    text = f'[storage]\ndriver = "overlay"\n\n[storage.options]\nadditionalimagestores = [{_quoted(store)}]\n'
    if mount_program is not None:
        text += f"\n[storage.options.overlay]\nmount_program = {_quoted(mount_program)}\n"
    return text


def _quoted(path: Path) -> str:
    # a JSON string is a TOML basic string, as long as it does not escape what is not ASCII
    return json.dumps(str(path), ensure_ascii=False)
