"""Checks of podman's storage configuration and of the image stores that it names."""

from collections.abc import Iterator
from pathlib import Path

from nixoci.doctor.facts import Facts, ImageStoreFacts
from nixoci.doctor.finding import Finding, ok, problem, warning
from nixoci.doctor.tools import reads_drop_ins
from nixoci.gc_roots.update import KEPT_DROP_IN
from nixoci.image_store.mount_options import DropIns, comparing_options, wanted_mount_options
from nixoci.image_store.storage_conf_files import named_stores

_DROP_INS = DropIns()
_VENDOR = Path("/usr")
_DRIVER = "overlay"
_SHOWN = 3


def check_config(facts: Facts) -> Iterator[Finding]:
    """Judge the files of the configuration: podman has to read all of them."""
    too_old = not reads_drop_ins(facts.version("podman"))
    otherwise = {store for store, _ in named_stores(facts.config, drop_ins=False)}
    for file in facts.config:
        name = str(file.path)
        if file.error:
            yield problem(name, f"cannot be read: {file.error}", "mend or remove it: every podman command fails")
        elif file.dangling is not None:
            yield problem(
                name,
                f"is a link to {file.dangling}, which does not exist, and podman ignores it",
                "make the link again, to a file of an image store or of a profile that has one, or remove it",
            )
        elif file.closed is not None:
            yield problem(
                name,
                f"other users cannot read it: {file.closed} is closed to them; their rootless podman fails",
                f"run `chmod o+rX {file.closed}`, or name the image store by a path that all can read",
            )
        elif too_old and file.drop_in and file.image_stores and not otherwise.issuperset(file.image_stores):
            main = "~/.config/containers/storage.conf" if facts.rootless else "/etc/containers/storage.conf"
            yield problem(
                name,
                "this podman is older than 5.8 and does not read drop-ins",
                f"link the storage.conf of the image store, or of the profile that has it, as {main}",
            )
        elif file.image_stores:
            yield ok(name, f"names {', '.join(str(store) for store in file.image_stores)}")
    if facts.driver not in {"", _DRIVER} and facts.image_stores:
        yield problem(
            "storage driver",
            f"{facts.driver}; image stores are for the driver {_DRIVER}, and podman does not find their images",
            f'set driver = "{_DRIVER}" in [storage] of storage.conf and unset STORAGE_DRIVER; podman may keep the old'
            " one until `podman system reset`, which removes all containers",
        )
    if not facts.image_stores:
        yield warning(
            "image store",
            "podman's configuration names none",
            "build one (`nix-build -A imageStore.rootless`) and run `nixoci switch --user` with it"
            if facts.rootless
            else "build one (`nix-build -A imageStore`) and run `nixoci switch` with it",
        )


def check_image_stores(facts: Facts) -> Iterator[Finding]:
    """Judge each image store: that it is there, and that this podman can run its images."""
    for store in facts.image_stores:
        yield _judge(store, facts)


def check_commits(facts: Facts) -> Iterator[Finding]:
    """Look for a podman that loses content when it commits a container of an image store, or builds upon its images."""
    if facts.native_diff and not facts.rootless and any(store.erofs for store in facts.image_stores):
        yield problem(
            "mountopt",
            "`podman commit` and `podman build` write zeros for files of image stores whose owner or mode changed",
            f"in [storage.options.overlay] of {_mountopt_file(facts)}, set"
            f' mountopt = "{comparing_options(facts.config)}"',
        )


def check_mount_options(facts: Facts) -> Iterator[Finding]:
    """Look for a drop-in of mount options that hides others, which somebody has set since it was made."""
    own = next((file for file in facts.config if file.path == _DROP_INS.mount_options), None)
    if own is None or own.error:
        return
    present, wanted = own.options.get("overlay.mountopt"), wanted_mount_options(_DROP_INS, facts.config)
    if present != wanted:
        yield warning(
            str(own.path),
            f"sets mountopt to {present}; with the other files as they are now, it has to be {wanted or 'gone'}",
            "run `nixoci gc-roots`",
        )


def check_space(facts: Facts) -> Iterator[Finding]:
    """Look for a Nix store with several images that keeps the files that they share once for each."""
    images = {image for store in facts.image_stores if store.store_path is not None for image in store.images.values()}
    if len(images) > 1 and not facts.optimised:
        yield warning(
            "space",
            f"the Nix store has equal files of {len(images)} images several times",
            "set auto-optimise-store = true in nix.conf, and run `nix-store --optimise` once",
        )


def check_hidden_images(facts: Facts) -> Iterator[Finding]:
    """Look for images in podman's own storage that podman prefers to an image store's image of the same name."""
    for store in facts.image_stores:
        hidden = sorted(name for name, image in store.images.items() if facts.own_images.get(name, image) != image)
        for name in hidden:
            yield problem(
                name,
                f"podman's own storage has another image of this name, which hides that of {store.path}",
                f"run `podman untag {name}`, or `podman rmi {name}` if no container uses it",
            )


def _mountopt_file(facts: Facts) -> Path:
    """Return the file whose mount options count, or the one for others if that is the distribution's or not there."""
    setting = [file.path for file in facts.config if file.options.get("overlay.mountopt")]
    if setting and not setting[-1].is_relative_to(_VENDOR):
        return setting[-1]
    drop_ins = reads_drop_ins(facts.version("podman"))
    return Path("/etc/containers") / ("storage.rootful.conf.d/60-mountopt.conf" if drop_ins else "storage.conf")


def _judge(store: ImageStoreFacts, facts: Facts) -> Finding:
    name = str(store.path)
    again = "run `nixoci gc-roots`" if store.file == KEPT_DROP_IN else ""
    if store.error:
        return problem(
            name,
            f"{store.error}; every podman command fails",
            again or f"build the image store again, or take it out of {store.file}",
        )
    if store.missing_trees:
        shown = ", ".join(str(path) for path in store.missing_trees[:_SHOWN])
        more = f" and {len(store.missing_trees) - _SHOWN} more" if len(store.missing_trees) > _SHOWN else ""
        advice = again or "build the image store again with its images"
        return problem(name, f"its images are gone: {shown}{more}", advice)
    if store.erofs and facts.rootless:
        return problem(
            name,
            "has EROFS files, which only root may mount",
            "use a store for rootless podman: `imageStore.rootless` or `nixoci image-store --rootless`",
        )
    images = sorted(store.images) + ([f"{store.nameless} without a name"] if store.nameless else [])
    return ok(name, f"images: {', '.join(images) or 'none'}")
