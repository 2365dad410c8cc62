"""Containers on a machine: images in its store, units that are made and started, what their processes say."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.host.images import images as sample_images
from tests.host.process import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.host.machine import Machine

EXTRACT = """
import sys
from pathlib import Path
from nixoci.document import parse
from nixoci.extraction import extract
from nixoci.oci.image import Blob, Image, Layer
from nixoci.oci.model import ImageConfig, Index, Manifest

class Layout:
    def open_blob(self, descriptor):
        return (layout / "blobs" / descriptor.digest.algorithm / descriptor.digest.hex).open("rb")

layout, blobs = Path(sys.argv[1]), Layout()
descriptor = parse(Index, (layout / "index.json").read_bytes(), what="index").manifests[-1]
text = blobs.open_blob(descriptor).read()
manifest = parse(Manifest, text, what="manifest")
config = blobs.open_blob(manifest.config).read()
parsed = parse(ImageConfig, config, what="config")
layers = zip(manifest.layers, parsed.rootfs.diff_ids, strict=True)
image = Image(
    digest=descriptor.digest, platform=parsed.platform, manifest=Blob(descriptor=descriptor, text=text),
    config=Blob(descriptor=manifest.config, text=config), parsed_config=parsed,
    layers=tuple(Layer(descriptor=layer, diff_id=diff_id) for layer, diff_id in layers),
)
extract(image, blobs, Path(sys.argv[2]), name=sys.argv[3])
"""

WEB = {
    "image": "nginx",
    "ports": ["8080:80"],
    "dependsOn": ["cache"],
    "healthcheck": {"test": ["CMD-SHELL", "test -s /run/nginx.pid"], "interval": "1s"},
    "notify": "healthy",
}
"""A container that is ready when it is healthy, after the one that is called cache."""

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
"""Values made to break what stands between, by names that are no better."""

BACKENDS = ("podman", "rootfs", "bundle")


class Host:
    """A machine with images in its store, and an image store over them on the same plain file system.

    `layouts` are OCI layouts inside, each with the name that its last image gets, read in turn.
    """

    def __init__(self, machine: Machine, layouts: Iterable[tuple[str, str]]) -> None:
        self.machine = machine
        self.paths: dict[str, str] = {}
        for name, layout in layouts:
            self.paths[name] = self.extract(name, layout)
        conf = "--storage-conf=/etc/containers/storage.conf"
        machine.run(["nixoci", "image-store", "/nix/image-store", *self.paths.values(), conf])
        self.hashes = self.measure()

    def extract(self, name: str, layout: str) -> str:
        """Return the image path of a layout's last image."""
        self.machine.run(["/opt/nixoci/bin/python3", "-c", EXTRACT, layout, f"/tmp/{name}", name])  # noqa: S108
        path = self.machine.run(["nix-store", "--add", f"/tmp/{name}"]).stdout.strip()  # noqa: S108
        self.machine.run(["rm", "--recursive", "--force", f"/tmp/{name}"])  # noqa: S108
        return path

    def measure(self) -> dict[str, str]:
        """Return the NAR hash of each image path, from the files as they are."""
        show = ["nix", "--extra-experimental-features", "nix-command", "hash", "path"]
        return {name: self.machine.run([*show, path]).stdout for name, path in self.paths.items()}

    def deploy(self, out: str, containers: dict[str, Any], **more: Any) -> str:
        """Render units to a new directory and link them; return what the command warned of."""
        document = {"images": self.paths, "imageStore": "/nix/image-store", "containers": containers, **more}
        self.machine.run(["tee", f"{out}.json"], input=json.dumps(document))
        done = self.machine.run(["nixoci", "units", f"{out}.json", out])
        self.link(out)
        return done.stderr

    def link(self, out: str) -> None:
        """Tell systemd of rendered units."""
        units = self.machine.run(["find", f"{out}/lib/systemd/system", "-maxdepth", "1", "-type", "f"])
        self.machine.run(["systemctl", "link", "--quiet", *units.stdout.split()])
        self.machine.run(["systemctl", "daemon-reload"])

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl and return what it says."""
        return self.machine.run(["systemctl", *arguments], timeout=60).stdout.strip()

    def wait_for_log(self, unit: str, text: str, timeout: float = 20) -> str:
        """Return a unit's journal once it has a text."""
        deadline = time.monotonic() + timeout
        while text not in (journal := self.machine.journal(unit)):
            if time.monotonic() > deadline:
                raise CommandError(["journalctl", unit], f"no {text!r} in the journal", journal, "")
            time.sleep(0.1)
        return journal

    def seen(self, name: str, container: dict[str, Any], **more: Any) -> Any:
        """Run a container once; return what it says in JSON, in one line of the journal after SEEN."""
        return self.seen_by_all(f"/var/{name}", {name: {"networks": ["none"]} | container}, **more)[name]

    def seen_by_all(self, out: str, containers: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Run containers of one deployment once, in turn; return what each says as in `seen`, by name."""
        self.deploy(out, {name: {"restart": "no"} | container for name, container in containers.items()}, **more)
        found = {}
        for name in containers:
            self.machine.run(["systemctl", "start", f"{name}.service"], check=False)
            found[name] = self.said(name)
        return found

    def said(self, name: str) -> Any:
        """Return what a container says in JSON, in one line of the journal after SEEN."""
        lines = self.wait_for_log(f"{name}.service", "SEEN ").splitlines()
        return json.loads(next(line for line in lines if line.startswith("SEEN ")).removeprefix("SEEN "))


def edited(machine: Machine, name: str, new: str, config: dict[str, Any]) -> tuple[str, str]:
    """Make an OCI layout inside of a sample image that has more in its config; return it as `Host` takes it."""
    layout = dict(sample_layouts())[name]
    outside, blobs = machine.root / layout.lstrip("/"), "blobs/sha256"
    made = machine.root / f"var/tmp/{new}"
    (made / "blobs").mkdir(parents=True)
    shutil.copytree(
        outside / blobs,
        made / blobs,
        copy_function=lambda source, target: Path(target).symlink_to(f"{layout}/{blobs}/{Path(source).name}"),
    )

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
    changed = write(image | {"config": image["config"] | config})
    described = descriptor | write(manifest | {"config": manifest["config"] | changed})
    (made / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}), encoding="utf-8")
    shutil.copy(outside / "oci-layout", made)
    return new, f"/var/tmp/{new}"  # noqa: S108


def sample_layouts() -> list[tuple[str, str]]:
    """Return where a machine has the newer version of each sample image."""
    return [(name, pair.new.inside.removeprefix("oci:").rpartition(":")[0]) for name, pair in sample_images().items()]
