"""`nixoci register`: images of an image store become images of a container engine."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from nixoci.cli.common import dry_run_option, is_given, json_option, print_json, warn
from nixoci.cli.files import PATH
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.container.places import IMAGES_UNIT
from nixoci.engines.change import Change
from nixoci.engines.containerd import register as containerd
from nixoci.engines.containerd.ctr import Ctr
from nixoci.engines.containerd.shape import Shape, default_shape
from nixoci.engines.docker.daemon import CONFIG_FILE, check_storage, read_config, running_daemon, service_arguments
from nixoci.engines.docker.data_root import DATA_ROOT, DataRoot, inside
from nixoci.engines.docker.register import ROOTS, Elsewhere, Outcome, register_in_docker
from nixoci.engines.docker.registered import LIST
from nixoci.errors import ProcessError, StoreError
from nixoci.systemd import unit_files

DOCKER = "docker"

_OPTIONS: Mapping[str, tuple[str, ...]] = {
    DOCKER: ("data_root", "config_file", "root"),
    containerd.ENGINE: ("namespace", "ctr", "address", "shape"),
}
"""The options of each engine."""

_INSTALL = f"{IMAGES_UNIT}.service, which `nixoci image-store --images-service FILE` writes, is installed and started"


@verb(
    examples=[
        "nixoci register docker store",
        "nixoci register docker store --dry-run --json",
        "nixoci register docker /usr/lib/nixoci --root root",
        "nixoci register containerd store --namespace k8s.io",
        "nixoci register containerd store --namespace k8s.io --address /run/k3s/containerd/containerd.sock",
    ],
)
@click.argument("engine", type=click.Choice(list(_OPTIONS)))
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
    metavar="FILE",
    help=f"Docker's configuration; by default that of docker.service, or {CONFIG_FILE} if that exists.",
)
@click.option(
    "--root",
    type=PATH,
    metavar="DIR",
    help="Root of a Docker machine that is being built: STORE, --data-root and --config-file are paths there.",
)
@click.option(
    "--namespace",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Namespace of containerd: k8s.io for Kubernetes, moby for Docker's containerd image store.",
)
@click.option("--ctr", default="ctr", show_default=True, metavar="PROGRAM", help="containerd's client.")
@click.option("--address", metavar="SOCKET", help="containerd's socket; by default that of its client.")
@click.option(
    "--shape",
    type=click.Choice([shape.value for shape in Shape]),
    help="Manifests in containerd: as in the registry, or with one layer, for builds; by default one-layer for moby.",
)
@dry_run_option
@json_option
@click.pass_context
def register(
    context: click.Context,
    *,
    engine: str,
    store: Path,
    data_root: Path | None,
    config_file: Path | None,
    root: Path | None,
    namespace: str,
    ctr: str,
    address: str | None,
    shape: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the images of STORE, an image store, images of Docker or containerd, and remove those of the run before.

    Nothing is copied: the engine's own layers become links to mounted images, which nixoci-images.service mounts.
    Images that the engine has pulled or built stay as they are, and an image that is no longer in STORE stays while the
    engine uses it. Images that the engine has lost, by `docker system prune` or `ctr images rm`, come back. A second
    run changes nothing.

    dockerd reads its images when it starts: stop it before, or run this in a unit that is ordered before
    docker.service. While it runs, only a run that has nothing to change succeeds. containerd has to run.
    """
    _check_options(context, engine)
    with _root_needed(engine):
        if engine == DOCKER:
            _register_in_docker(store, data_root, config_file, root, dry_run=dry_run, as_json=as_json)
        else:
            chosen = Shape(shape) if shape is not None else default_shape(namespace)
            client = Ctr(namespace=namespace, program=ctr, address=address)
            _register_in_containerd(store, client, chosen, dry_run=dry_run, as_json=as_json)


@contextmanager
def _root_needed(engine: str) -> Iterator[None]:
    """Say to an ordinary user who may read and write an engine's files."""
    try:
        yield
    except PermissionError as error:
        if os.geteuid() == 0:
            raise
        raise StoreError(f"{error.filename}: {error.strerror}; run this as root, to whom {engine} belongs") from error


def _check_options(context: click.Context, engine: str) -> None:
    """Refuse an option of another engine."""
    for other, names in _OPTIONS.items():
        for name in names:
            if other != engine and is_given(context, name):
                raise click.UsageError(
                    f"--{name.replace('_', '-')} is an option of {other}, and the engine is {engine}"
                )


def _register_in_docker(
    store: Path, data_root: Path | None, config_file: Path | None, root: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    if root is not None and not store.is_absolute():
        raise click.UsageError(f"{store} is a path in {root}; write it from that root: /{store}")
    # what is given may be of another dockerd than that of the service
    words = service_arguments() if root is None and data_root is None and config_file is None else []
    config = read_config(config_file, words, machine=root)
    there = data_root or Path(config.data_root or DATA_ROOT)
    own = DataRoot(path=inside(there, root))
    check_storage(own, config)
    done = register_in_docker(
        inside(store, root),
        own,
        is_running=lambda: running_daemon(own, config),
        roots=ROOTS if root is None else replace(ROOTS, gc_roots=inside(ROOTS.gc_roots, root)),
        registered=inside(LIST, root),
        elsewhere=None if root is None else Elsewhere(store=store, data_root=there),
        dry_run=dry_run,
    )
    if as_json:
        print_json(done)
    else:
        _print_changes(store, done)
    if done.restart and not dry_run:
        raise StoreError(
            f"{own.path}: nothing changed, because dockerd runs and reads images only when it starts; run `systemctl"
            " stop docker.socket docker.service`, this command, and `systemctl start docker.service`"
        )
    if not dry_run:
        _warn_of_mounts(done.unmounted)


def _register_in_containerd(store: Path, client: Ctr, shape: Shape, *, dry_run: bool, as_json: bool) -> None:
    done = containerd.register_in_containerd(store.resolve(), client, shape=shape, dry_run=dry_run)
    if as_json:
        print_json(done)
    else:
        rows = [[name.change.value, name.name] for name in done.names if name.change is not Change.KEPT]
        print_table(["change", "image"], rows, empty=f"{store}: no image changes in the namespace")
    for image in done.nameless:
        warn(f"image {image}: not registered, for it has no name; extract it with --reference")
    if not dry_run:
        _warn_of_mounts([str(point) for point in done.unmounted])


def _print_changes(store: Path, done: Outcome) -> None:
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
    print_table(["change", "image", "name or use"], rows, empty=f"{store}: no image of Docker changes")


def _warn_of_mounts(unmounted: list[str]) -> None:
    if unmounted:
        more = f", one of {len(unmounted)} such images" if len(unmounted) > 1 else ""
        way = f"`systemctl restart {IMAGES_UNIT}`" if _is_installed(f"{IMAGES_UNIT}.service") else _INSTALL
        warn(f"{unmounted[0]}: not mounted{more}; no container of it starts before {way}")


def _is_installed(unit: str) -> bool:
    """Return whether systemd has a unit, or does not answer."""
    try:
        return unit in unit_files([unit], user=False)
    except ProcessError:
        return True
