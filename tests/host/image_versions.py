"""An image of two versions in a registry, and the lock of a machine that updates it."""

from __future__ import annotations

import json
import random
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nixoci.oci.digest import Digest
from nixoci.oci.referrers import referrers_tag
from tests.host.process import FETCH
from tests.host.test_lock import nixoci, read
from tests.support.layers import directory, file, layer
from tests.support.layout import encode, write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.host.machine import Machine
    from tests.host.registry import Registry

PLATFORM = "linux/amd64"
VERSIONS = ("oci:/root/layout:0", "oci:/root/layout:1")
"""The versions of an image, of which the lower layer is the same."""


def write_versions(root: Path) -> None:
    """Write the layout with the versions into the file system of a machine."""
    content = random.Random(1).randbytes(1 << 20)  # noqa: S311 - the same bytes each time
    common = layer(directory(b"etc"), file(b"etc/group", content[: 1 << 18]))
    for version, more in enumerate((b"", b"more")):
        program = file(b"usr/program", content[: 1 << 19] + more + content[1 << 19 :])
        write_layout(root / "root/layout", [common, layer(directory(b"usr"), program)], tag=f"{version}")


class Deployment:
    """A lock of one image on a machine, whose tag in a registry moves."""

    def __init__(self, machine: Machine, registry: Registry, folder: str, *, name: str, repository: str) -> None:
        self.machine, self.registry, self.folder, self.name = machine, registry, folder, name
        self.reference = f"{registry.host}/{repository}:1"
        machine.run(["mkdir", "--parents", folder])

    def serve(self, source: str) -> None:
        """Let the tag name an image."""
        login = [f"--dest-creds={self.registry.credentials}"] if self.registry.credentials else []
        copy = ["skopeo", "copy", "--quiet", *login, source, f"docker://{self.reference}"]
        self.machine.run(copy, timeout=300)

    def run(self, *arguments: str) -> str:
        return nixoci(self.machine, self.folder, *arguments)

    def prefetch(self) -> str:
        """Return the image path that the lock has, in the store."""
        (pinned,) = json.loads(self.run("prefetch", "--json"))["narHashes"]
        path: str = pinned["path"]
        return path

    def locked(self) -> dict[str, Any]:
        entry: dict[str, Any] = read(self.machine, self.folder)[self.name]
        return entry

    def forget(self, path: str) -> None:
        self.machine.run(["nix-store", "--delete", path])


@contextmanager
def updated_deployment(machine: Machine, registry: Registry, test: str) -> Iterator[tuple[Deployment, str, str]]:
    """Give a test an image before and after an update, both in the store; the lock has the new one."""
    name = re.sub("[^a-z]+", "-", test.lower()).strip("-")
    made = Deployment(machine, registry, f"/root/{name}", name="web", repository=name)
    made.serve(VERSIONS[0])
    made.run("add", made.reference, "--name", "web")
    old = made.prefetch()
    made.serve(VERSIONS[1])
    made.run("update", "web")
    new = made.prefetch()
    assert old != new
    yield made, old, new
    machine.run(["nix-store", "--delete", old, new], check=False)


def subject(deployment: Deployment) -> Digest:
    """Return the digest of the image's manifest."""
    return Digest.parse(deployment.locked()["platforms"][PLATFORM]["manifest"]["digest"])


def fallback(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the entries of the tag that lists referrers."""
    repository = deployment.reference.rpartition(":")[0]
    tag = f"docker://{repository}:{referrers_tag(subject(deployment))}"
    index = json.loads(deployment.machine.run(["skopeo", "inspect", "--raw", tag]).stdout)
    entries: list[dict[str, Any]] = index["manifests"]
    return entries


def artifact(deployment: Deployment, digest: str) -> dict[str, Any]:
    repository = deployment.reference.rpartition(":")[0]
    text = deployment.machine.run(["skopeo", "inspect", "--raw", f"docker://{repository}@{digest}"]).stdout
    manifest: dict[str, Any] = json.loads(text)
    return manifest


def put(deployment: Deployment, manifest: dict[str, Any], *, at: str | None = None) -> dict[str, Any]:
    """Put a manifest or an index into the repository, at a tag or at its digest; return its digest and size."""
    text = encode(manifest)
    digest = str(Digest.of(text))
    host, _, repository = deployment.reference.rpartition(":")[0].partition("/")
    header = f"Content-Type: {manifest['mediaType']}"
    url = f"http://{host}/v2/{repository}/manifests/{at or digest}"
    deployment.machine.run(
        [*FETCH, "--request=PUT", f"--header={header}", "--data-binary=@-", url], input=text.decode()
    )
    return {"digest": digest, "size": len(text)}


def unpin(deployment: Deployment) -> None:
    """Take the hash of the image path out of the lock, as after an update."""
    file = deployment.machine.root / deployment.folder.lstrip("/") / "nixoci.lock.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["images"][deployment.name]["platforms"][PLATFORM]["narHash"]
    deployment.machine.run(["tee", f"{deployment.folder}/nixoci.lock.json"], input=json.dumps(content))
