"""storage.conf and its drop-in, by which a podman outside of NixOS uses an image store (containers-storage.conf(5))."""

import json
import os
from pathlib import Path

from nixoci.errors import EscapeError

_FOR_ROOT = """\
# For root's podman. A rootless podman reads this file too if there is no ~/.config/containers/storage.conf, but may not
# mount these images: "failed to create erofs filesystem: operation not permitted". `nixoci image-store --rootless`
# builds a store for it.
"""

RUN_ROOT, GRAPH_ROOT = "/run/containers/storage", "/var/lib/containers/storage"
"""podman's own directories for root. Before 5.8 it takes no file without them."""

FUSE_OVERLAYFS = Path("/usr/bin/fuse-overlayfs")

MOUNT_OPTIONS = "redirect_dir=on"
"""The mount option by which `podman commit` and `podman build` keep the content of files (`mount_options`)."""

DROP_IN_MOUNT_OPTIONS = "nodev,metacopy=on"
"""The mount options of a drop-in for a machine of which nothing is known. They replace the distribution's own.
These are Fedora's, whose containers cannot do without metacopy, and serve as well."""


def render_storage_conf(store: str | os.PathLike[str], *, mount_program: str | os.PathLike[str] | None = None) -> str:
    """Return a storage.conf with an image store.

    podman reads it from /etc/containers or, for a rootless user, from ~/.config/containers. Every podman command
    fails while `store` does not exist, so the two belong in one Nix closure.

    Args:
        store: The image store's absolute path.
        mount_program: The mount program of a rootless user: that of a store for rootless users, or fuse-overlayfs
            for a store without any metadata. With the kernel's own overlay of such a store, a container could not
            write to any directory of the image, because they belong to a root outside of its user namespace.
    """
    start = '[storage]\ndriver = "overlay"\n'
    if mount_program is None:
        start = _FOR_ROOT + start + f'runroot = "{RUN_ROOT}"\ngraphroot = "{GRAPH_ROOT}"\n'
    text = f"{start}\n[storage.options]\nadditionalimagestores = [{_quoted(store)}]\n"
    return text + _overlay(mount_program, MOUNT_OPTIONS)


def render_storage_drop_in(
    store: str | os.PathLike[str],
    *,
    note: str = "",
    mount_program: str | os.PathLike[str] | None = None,
    mount_options: str = DROP_IN_MOUNT_OPTIONS,
) -> str:
    """Return a drop-in of storage.conf that adds an image store to those of other files.

    podman 5.8 and newer read it, root's from /etc/containers/storage.rootful.conf.d and a rootless user's from
    ~/.config/containers/storage.conf.d (containers-config(5)). As for `render_storage_conf`, the store has to exist.

    Args:
        store: The image store's absolute path.
        note: A comment for the first line.
        mount_program: The mount program of a rootless user, as for `render_storage_conf`.
        mount_options: The mount options of root's podman, which take the place of the distribution's; those are left
            alone if it is empty. Without `redirect_dir=on` or `metacopy=on` podman commits files without content.
    """
    comment = f"# {note}\n" if note else ""
    text = f"{comment}[storage.options]\nadditionalimagestores = [{_quoted(store)}, {{append = true}}]\n"
    return text + _overlay(mount_program, mount_options)


def render_mount_options(mount_options: str, *, note: str) -> str:
    """Return a drop-in of storage.conf that sets podman's mount options alone.

    Args:
        mount_options: The options, separated by commas.
        note: A comment for the first line.
    """
    return f"# {note}{_overlay(None, mount_options)}"


def _overlay(mount_program: str | os.PathLike[str] | None, mount_options: str) -> str:
    if mount_program is not None:
        return f"\n[storage.options.overlay]\nmount_program = {_quoted(mount_program)}\n"
    return f"\n[storage.options.overlay]\nmountopt = {_quoted(mount_options)}\n" if mount_options else ""


def _quoted(path: str | os.PathLike[str]) -> str:
    """Return a path or another text as a TOML basic string.

    Raises:
        EscapeError: It is not UTF-8.
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EscapeError(f"{text}: not UTF-8, as podman's configuration is; choose another path") from error
    # a JSON string that leaves other non-ASCII characters unescaped is a basic string, but for this character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
