"""Containers on a machine: images in its store, units that are made and started, the output of their processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nixoci.image_store.storage_conf import GRAPH_ROOT, RUN_ROOT, render_storage_conf
from tests.host.images import INSIDE
from tests.host.images import images as sample_images
from tests.host.process import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.host.machine import Machine

EXTRACT = """
map
  (image: derivation {
    inherit (image) name;
    system = builtins.currentSystem;
    builder = "/opt/nixoci/bin/nixoci";
    args = [ "extract" image.source (placeholder "out") "--name" image.name ];
  })
  (builtins.fromJSON (builtins.readFile %s))
"""

WEB = {
    "image": "nginx",
    "ports": ["8080:80"],
    "dependsOn": ["cache"],
    "healthcheck": {"test": ["CMD-SHELL", "test -s /run/nginx.pid"], "interval": "1s"},
    "notify": "healthy",
}
"""A container that is ready when it is healthy, and starts after the container `cache`."""

HOSTILE = {
    "QUOTES": "a\"b'c`d",
    "DOLLAR": "$HOME ${HOME} $$ $",
    "PERCENT": "%n %% %h %",
    "NIX": "${builtins.throw} ''$ \\${x}",
    "BACKSLASH": "\\n \\\\ \\x41 \\",
    "NEWLINE": "one\ntwo\n",
    "SPACES": "  a  b\t ",
    "UNICODE": "grüße 容器 \u2028 🐳",
    "CONTROL": "\x01\x1b[31m\x7f",
    "SEMICOLON": "; ;",
    "HASH": "# no comment",
    "EMPTY": "",
    "EQUALS": "a=b=c",
    "outPath": "/not/a/path",
    "__toString": "no function",
    "__members": "no list",
    "type": "no derivation",
}
"""Values that are hard to escape, by names that are hard to escape."""

IMAGES_UNIT = "nixoci-images.service"

BACKENDS = ("podman", "rootfs", "bundle")


STORE = "/nix/image-store"
STORAGE_CONF = "/etc/containers/storage.conf"


class Host:
    """A machine with images in its store, and an image store over them on the same plain file system.

    `paths` are the image paths by the images' names, `hashes` their results of `measure`.
    """

    def __init__(self, machine: Machine, paths: Mapping[str, str], hashes: Mapping[str, str]) -> None:
        self.machine = machine
        self.paths = dict(paths)
        self.hashes = dict(hashes)

    @classmethod
    def build(cls, machine: Machine, sources: Mapping[str, str]) -> Self:
        """Extract images on a machine, given by their names for `nixoci extract`, and make the image store."""
        host = cls(machine, {}, {})
        host.paths = host.extract(sources)
        machine.run(["nixoci", "image-store", STORE, *host.paths.values(), f"--storage-conf={STORAGE_CONF}"])
        host.hashes = host.measure()
        return host

    def extract(self, sources: Mapping[str, str]) -> dict[str, str]:
        """Return the image paths of images by name; Nix builds them, as it does those of a lock."""
        wanted = [{"name": name, "source": source} for name, source in sources.items()]
        file = f"/var/tmp/{uuid.uuid4().hex}.json"  # noqa: S108
        self.machine.run(["tee", file], input=json.dumps(wanted))
        # the sample images, if this machine has them: other layouts may be links to their blobs
        folders = {source.split(":")[1] for source in sources.values()}
        visible = [f"{INSIDE}?", *(folder for folder in folders if not folder.startswith(f"{INSIDE}/"))]
        option = ["--option", "extra-sandbox-paths", " ".join(visible)]
        build = ["nix-build", "--no-out-link", "--max-jobs", "2", *option, "--expr", EXTRACT % file]
        return dict(zip(sources, self.machine.run(build, timeout=600).stdout.split(), strict=True))

    def measure(self, *names: str) -> dict[str, str]:
        """Return the NAR hash of each image path, or of those of the named, from the files as they are."""
        show = ["nix", "--extra-experimental-features", "nix-command", "hash", "path"]
        return {name: self.machine.run([*show, self.paths[name]]).stdout for name in names or self.paths}

    def deploy(self, out: str, containers: dict[str, Any], **more: Any) -> str:
        """Render units to a new directory and link them; return the command's warnings."""
        document = {"images": self.paths, "imageStore": STORE, "containers": containers, **more}
        self.machine.run(["tee", f"{out}.json"], input=json.dumps(document))
        done = self.machine.run(["nixoci", "units", f"{out}.json", out])
        self.link(out)
        return done.stderr

    def link(self, out: str) -> None:
        """Link rendered units into systemd."""
        link_units(self.machine, out)

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl and return its output."""
        return self.machine.run(["systemctl", *arguments], timeout=180).stdout.strip()

    def wait_for_log(self, unit: str, *texts: str, timeout: float = 60) -> str:
        """Return a unit's journal once it has some texts."""
        deadline = time.monotonic() + timeout
        while True:
            journal = self.machine.journal(unit)
            missing = [text for text in texts if text not in journal]
            if not missing:
                return journal
            if time.monotonic() > deadline:
                raise CommandError(["journalctl", unit], f"no {missing[0]!r} in the journal", journal, "")
            time.sleep(0.1)

    def seen(self, name: str, container: dict[str, Any], **more: Any) -> Any:
        """Run a container once; return the JSON that it prints after SEEN, in one line of the journal."""
        return self.seen_by_all(f"/var/{name}", {name: {"networks": ["none"]} | container}, **more)[name]

    def seen_by_all(self, out: str, containers: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Run containers of one deployment once; return the JSON of each as in `seen`, by name."""
        self.deploy(out, {name: {"restart": "no"} | container for name, container in containers.items()}, **more)
        self.start_all(containers)
        return {name: self.said(name) for name in containers}

    def start_all(self, names: Iterable[str]) -> None:
        """Start services, four at a time; failures are ignored."""
        units = [f"{name}.service" for name in names]
        for first in range(0, len(units), 4):
            self.machine.run(["systemctl", "start", *units[first : first + 4]], check=False)

    def said(self, name: str) -> Any:
        """Return the JSON that a container prints after SEEN, in one line of the journal."""
        lines = self.wait_for_log(f"{name}.service", "SEEN ").splitlines()
        return json.loads(next(line for line in lines if line.startswith("SEEN ")).removeprefix("SEEN "))


def moved_storage(conf: str, graphroot: str, runroot: str) -> str:
    """Return a storage.conf of root's with other directories of podman's own."""
    moved = conf.replace(GRAPH_ROOT, graphroot).replace(RUN_ROOT, runroot)
    assert graphroot in moved
    assert runroot in moved
    return moved


def own_storage(graphroot: str, runroot: str, *, store: Path | None = None) -> str:
    """Return a storage.conf of root's with other directories of podman's own, and with an image store or none."""
    if store is None:
        return f'[storage]\ndriver = "overlay"\ngraphroot = "{graphroot}"\nrunroot = "{runroot}"\n'
    return moved_storage(render_storage_conf(store), graphroot, runroot)


def link_units(machine: Machine, out: str) -> list[str]:
    """Link rendered units into systemd and return their names."""
    found = machine.run(["find", f"{out}/lib/systemd/system", "-maxdepth", "1", "-type", "f"]).stdout.split()
    images = [unit for unit in found if unit.endswith(f"/{IMAGES_UNIT}")]
    machine.run(["systemctl", "link", "--quiet", "--no-reload", *(unit for unit in found if unit not in images)])
    for unit in images:  # that of the last output counts
        machine.run(["ln", "-sf", unit, "/etc/systemd/system/"])
    machine.run(["systemctl", "daemon-reload"])
    for _ in images:
        machine.run(["systemctl", "restart", IMAGES_UNIT])
    return [unit.rpartition("/")[2] for unit in found]


def edited(machine: Machine, name: str, new: str, config: dict[str, Any]) -> str:
    """Make an OCI layout of a sample image with a changed config, and return its name for `nixoci extract`."""
    return edited_layout(machine, sample_images()[name].new.inside.split(":")[1], new, config)


def edited_layout(machine: Machine, layout: str, new: str, config: dict[str, Any]) -> str:
    """Make an OCI layout of another's last image with a changed config, and return its name for `nixoci extract`."""
    outside, blobs = machine.root / layout.lstrip("/"), "blobs/sha256"
    made = machine.root / f"var/tmp/{new}"
    (made / "blobs").mkdir(parents=True)

    def share(source: str, target: str) -> None:
        if layout.startswith(INSIDE):  # another file system, which builders see
            Path(target).symlink_to(f"{layout}/{blobs}/{Path(source).name}")
        else:
            os.link(source, target)

    shutil.copytree(outside / blobs, made / blobs, copy_function=share)

    def read(digest: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((outside / blobs / digest.removeprefix("sha256:")).read_bytes())
        return content

    def write(content: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        (made / blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    descriptor = json.loads((outside / "index.json").read_bytes())["manifests"][-1]
    manifest = read(descriptor["digest"])
    image = read(manifest["config"]["digest"])
    replaced = {name.casefold() for name in config}
    kept = {name: value for name, value in image["config"].items() if name.casefold() not in replaced}
    changed = write(image | {"config": kept | config})
    described = descriptor | write(manifest | {"config": manifest["config"] | changed})
    (made / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}), encoding="utf-8")
    shutil.copy(outside / "oci-layout", made)
    return f"oci:/var/tmp/{new}"


def sample_sources() -> dict[str, str]:
    """Return the name of each sample image's newer version for `nixoci extract` on a machine."""
    return {name: pair.new.inside for name, pair in sample_images().items()}
