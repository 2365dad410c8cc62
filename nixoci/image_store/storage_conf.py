"""storage.conf: what makes a podman outside of NixOS use an image store (containers-storage.conf(5))."""

import json
from pathlib import Path

_FOR_ROOT = """\
# For root's podman. A user's own takes this file too where there is no ~/.config/containers/storage.conf, and may not
# mount these images: "failed to create erofs filesystem: operation not permitted". `nixoci image-store --rootless`
# makes a store for it.
"""

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
    note = _FOR_ROOT if mount_program is None else ""
    text = f'{note}[storage]\ndriver = "overlay"\n\n[storage.options]\nadditionalimagestores = [{_quoted(store)}]\n'
    if mount_program is not None:
        text += f"\n[storage.options.overlay]\nmount_program = {_quoted(mount_program)}\n"
    return text


def _quoted(path: Path) -> str:
    # a JSON string is a TOML basic string, as long as it does not escape what is not ASCII
    return json.dumps(str(path), ensure_ascii=False)
