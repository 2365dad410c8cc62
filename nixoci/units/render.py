"""Write everything a deployment needs on its host, below one directory that is linked, copied or installed as it is.

lib/systemd/system/           services, with `.wants` links (lib/systemd/user/ for a user)
share/containers/systemd/     the Quadlet files that some of them were made from
share/nixoci/bundles/NAME/    config.json and what it mounts, fstab, start and stop scripts, root.erofs if no store has
share/nixoci/tmpfiles/        what bundles have systemd-tmpfiles make
"""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from nixoci.bundle.config import make_bundle
from nixoci.bundle.root import Root, is_plain
from nixoci.bundle.seccomp import Profile
from nixoci.container.image_tree import ImageTree
from nixoci.container.model import Backend, Deployment, in_order
from nixoci.container.resolve import Resolved, resolve
from nixoci.container.rules import check, check_bundle
from nixoci.errors import ContainerError
from nixoci.image_store.stored import StoredImage, find_stored
from nixoci.process import run
from nixoci.units.common import default_target, tmpfiles_file
from nixoci.units.generator import generate
from nixoci.units.quadlet import container_file, network_file, pod_file, volume_file
from nixoci.units.service import (
    bundle_directory,
    bundle_service,
    health_units,
    mount_table,
    start_lines,
    start_script,
    stop_script,
    volume_lines,
)
from nixoci.units.text import UnitFile
from nixoci.units.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How a deployment is rendered.

    `out` is the directory to make, where it will also be on the target (a store path, for example). `profile` is the
    seccomp profile of bundles, None for none. `user` asks for units of a user's own systemd. `only` is the one bundle
    to render, for an output of its own; `made` has such outputs by name, which are linked instead of rendered.
    """

    deployment: Deployment
    tools: Tools
    out: Path
    profile: Profile | None
    user: bool = False
    only: str | None = None
    made: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def share(self) -> Path:
        """Where what units read is."""
        return self.out / "share/nixoci"

    @property
    def units(self) -> Path:
        """Where services are."""
        return self.out / "lib/systemd" / ("user" if self.user else "system")

    @property
    def quadlets(self) -> Path:
        """Where Quadlet files are."""
        return self.out / "share/containers/systemd"


def resolve_all(deployment: Deployment, *, only: str | None = None) -> list[Resolved]:
    """Resolve the containers of a checked deployment, or one of them, by name; an image's tree is read once.

    Raises:
        ContainerError: An option cannot be honoured; the message starts with it.
        StoreError: An image is not an image path.
    """
    trees: dict[str, ImageTree] = {}
    result = []
    for name, container in sorted(deployment.containers.items()):
        if only not in {None, name}:
            continue
        path = deployment.images[container.image]
        if path not in trees:
            trees[path] = ImageTree.open(Path(path))
        result.append(resolve(name, container, trees[path]))
    return result


def render_units(rendering: Rendering) -> list[str]:
    """Write a deployment's units and all that they read; return warnings, one line each.

    Equal deployments give equal bytes, whatever the order of their maps.

    Raises:
        ContainerError: An option cannot be honoured, or the output exists; the message starts with the option.
        StoreError: An image is not an image path.
        ProcessError: A tool failed.
    """
    rendering = replace(rendering, deployment=in_order(rendering.deployment))
    deployment, out = rendering.deployment, rendering.out
    if rendering.only is None:
        check(deployment, user=rendering.user)
    else:
        check_bundle(rendering.only, deployment)
    for name in rendering.made:
        check_bundle(name, deployment)
    if not out.is_absolute():
        raise ContainerError(f"{out}: units name this directory by its absolute path; give that")
    resolved = resolve_all(deployment, only=rendering.only)
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        raise ContainerError(f"{out}: it exists; remove it or name another directory") from error
    try:
        _write_all(rendering, resolved)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return rendering.warnings


def _write_all(rendering: Rendering, resolved: list[Resolved]) -> None:
    for folder in (rendering.units, rendering.quadlets, rendering.share / "tmpfiles", rendering.share / "bundles"):
        folder.mkdir(parents=True)
    if rendering.only is None:
        _write_quadlets(rendering, [one for one in resolved if one.container.backend is not Backend.BUNDLE])
    for one in resolved:
        if one.name in rendering.made:
            _link(rendering, rendering.made[one.name])
        elif one.container.backend is Backend.BUNDLE:
            _write_bundle(rendering, one)


def _link(rendering: Rendering, made: Path) -> None:
    """Link what a bundle's own output has: its units name that, and stay as they are when this one changes."""
    for file in sorted(made.rglob("*")):
        target = rendering.out / file.relative_to(made)
        if file.is_dir() and not file.is_symlink():
            target.mkdir(exist_ok=True)
        elif made / "lib" in file.parents:  # units are found as files, and wanted by relative links
            shutil.copy(file, target, follow_symlinks=False)
        else:
            target.symlink_to(file)


