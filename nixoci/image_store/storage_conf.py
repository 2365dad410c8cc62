"""storage.conf: what makes a podman outside of NixOS use an image store (containers-storage.conf(5))."""

import json
from pathlib import Path


def storage_conf(store: Path) -> str:
    """Return a storage.conf with the image store at the absolute path `store`.

    podman reads it from /etc/containers or, for a rootless user, from ~/.config/containers. Every podman command
    fails while `store` does not exist, so the two belong in one Nix closure.
    """
    # a JSON string is a TOML basic string, as long as it does not escape what is not ASCII
    stores = json.dumps([str(store)], ensure_ascii=False)
    return f'[storage]\ndriver = "overlay"\n\n[storage.options]\nadditionalimagestores = {stores}\n'
