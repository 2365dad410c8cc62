"""Images that are not built upon the base of the others, or not by buildah: as a host gets them from several vendors.

Some are a Debian of their own in one layer, some are nothing but packages and what they depend on (as distroless images
are), and some are an application from PyPI that umoci inserts into the python image as a further layer.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.host.apt import debootstrap
from tests.host.cache import cached, key
from tests.host.images import SLIM, SUITE, UPDATED, images, inside
from tests.host.process import LONG, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.machine import Machine

OWN_BASE = {"dnsmasq": "dnsmasq-base", "squid": "squid", "unbound": "unbound"}
"""Images of a whole Debian in one layer, and the package that is installed besides."""

NO_BASE = {"bind9": "bind9", "caddy": "caddy", "git": "git", "nats": "nats-server"}
"""Images of a package with what it depends on, unpacked and not configured."""

APPLICATIONS = {
    "ansible": {"old": "ansible-core==2.14.0", "new": "ansible-core==2.14.17"},
    "django": {"old": "django==4.2.0", "new": "django==4.2.16"},
}
"""Images of an application of PyPI upon the python image, and its versions."""

BUILDERS = {
    **dict.fromkeys(OWN_BASE, "mmdebstrap, with a base of its own"),
    **dict.fromkeys(NO_BASE, "mmdebstrap, without a base"),
    **dict.fromkeys(APPLICATIONS, "umoci, upon the python image"),
}
"""The images, and what builds them."""

PYTHON = "3.11"
"""The version in the python image."""


def layout(name: str, machine: Callable[[], Machine]) -> Path:
    """Return the layout of an image in both versions, built if it is not in the cache.

    `machine` boots one that may write to the folder of images, if there is none yet.
    """
    parts = json.dumps([name, OWN_BASE.get(name), NO_BASE.get(name), APPLICATIONS.get(name), SLIM, SUITE])
    base = str(images()["python"].old.layout) if name in APPLICATIONS else ""
    build = _build_application if name in APPLICATIONS else _build_packages
    made = cached(f"images/other-{key(parts, base, Path(__file__))}", lambda folder: build(folder, name, machine))
    return made / name


def _build_packages(folder: Path, name: str, machine: Callable[[], Machine]) -> None:
    seen = inside(folder)
    for version, updates in UPDATED.items():
        if name in OWN_BASE:
            debootstrap(folder / f"{version}.tar", SUITE, [OWN_BASE[name]], updates=updates, options=SLIM)
        else:
            target = folder / f"{version}.tar"
            debootstrap(target, SUITE, [NO_BASE[name]], updates=updates, variant="extract", options=SLIM)
        local = f"localhost/{name}-{version}"
        machine().run(["podman", "import", f"{seen}/{version}.tar", local], timeout=LONG)
        copy = ["skopeo", "copy", "--quiet", f"containers-storage:{local}", f"oci:{seen}/{name}:{version}"]
        machine().run(copy, timeout=LONG)
        machine().run(["podman", "rmi", local])
        (folder / f"{version}.tar").unlink()


def _build_application(folder: Path, name: str, machine: Callable[[], Machine]) -> None:
    base = images()["python"]
    seen = inside(folder)
    for version, image in (("old", base.old), ("new", base.new)):
        # this machine's pip knows its index and its network; the image's Python is another
        chosen = [f"--python-version={PYTHON}", "--only-binary=:all:", f"--target={folder / version}"]
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        run([*install, *chosen, APPLICATIONS[name][version]], timeout=LONG)
        tagged = f"{seen}/{name}:{version}"
        machine().run(["skopeo", "copy", "--quiet", image.inside, f"oci:{tagged}"], timeout=LONG)
        insert = ["umoci", "insert", f"--image={tagged}", f"{seen}/{version}", "/opt/application"]
        machine().run(insert, timeout=LONG)
        machine().run(["umoci", "config", f"--image={tagged}", "--config.env=PYTHONPATH=/opt/application"])
        shutil.rmtree(folder / version)
    machine().run(["umoci", "gc", f"--layout={seen}/{name}"])
