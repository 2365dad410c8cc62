"""A stand-in for containerd behind `ctr`, for what a real one is too slow for: interruptions, and random histories.

It keeps what the commands of nixoci change, prints the tables of ctr 2.1, and collects garbage by containerd's rules
(docs/garbage-collection.md there). That a real containerd does the same is shown by tests/host/test_containerd.py.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nixoci.errors import ProcessError
from nixoci.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GC_ROOT = "containerd.io/gc.root"
CONTENT = "containerd.io/gc.ref.content."
SNAPSHOT = "containerd.io/gc.ref.snapshot.overlayfs"
SECONDS = "2026-01-01T00:00:00Z"

Labels = dict[str, str]
_FILTER = re.compile(r"""((?:"[^"]*"|[^=,"])+)=="([^"]*)"(?:,|$)""")


class KilledError(BaseException):
    """The process that ran the command is no more."""


@dataclass
class Snapshot:
    number: int
    kind: str = "Active"
    parent: str = ""
    labels: Labels = field(default_factory=dict)


@dataclass
class Namespace:
    images: dict[str, tuple[str, Labels]] = field(default_factory=dict)
    blobs: dict[str, tuple[bytes, Labels]] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)


class Containerd:
    """One containerd; `kill_at` is the command, counted from one, before or after which the caller is killed."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "io.containerd.snapshotter.v1.overlayfs/snapshots"
        self.directory.mkdir(parents=True)
        self.namespaces: dict[str, Namespace] = {}
        self.commands: list[list[str]] = []
        self.kill_at: int | None = None
        self.before = False
        self.dead = False
        self.refuse = ""
        self.mounts: list[dict[str, Any]] | None = None
        self._numbers = 0

    def run(self, argv: Sequence[str | Path], *, stdin: bytes | None = None, **_: Any) -> bytes:
        """Take the place of `nixoci.process.run`."""
        if self.dead:
            raise KilledError
        command = [str(part) for part in argv]
        self.commands.append(command)
        now = len(self.commands) == self.kill_at
        if now and self.before:
            self.dead = True
            raise KilledError
        printed = self._do(command[command.index("--namespace") + 1 :], stdin)
        if now:
            self.dead = True
            raise KilledError
        return printed.encode()

    def revive(self) -> None:
        """Let a new process run commands."""
        self.dead, self.kill_at, self.commands = False, None, []

    def namespace(self, name: str) -> Namespace:
        return self.namespaces.setdefault(name, Namespace())

    def files(self, namespace: str, key: str) -> Path:
        """Return the files of a snapshot."""
        return self.directory / str(self.namespace(namespace).snapshots[key].number) / "fs"

    def unpack(self, namespace: str, chain: str) -> None:
        """Make a snapshot as a pull does."""
        self.prepare(namespace, chain)
        self.namespace(namespace).snapshots[chain].kind = "Committed"

    def prepare(self, namespace: str, key: str, labels: Labels | None = None) -> Path:
        snapshots = self.namespace(namespace).snapshots
        if key in snapshots:
            raise ProcessError(f"ctr snapshots prepare: exit code 1: snapshot {key}: already exists")
        self._numbers += 1
        snapshots[key] = Snapshot(number=self._numbers, labels=labels or {})
        files = self.files(namespace, key)
        files.mkdir(parents=True)
        (files.parent / "work").mkdir()
        return files

    def collect(self, name: str) -> None:
        """Collect garbage."""
        space = self.namespace(name)
        marked = {digest for digest, _ in space.images.values()}
        todo = list(marked)
        while todo:
            _, labels = space.blobs.get(todo.pop(), (b"", {}))
            found = {value for label, value in labels.items() if label.startswith(CONTENT)} - marked
            marked |= found
            todo += found
        kept = {space.blobs[digest][1].get(SNAPSHOT) for digest in marked if digest in space.blobs}
        kept |= {key for key, snapshot in space.snapshots.items() if GC_ROOT in snapshot.labels}
        space.blobs = {digest: blob for digest, blob in space.blobs.items() if digest in marked}
        for key in [key for key in space.snapshots if key not in kept]:
            self._remove_snapshot(space, key)

    def _remove_snapshot(self, space: Namespace, key: str) -> None:
        if key not in space.snapshots:
            raise ProcessError(f"ctr snapshots rm: exit code 1: snapshot {key} does not exist: not found")
        shutil.rmtree(self.directory / str(space.snapshots.pop(key).number))

    def _do(self, command: list[str], stdin: bytes | None) -> str:  # noqa: C901, PLR0912 - one case for each command
        name, *words = command
        space = self.namespace(name)
        if self.refuse and " ".join(words).startswith(self.refuse):
            raise ProcessError(f"ctr {self.refuse}: exit code 1: ctr: refused", code=1)
        match words:
            case ["plugins", "ls", "--detailed", _]:
                return f"ID:    overlayfs\nExports:\n    root    {self.directory.parent}\n"
            case ["images", "ls", "--quiet", *filters]:
                return "".join(f"{key}\n" for key in space.images if not filters or _matches(space, key, filters))
            case ["content", "ls"]:
                rows = [[key, "1kB", "2 hours", _text(labels)] for key, (_, labels) in space.blobs.items()]
                return "".join("\t\t".join(row) + "\n" for row in [["DIGEST", "SIZE", "AGE", "LABELS"], *rows])
            case ["snapshots", "--snapshotter", "overlayfs", "ls"]:
                listed = [[key, each.parent, each.kind] for key, each in space.snapshots.items()]
                return _table(["KEY", "PARENT", "KIND"], listed)
            case ["images", "import", "--local", "--no-unpack", "--all-platforms", "-"]:
                assert stdin is not None
                self._import(space, stdin)
            case ["images", "label", image, *labels]:
                space.images[image][1].update(_pairs(labels))
            case ["content", "label", digest, *labels]:
                space.blobs[digest][1].update(_pairs(labels))
            case ["snapshots", "--snapshotter", "overlayfs", "label", key, label]:
                assert label == f"{GC_ROOT}="
                space.snapshots[key].labels.pop(GC_ROOT, None)
            case ["snapshots", "--snapshotter", "overlayfs", "prepare", "--mounts", key]:
                files = self.prepare(name, key, {GC_ROOT: SECONDS})
                mount = {"Type": "bind", "Source": str(files), "Target": "", "Options": ["rw", "rbind"]}
                return json.dumps([mount] if self.mounts is None else self.mounts)
            case ["snapshots", "--snapshotter", "overlayfs", "commit", chain, key]:
                if chain in space.snapshots:
                    raise ProcessError(f"ctr snapshots commit: exit code 1: snapshot {chain}: already exists")
                snapshot = space.snapshots[chain] = space.snapshots.pop(key)
                snapshot.kind, snapshot.labels = "Committed", {GC_ROOT: SECONDS}
            case ["snapshots", "--snapshotter", "overlayfs", "rm", *keys]:
                for key in keys:
                    self._remove_snapshot(space, key)
            case ["images", "rm", "--sync", *removed]:
                for image in removed:
                    space.images.pop(image, None)
                self.collect(name)
            case _:
                raise AssertionError(words)
        return ""

    def _import(self, space: Namespace, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = {each.name: tar.extractfile(each) for each in tar}
            files = {name: file.read() for name, file in members.items() if file is not None}
        assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        index = json.loads(files.pop("index.json"))
        for name, data in files.items():
            digest = str(Digest.of(data))
            assert name == f"blobs/{digest.replace(':', '/')}"
            space.blobs.setdefault(digest, (data, {}))
        for described in index["manifests"]:
            data, labels = space.blobs[described["digest"]]
            assert described["size"] == len(data)
            manifest = json.loads(data)
            labels[f"{CONTENT}config"] = manifest["config"]["digest"]
            labels |= {f"{CONTENT}l.{number}": layer["digest"] for number, layer in enumerate(manifest["layers"])}
            image = described["annotations"]["io.containerd.image.name"]
            space.images[image] = (described["digest"], space.images.get(image, ("", {}))[1])


def _matches(space: Namespace, name: str, filters: Sequence[str]) -> bool:
    digest, labels = space.images[name]
    facts = {("name", name), ("target.digest", digest)} | {(f'labels."{key}"', value) for key, value in labels.items()}
    return any(set(_FILTER.findall(each)) <= facts for each in filters)


def _pairs(labels: Sequence[str]) -> Labels:
    return dict(label.split("=", 1) for label in labels)


def _text(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "-"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[number]) for row in [columns, *rows]) + 1 for number in range(len(columns))]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [columns, *rows]]
    return "".join(f"{line}\n" for line in lines)
