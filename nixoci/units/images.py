"""The service that mounts images: one for a host, for all that runs them from their mount points.

An image is mounted once, however many containers run it, and a container adds an overlay of its own if it writes. The
mounts need nothing but mount(8) and a shell.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nixoci.container.places import IMAGES_UNIT, bound_runtime, mounted_image
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import ImageStore, StoreImage
from nixoci.units.common import default_target
from nixoci.units.directories import UnitsOutput, write_unit
from nixoci.units.escape import UnitFile, command, literal, word
from nixoci.units.tools import Tools

_ENGINES = ("docker.service", "containerd.service", "k3s.service", "crio.service")
_COMMENT = re.compile(r"^ *(?:#.*)?\n", re.MULTILINE)
_IN_MOUNT_OPTIONS = re.compile(r"""[,:\\\s"'#]""")


@dataclass(frozen=True, slots=True)
class MountedImage:
    """An image where the host has mounted it: its mount point, and the image store that has to stay for that."""

    point: str
    entry: Path


def link_image(output: UnitsOutput, container: ResolvedContainer) -> MountedImage:
    """Note the image of a container among those to mount, and return it; the output gets a store of it if need be.

    Raises:
        ContainerError: The deployment's store does not have the image.
    """
    found = _stored_image(output, container)
    (output.images / container.name).symlink_to(found.folder)
    return MountedImage(mounted_image(found.entry, found.layer.id), found.entry)


def _stored_image(output: UnitsOutput, container: ResolvedContainer) -> StoreImage:
    option, image = container.option("image"), container.tree.image
    if output.image_store is not None:
        found = output.image_store.find(option, image)
        if found.erofs is not None:
            return found
    own = output.own_store(container.name)
    own.parent.mkdir(parents=True, exist_ok=True)
    build_image_store(own, [image], mkcomposefs=output.tools.mkcomposefs)
    return ImageStore(own).find(option, image)


def write_images_service(output: UnitsOutput, *, every: bool) -> None:
    """Write the service that mounts the images of all containers that run them, if there are any.

    Args:
        output: The output.
        every: Mount all images of the image store, for engines.

    Raises:
        ContainerError: A path cannot be written there.
    """
    images = {link.resolve() for link in output.images.iterdir()}
    if every and output.image_store is not None:
        images.add(output.image_store.path)
    if images:
        write_unit(output.units, images_service(images, output.tools))


def is_bound(tools: Tools) -> bool:
    """Return whether crun is executed from a read-only mount of its directory.

    crun mounts itself read-only otherwise, at each start, so that no container can write to it (CVE-2019-5736).
    """
    return tools.crun.startswith("/") and not _IN_MOUNT_OPTIONS.search(tools.crun)


def images_service(images: Iterable[Path], tools: Tools) -> UnitFile:
    """Return the service that mounts images before anything on the host runs them.

    Args:
        images: Image stores, or the directories of layers in them.
        tools: Programs of the target.

    Raises:
        ContainerError: A path cannot be written there.
    """
    paths = sorted({str(path) for path in images})
    for path in paths:
        if _IN_MOUNT_OPTIONS.search(path):
            raise ContainerError(f"imageStore: {path!r} cannot be a mount option; use a plain path")
    script = _COMMENT.sub("", files("nixoci.units").joinpath("mount-images.sh").read_text(encoding="utf-8"))
    programs = [tools.mount, tools.umount, tools.rm]
    bound = ["--programs", str(Path(tools.crun).parent), bound_runtime(tools.crun)] if is_bound(tools) else []
    unit = UnitFile(f"{IMAGES_UNIT}.service")
    unit.add("Unit", "Description", literal("Images, mounted read-only"))
    unit.add("Unit", "RequiresMountsFor", *(word(path) for path in paths))
    unit.add("Unit", "Before", *map(literal, _ENGINES))
    # each switch may restart it
    unit.add("Unit", "StartLimitIntervalSec", literal("0"))
    unit.add("Service", "Type", literal("oneshot"))
    unit.add("Service", "RemainAfterExit", literal("yes"))
    # the parent directory, which stays
    unit.add("Service", "RuntimeDirectory", literal("nixoci"))
    unit.add("Service", "RuntimeDirectoryPreserve", literal("yes"))
    unit.add("Service", "ExecStart", command([tools.sh, "-c", script, IMAGES_UNIT, "start", *programs, *bound, *paths]))
    unit.add("Service", "ExecStop", command([tools.sh, "-c", script, IMAGES_UNIT, "stop", *programs]))
    return unit


def store_service(store: Path) -> UnitFile:
    """Return the service that mounts an image store's images at the boot, on a machine that has no other unit for them.

    Raises:
        ContainerError: The path cannot be written there.
    """
    unit = images_service([store], Tools.named())
    unit.add("Install", "WantedBy", literal(default_target(user=False)))
    return unit


def add_images_service(unit: UnitFile) -> None:
    """Let a unit start after the images are mounted; it goes on when that service is restarted."""
    unit.add("Unit", "Wants", literal(f"{IMAGES_UNIT}.service"))
    unit.add("Unit", "After", literal(f"{IMAGES_UNIT}.service"))
