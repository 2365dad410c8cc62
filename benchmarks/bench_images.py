"""`podman images` with 50 images in one of our image stores, and with the same 50 in podman's own storage."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.machine import Machine

COUNT = 50
ROUNDS = 20
WORK = "/var/lib/containers/bench"  # podman's storage wants a plain file system

# Makes layouts of one small layer each, that differ in their config: 50 images.
LAYOUTS = """
import gzip, hashlib, io, json, sys, tarfile
from pathlib import Path
work, count = Path(sys.argv[1]), int(sys.argv[2])

def put(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": "sha256:" + digest, "size": len(data)}

for number in range(count):
    layout = work / f"layout{number}"
    (layout / "blobs/sha256").mkdir(parents=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (f"file{index}" for index in range(20)):
            member = tarfile.TarInfo(name)
            content = f"{number} {name}".encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    media = "application/vnd.oci.image."
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(buffer.getvalue()).hexdigest()]}
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]}, "rootfs": rootfs}
    config = put(layout, json.dumps(config).encode()) | {"mediaType": media + "config.v1+json"}
    layer = put(layout, gzip.compress(buffer.getvalue(), mtime=0)) | {"mediaType": media + "layer.v1.tar+gzip"}
    manifest = {"schemaVersion": 2, "mediaType": media + "manifest.v1+json", "config": config, "layers": [layer]}
    manifest = put(layout, json.dumps(manifest).encode()) | {"mediaType": media + "manifest.v1+json"}
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
"""

MEASURE = """
import json, os, subprocess, sys, time
rounds, *confs = sys.argv[1:]
taken = {conf: [] for conf in confs}
for _ in range(int(rounds)):
    for conf in confs:
        before = time.perf_counter()
        run = subprocess.run(["podman", "images", "--quiet"], env=os.environ | {"CONTAINERS_STORAGE_CONF": conf},
                             check=True, capture_output=True, text=True)
        taken[conf].append(time.perf_counter() - before)
        assert len(run.stdout.split()) == 50, run.stdout
print(json.dumps(taken))
"""


def _storage_conf(machine: Machine, name: str, options: str = "") -> str:
    file = f"{WORK}/{name}.conf"
    text = f'[storage]\ndriver = "overlay"\ngraphroot = "{WORK}/{name}"\nrunroot = "{WORK}/{name}-run"\n{options}'
    machine.run(["tee", file], input=text)
    return file


def test_images(machine: Machine, report: Callable[[str], None]) -> None:
    machine.run(["mkdir", "--parents", WORK])
    machine.run(["python3", "-c", LAYOUTS, WORK, str(COUNT)])
    theirs = _storage_conf(machine, "podmans")
    paths = [f"{WORK}/image{number}" for number in range(COUNT)]
    for number, path in enumerate(paths):
        layout, name = f"{WORK}/layout{number}", f"localhost/image{number}:1"
        storage = f"containers-storage:[overlay@{WORK}/podmans+{WORK}/podmans-run]{name}"
        machine.run(["skopeo", "copy", "--quiet", f"oci:{layout}:1", storage])
        machine.run(["nixoci", "extract", f"oci:{layout}:1", path, "--name", f"image{number}"])
    machine.run(["nixoci", "image-store", f"{WORK}/store", *paths], timeout=300)
    ours = _storage_conf(machine, "nixoci", f'[storage.options]\nadditionalimagestores = ["{WORK}/store"]\n')
    machine.run(["python3", "-c", MEASURE, "2", ours, theirs])
    taken = json.loads(machine.run(["python3", "-c", MEASURE, str(ROUNDS), ours, theirs], timeout=300).stdout)
    report(f"{'podman images, ms':18} {'best':>7} {'ratio':>6} {'median':>7} {'ratio':>6}")
    for name, conf in (("image store", ours), ("podman's storage", theirs)):
        row = f"{name:18}"
        for measure in (min, median):
            time = measure(taken[conf])
            row += f" {time * 1e3:7.1f} {time / measure(taken[ours]):6.2f}"
        report(row)
