"""`nixoci register`: images of an image store in the storage of engines that read no other."""

from pathlib import Path

import click

from nixoci.cli.common import dry_run_option, json_option, print_json, warn
from nixoci.cli.files import PATH
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.container.places import IMAGES_UNIT
from nixoci.engines.docker.daemon import CONFIG_FILE, check_storage, read_config, running_daemon
from nixoci.engines.docker.data_root import DATA_ROOT, DataRoot
from nixoci.engines.docker.plan import Change
from nixoci.engines.docker.register import Registration, register_images
from nixoci.errors import StoreError


@verb(
    examples=[
        "nixoci register docker store",
        "nixoci register docker store --dry-run --json",
        "nixoci register docker store --data-root /srv/docker",
    ]
)
@click.argument("engine", type=click.Choice(["docker"]))
@click.argument("store", type=PATH)
@click.option(
    "--data-root",
    type=PATH,
    metavar="DIR",
    help=f"Docker's data root; by default that of its configuration, or {DATA_ROOT}.",
)
@click.option(
    "--config-file",
    type=PATH,
    default=CONFIG_FILE,
    show_default=True,
    metavar="FILE",
    help="Docker's configuration; it need not exist.",
)
@dry_run_option
@json_option
def register(
    *, engine: str, store: Path, data_root: Path | None, config_file: Path, dry_run: bool, as_json: bool
) -> None:
    """Make the images of STORE, an image store, images of a container engine, and remove those of the run before.

    ENGINE is docker. Nothing is copied: the engine's own layers become links to mounted images, which
    nixoci-images.service mounts. Images that the engine has pulled or built stay as they are, and an image that is no
    longer in STORE stays while a container, another image or a tag uses it. Images that the engine has lost, by
    `docker system prune`, come back. A second run changes nothing.

    dockerd reads its images when it starts: stop it before, or run this in a unit that is ordered before
    docker.service. While it runs, only a run that has nothing to change succeeds.
    """
    del engine  # there is one
    config = read_config(config_file)
    root = DataRoot(path=(data_root or Path(config.data_root or DATA_ROOT)).absolute())
    check_storage(root, config)
    done = register_images(store, root, is_running=lambda: running_daemon(root, config), dry_run=dry_run)
    if as_json:
        print_json(done)
    else:
        _print_changes(done)
    if done.restart and not dry_run:
        raise StoreError(
            f"{root.path}: nothing changed, because dockerd runs and reads images only when it starts; run `systemctl"
            " stop docker.socket docker.service`, this command, and `systemctl start docker.service`"
        )
    if done.unmounted and not dry_run:
        warn(
            f"{done.unmounted[0]}: not mounted, as {len(done.unmounted)} of the images; no container of them starts"
            f" before `systemctl restart {IMAGES_UNIT}`"
        )


def _print_changes(done: Registration) -> None:
    rows = [
        [image.change.value, image.id[:12], image.used_by or "".join(image.names[:1])]
        for image in done.images
        if image.change is not Change.KEPT
    ]
    rows += [
        [name.change.value, name.image[:12], name.name]
        for name in done.names
        if name.change in {Change.MOVED, Change.REMOVED}
    ]
    if rows:
        print_table(["change", "image", "name or use"], rows)
