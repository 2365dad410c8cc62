"""Image stores in the images of operating systems: machines with podman and systemd, and without Nix.

By default only the mounts are tested, on the usual machine. `NIXOCI_OS_IMAGES=1` also builds images of Debian with
podman 5.8, and with podman 6.1 from experimental, which takes some minutes and a gigabyte.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.host.apt import debootstrap
from tests.host.cache import cache_dir, cached, key
from tests.host.machine import Machine
from tests.host.process import run
from tests.host.rootfs import FILES, SUITE
from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "/usr/lib/nixoci"
DROP_IN = "/etc/containers/storage.rootful.conf.d/50-nixoci.conf"
SERVICE = "/etc/systemd/system/nixoci-images.service"
REFERENCE = "localhost/small:1"
SHOW = "cat /version; stat -c %G:%a /var/mail"
SHOWN = "small 1\nmail:2775\n"

QUADLET = f"""
[Container]
Image={REFERENCE}
ContainerName=small
Exec=sleep infinity
Network=none
Pull=never

[Install]
WantedBy=multi-user.target
"""


class OsFiles(NamedTuple):
    """The files that a builder copies into the image of an operating system: a store, its drop-in and its service."""

    store: Path
    drop_in: Path
    service: Path
    layer: str


@pytest.fixture(scope="module")
def made(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OsFiles]:
    image, folder = small_images().old, "/home/os-image"
    layout = machine.root / f"{folder.lstrip('/')}/layout"
    layout.parent.mkdir()
    shutil.copytree(image.layout, layout)
    machine.run(["nixoci", "extract", f"oci:{folder}/layout:{image.tag}", f"{folder}/small", "--reference", REFERENCE])
    build = ["nixoci", "image-store", "--self-contained", f"--prefix={PREFIX}", f"{folder}/store", f"{folder}/small"]
    more = [f"--drop-in={folder}/50-nixoci.conf", "--mountopt=nodev,redirect_dir=on"]
    more += [f"--images-service={folder}/nixoci-images.service", "--json"]
    (stored,) = json.loads(machine.run([*build, *more]).stdout)
    target = tmp_path_factory.mktemp("os")
    run(["cp", "--archive", f"{machine.root}{folder}/.", str(target)])
    yield OsFiles(target / "store", target / "50-nixoci.conf", target / "nixoci-images.service", stored["layer"])
    machine.run(["rm", "--recursive", folder])


@pytest.fixture(scope="module")
def booted(made: OsFiles) -> Iterator[Machine]:
    """The usual machine, booted with the store where an operating system has it."""
    with Machine(binds={made.store: PREFIX, made.service: SERVICE}) as machine:
        machine.run(["systemctl", "enable", "--now", "nixoci-images.service"])
        yield machine


def test_other_programs_run_an_image_from_its_mount(booted: Machine, made: OsFiles) -> None:
    point = f"/run/nixoci/images/nixoci-{made.layer}"
    # the image has no /dev and no /sys to mount on
    root = [f"--property=RootDirectory={point}", "--property=MountAPIVFS=no"]
    unit = ["systemd-run", "--quiet", "--wait", "--pipe", *root, "/bin/sh", "-c", SHOW]
    assert booted.run(unit).stdout == SHOWN


class Podman(NamedTuple):
    """A podman to put into the image of an operating system: its package, and the suite that has it."""

    version: str
    package: str
    also: tuple[str, ...] = ()


PODMANS = (
    Podman("5.8", "podman"),
    Podman("6.1", "podman/experimental", ("experimental",)),
)


def operating_system(podman: Podman) -> Path:
    """Return the cached root file system of a Debian with systemd and this podman."""

    def build(folder: Path) -> None:
        debootstrap(folder, SUITE, ("systemd-sysv", "dbus", "crun", podman.package), also=podman.also)
        shutil.copytree(FILES / "etc/containers", folder / "etc/containers", dirs_exist_ok=True)
        for name in ("etc/hostname", "etc/resolv.conf"):
            (folder / name).unlink(missing_ok=True)

    return cached(f"os-{podman.version}-{key(FILES, podman.version, podman.package)}", build)


@pytest.fixture(scope="module", params=PODMANS, ids=lambda podman: podman.version)
def without_nix(request: pytest.FixtureRequest, made: OsFiles) -> Iterator[Machine]:
    """A machine that has booted from an image of Debian with the store and a Quadlet file in it."""
    podman: Podman = request.param
    with TemporaryDirectory(prefix="os-", dir=cache_dir()) as folder:  # a plain file system
        system = Path(folder) / "machine"
        run(["cp", "--archive", str(operating_system(podman)), str(system)])
        for source, target in ((made.store, PREFIX), (made.drop_in, DROP_IN), (made.service, SERVICE)):
            place = system / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "--archive", str(source), str(place)])
        quadlet = system / "etc/containers/systemd/small.container"
        quadlet.parent.mkdir(parents=True, exist_ok=True)
        quadlet.write_text(QUADLET, encoding="utf-8")
        run(["systemctl", f"--root={system}", "--quiet", "enable", "nixoci-images.service"])
        with Machine(system=system) as machine:
            assert podman.version in machine.run(["podman", "--version"]).stdout
            yield machine


@pytest.mark.skipif(not os.environ.get("NIXOCI_OS_IMAGES"), reason="NIXOCI_OS_IMAGES is not set")
def test_a_container_starts_at_the_boot_without_an_import(without_nix: Machine) -> None:
    machine = without_nix
    assert machine.run(["test", "-e", "/nix"], check=False).returncode != 0
    machine.wait_for_unit("small.service")
    assert machine.run(["podman", "exec", "small", "sh", "-c", SHOW]).stdout == SHOWN
    assert machine.run(["podman", "images", "--format={{.Names}} {{.ReadOnly}}"]).stdout == f"[{REFERENCE}] true\n"
    own = machine.run(["du", "--summarize", "--bytes", "--one-file-system", "/var/lib/containers"]).stdout
    assert int(own.split()[0]) < 2**20
    assert machine.run(["find", "/run/nixoci/images", "-name", "version"]).stdout.count("\n") == 1


@pytest.mark.skipif(not os.environ.get("NIXOCI_OS_IMAGES"), reason="NIXOCI_OS_IMAGES is not set")
def test_a_commit_keeps_the_content_of_a_file_with_another_time(without_nix: Machine) -> None:
    machine = without_nix
    podman = ["podman", "run", "--network=none"]
    machine.run([*podman, "--name=touched", REFERENCE, "touch", "/version"])
    machine.run(["podman", "commit", "--quiet", "touched", "localhost/committed"])
    assert machine.run([*podman, "--rm", "localhost/committed", "sh", "-c", SHOW]).stdout == SHOWN
    options = machine.run(["podman", "info", "--format={{json .Store.GraphOptions}}"]).stdout
    assert json.loads(options)["overlay.mountopt"] == "nodev,redirect_dir=on"