def _write_quadlets(rendering: Rendering, containers: list[Resolved]) -> None:
    deployment, user = rendering.deployment, rendering.user
    files = [volume_file(name, volume, user=user) for name, volume in deployment.volumes.items()]
    files += [network_file(name, network, user=user) for name, network in deployment.networks.items()]
    files += [pod_file(name, pod, deployment, user=user) for name, pod in deployment.pods.items()]
    for one in containers:
        bare = one.container.backend is Backend.ROOTFS
        if bare and not is_plain(one.tree.root):
            rendering.warnings.append(
                f"{one.option('backend')}: the image has files of other owners, modes or capabilities than the store"
                " keeps, which the rootfs backend runs without"
            )
        image_id = None if bare else _stored(rendering, one).id
        files.append(container_file(one, deployment, rendering.tools, image_id=image_id, user=user))
    if not files:
        return
    for file in files:
        _write(rendering.quadlets, file)
    generate(rendering.quadlets, rendering.units, rendering.tools, user=user)


def _write_bundle(rendering: Rendering, resolved: Resolved) -> None:
    folder = bundle_directory(rendering.share, resolved.name)
    bundle = make_bundle(resolved, rendering.profile, folder=folder)
    folder.mkdir()
    bundle.write(folder)
    if bundle.root is not Root.TREE:
        table = mount_table(resolved, bundle, rendering.tools, erofs=_erofs(rendering, resolved, folder))
        (folder / "fstab").write_text(table, encoding="utf-8")
    _write_lines(rendering, resolved.name, start_lines(resolved, bundle))
    _write_lines(rendering, f"{resolved.name}-volumes", volume_lines(resolved))
    tools, share = rendering.tools, rendering.share
    start = start_script(resolved, bundle, tools, share=share)
    (folder / "start").write_text(start, encoding="utf-8")
    (folder / "stop").write_text(stop_script(resolved, bundle, tools), encoding="utf-8")
    service = bundle_service(resolved, bundle, tools, share=share)
    for unit in (service, *health_units(resolved, tools)):
        _write(rendering.units, unit)
    if resolved.container.auto_start:
        wants = rendering.units / f"{default_target(user=False)}.wants"
        wants.mkdir(exist_ok=True)
        (wants / service.name).symlink_to(f"../{service.name}")


def _stored(rendering: Rendering, resolved: Resolved) -> StoredImage:
    store = rendering.deployment.image_store
    if store is None:
        raise ContainerError(
            "imageStore: the podman backend runs images from an image store; name one made by `nixoci image-store`"
        )
    stored = find_stored(resolved.option("image"), Path(store), resolved.tree.image)
    if rendering.user and stored.erofs is not None:
        raise ContainerError(
            f"imageStore: {store} has EROFS files, which only root can mount; name one made by"
            " `nixoci image-store --rootless`"
        )
    return stored


def _erofs(rendering: Rendering, resolved: Resolved, folder: Path) -> Path:
    """Return the image's EROFS file: the image store's, or else one of the bundle's own."""
    if rendering.deployment.image_store is not None and (found := _stored(rendering, resolved).erofs) is not None:
        return found
    file = folder / "root.erofs"
    run([rendering.tools.mkcomposefs, "--from-file", resolved.tree.image.metadata, file], package="composefs")
    return file


def _write(folder: Path, unit: UnitFile) -> None:
    (folder / unit.name).write_text(unit.render(), encoding="utf-8")


def _write_lines(rendering: Rendering, name: str, lines: list[str]) -> None:
    if lines:
        tmpfiles_file(rendering.share, name).write_text("\n".join(lines) + "\n", encoding="utf-8")
