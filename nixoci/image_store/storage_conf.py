"""storage.conf, which makes a podman outside of NixOS use an image store (containers-storage.conf(5))."""

import json
from pathlib import Path

_FOR_ROOT = """\
# For root's podman. A rootless podman reads this file too if there is no ~/.config/containers/storage.conf, but may not
# mount these images: "failed to create erofs filesystem: operation not permitted". `nixoci image-store --rootless`
# builds a store for it.
"""

FUSE_OVERLAYFS = Path("/usr/bin/fuse-overlayfs")


def storage_conf(store: Path, *, mount_program: Path | None = None) -> str:
    """Return a storage.conf with an image store.

    podman reads it from /etc/containers or, for a rootless user, from ~/.config/containers. Every podman command
    fails while `store` does not exist, so the two belong in one Nix closure.

    Args:
        store: The image store's absolute path.
        mount_program: The mount program of a rootless user: that of a store for rootless users, or fuse-overlayfs
            for a store without any metadata. With the kernel's own overlay of such a store, a container could not
            write to any directory of the image, because they belong to a root outside of its user namespace.
    """
    note = _FOR_ROOT if mount_program is None else ""
    text = f'{note}[storage]\ndriver = "overlay"\n\n[storage.options]\nadditionalimagestores = [{_quoted(store)}]\n'
    if mount_program is not None:
        text += f"\n[storage.options.overlay]\nmount_program = {_quoted(mount_program)}\n"
    return text


def _quoted(path: Path) -> str:
    # a JSON string that leaves non-ASCII characters unescaped is a TOML basic string
    return json.dumps(str(path), ensure_ascii=False)
