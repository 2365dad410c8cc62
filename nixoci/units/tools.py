"""The programs that units run on the target, and those that make the units."""

import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

_SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Paths of programs, absolute as far as they are known; `find` fills in those that are not given.

    `quadlet` and `mkcomposefs` run while units are made; units name the others.
    """

    podman: str
    quadlet: str
    crun: str
    runc: str
    mount: str
    umount: str
    nsenter: str
    systemctl: str
    systemd_tmpfiles: str
    sh: str
    sleep: str
    timeout: str
    cat: str
    cp: str
    mv: str
    mkdir: str
    mkfifo: str
    rm: str
    nixoci: str
    ctr: str
    mkcomposefs: str

    @classmethod
    def named(cls) -> Self:
        """Return bare names, which systemd looks up on a target that is not known yet."""
        return cls(**{field.name: field.name.replace("_", "-") for field in fields(cls)})

    @classmethod
    def find(cls, **given: str | None) -> Self:
        """Return the given paths, and for the others this host's own; a bare name for a program that it does not have.

        Quadlet is expected beside podman, where podman installs it. nixoci may be the one that runs: systemd does not
        look into a virtual environment or below /opt.
        """
        paths: dict[str, str] = {}
        for field in fields(cls):
            name = field.name.replace("_", "-")
            paths[field.name] = given.get(field.name) or shutil.which(name, path=_SEARCH) or name
        if paths["nixoci"] == "nixoci":
            paths["nixoci"] = _own_program() or "nixoci"
        if not given.get("quadlet"):
            paths["quadlet"] = str(Path(paths["podman"]).parent.parent / "libexec/podman/quadlet")
        return cls(**paths)


def _own_program() -> str | None:
    """Return the command of this nixoci: the one that runs, or the one beside the Python that does."""
    program = Path(sys.argv[0]).absolute()
    return shutil.which("nixoci", path=f"{program.parent}:{Path(sys.executable).parent}")
