"""The programs that units call on the target, and those that make them."""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

_SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Absolute paths of programs; `find` fills in those that are not given.

    `quadlet` and `mkcomposefs` run when units are made, the others are written into them.
    """

    podman: str
    quadlet: str
    crun: str
    runc: str
    mount: str
    umount: str
    systemd_tmpfiles: str
    sh: str
    sleep: str
    timeout: str
    cat: str
    mkdir: str
    mkfifo: str
    rm: str
    mkcomposefs: str

    @classmethod
    def find(cls, **given: str | None) -> Self:
        """Return the given paths, and where this host has the others; a bare name where it has none.

        Quadlet is looked for beside podman, as podman installs it.
        """
        paths: dict[str, str] = {}
        for field in fields(cls):
            name = field.name.replace("_", "-")
            paths[field.name] = given.get(field.name) or shutil.which(name, path=_SEARCH) or name
        if not given.get("quadlet"):
            paths["quadlet"] = str(Path(paths["podman"]).parent.parent / "libexec/podman/quadlet")
        return cls(**paths)
