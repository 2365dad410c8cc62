"""A container of a small image as a Quadlet file and as a bundle, without files and tools."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixoci.bundle.config import bundle_config
from nixoci.container.deployment import ResolvedDeployment, resolve_deployment
from nixoci.container.model import Deployment
from nixoci.document import structure
from nixoci.units.directories import UnitsOutput
from nixoci.units.images import MountedImage
from nixoci.units.quadlet import container_file
from nixoci.units.tools import Tools
from tests.container.samples import make_image

if TYPE_CHECKING:
    from nixoci.bundle.config import Bundle
    from nixoci.container.resolve import ResolvedContainer

TOOLS = Tools.find(
    podman="/p/bin/podman",
    crun="/c/crun",
    runc="/r/runc",
    mount="/m/mount",
    umount="/m/umount",
    sh="/s/sh",
    sleep="/b/sleep",
    timeout="/b/timeout",
    mkdir="/b/mkdir",
    rm="/b/rm",
    nixoci="/n/bin/nixoci",
    ctr="/c/ctr",
)
OUTPUT = UnitsOutput(out=Path("/out"), tools=TOOLS)
MOUNTED = MountedImage("/run/nixoci/images/0123-store-abc", Path("/nix/store/0123-store"))
IMAGE = {"Cmd": ["run", "it"], "Env": ["A=1"], "StopSignal": "SIGINT", "User": "web", "Volumes": {"/data": {}}}

ODD = "o d;'\"$x`touch touched`$(touch touched)&*\\n"
"""A name with everything that a shell does not take for itself."""

GENERATOR = """#!/bin/sh
for target; do :; done
for file in "$QUADLET_UNIT_DIRS"/*; do
  name=${file##*/}
  case $name in
    *.container | *.kube) cp "$file" "$target/${name%.*}.service" ;;
    *) cp "$file" "$target/${name%.*}-${name##*.}.service" ;;
  esac
done
"""
"""A stand-in for podman's generator: its services are the Quadlet files themselves."""

MKCOMPOSEFS = '#!/bin/sh\ncp "$2" "$3"\n'
"""A stand-in for mkcomposefs, which copies the dump."""


def deployment(path: Path, options: dict[str, Any], **more: Any) -> Deployment:
    document = {"images": {"i": str(path)}, "containers": {"c": {"image": "i"} | options, "d": {"image": "i"}}, **more}
    return structure(Deployment, document, what="d", strict=True)


def resolve_all(path: Path, options: dict[str, Any], *, user: bool = False, **more: Any) -> ResolvedDeployment:
    make_image(path, IMAGE)
    return resolve_deployment(deployment(path, options, **more), user=user)


def quadlet(path: Path, *, user: bool = False, more: dict[str, Any] | None = None, **options: Any) -> list[str]:
    """Return the lines of the Quadlet file of a container."""
    container = resolve_all(path, options, user=user, **(more or {})).containers[0]
    image_id = None if options.get("backend") == "rootfs" else "f" * 64
    return container_file(container, TOOLS, image_id=image_id, user=user).render().splitlines()


def bundled(path: Path, **options: Any) -> tuple[ResolvedContainer, Bundle]:
    """Return a container and its bundle."""
    container = resolve_all(path, {"backend": "bundle", "networks": ["none"]} | options).containers[0]
    return container, bundle_config(container, None, folder=OUTPUT.bundle("c"), image=lambda: MOUNTED.point)


def executable(path: Path, text: str) -> str:
    """Write a program and return its path."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def noting(path: Path, log: Path, more: str = "") -> str:
    """Write a program that appends its name and arguments to a log, then does `more`; return its path."""
    # one write, for programs that run at once
    note = f"""printf '%s\\0' "${{0##*/}}" "$@" '\n' >> {shlex.quote(str(log))}"""
    return executable(path, f"#!/bin/sh\n{note}\n{more}\n")


def noted(log: Path) -> list[list[str]]:
    """Return the calls in a log, each with its arguments; an argument has no line break."""
    lines = log.read_text().replace("\n\0", "\n").splitlines()
    return [line.removesuffix("\0").split("\0") for line in lines]
