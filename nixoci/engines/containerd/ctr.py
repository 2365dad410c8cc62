"""containerd's own client `ctr`: one method for each command, and readers of the tables that it prints.

Every containerd ships the `ctr` of its own version, k3s too. So nixoci needs no gRPC library, and no protocol that
changes between versions. containerd does not promise the commands of `ctr` either: whatever does not read as expected
is an error here, and no guess.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.document import key, parse
from nixoci.errors import DocumentError, EngineError, ProcessError
from nixoci.process import run

SNAPSHOTTER = "overlayfs"
"""The snapshotter whose snapshots can be links: the one that containerd uses by default."""

_PLUGIN = f"type==io.containerd.snapshotter.v1,id=={SNAPSHOTTER}"

GC_ROOT = "containerd.io/gc.root"
"""Label of what containerd's garbage collector never removes; `ctr` sets it on the snapshots that it makes."""

SNAPSHOT_REFERENCE = f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"
"""Label of a config: the snapshot that lives as long as the config does."""

CONTENT_REFERENCE = "containerd.io/gc.ref.content."
"""Start of the labels of a manifest: the content that lives as long as the manifest does."""

_ROOT = re.compile(r"^\s+root\s+(/.*\S)\s*$", re.MULTILINE)
_CONTENT = re.compile(r"(?P<digest>\S+:\S+)\t+[^\t]+\t+[^\t]+\t+(?P<labels>.+)")
_SNAPSHOT = re.compile(r"(?P<key>\S+) +(?:(?P<parent>\S+) +)?(?P<kind>Active|Committed|View) *")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount that a snapshot consists of."""

    type: str = field(metadata=key("Type"))
    source: str = field(metadata=key("Source"))
    target: str = field(default="", metadata=key("Target"))
    options: list[str] = field(default_factory=list, metadata=key("Options"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The contents of a namespace of containerd.

    Attributes:
        names: The names of all images.
        right: Those that have the digest and the labels which were asked for.
        blobs: Labels of content by its digest.
        snapshots: Kinds of snapshots by their key.
    """

    names: set[str]
    right: set[str]
    blobs: dict[str, dict[str, str]]
    snapshots: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ctr:
    """The client of one containerd, in one of its namespaces.

    Every method raises `ProcessError` if the program is missing or containerd refuses.
    """

    namespace: str
    program: str = "ctr"
    address: str | None = None

    def snapshots_directory(self) -> Path:
        """Return the directory of the snapshotter's snapshots, on this machine.

        Raises:
            EngineError: containerd does not answer, or has no such snapshotter.
        """
        try:
            printed = self._run("plugins", "ls", "--detailed", _PLUGIN)
        except ProcessError as error:
            raise EngineError(f"{error}{_way_out(error)}") from error
        root = _ROOT.search(printed)
        if root is None:
            raise EngineError(
                f"{self.program} plugins: containerd has no working snapshotter {SNAPSHOTTER}, in which images are"
                " registered; enable it in config.toml, on a file system that it supports"
            )
        return Path(root[1]) / "snapshots"

    def contents(self, asked: Iterable[tuple[str, str, Mapping[str, str]]]) -> Contents:
        """Return what the namespace has.

        Args:
            asked: Names of images, with the digest and the labels by which they are right.
        """
        filters = [_filter(name=name, digest=digest, labels=labels) for name, digest, labels in asked]
        return Contents(
            names=self._names(),
            right=self._names(*filters) if filters else set(),
            blobs=read_blobs(self._run("content", "ls")),
            snapshots=read_snapshots(self._snapshots("ls")),
        )

    def names_of(self, digest: str) -> set[str]:
        """Return the names that a digest has."""
        return self._names(_filter(digest=digest))

    def import_images(self, archive: bytes) -> None:
        """Add the images and the content of an OCI archive; layers may be absent."""
        self._run("images", "import", "--local", "--no-unpack", "--all-platforms", "-", stdin=archive)

    def label_image(self, name: str, labels: Mapping[str, str]) -> None:
        """Add labels to an image."""
        self._run("images", "label", name, *_assignments(labels))

    def label_content(self, digest: str, labels: Mapping[str, str]) -> None:
        """Add labels to a blob."""
        self._run("content", "label", digest, *_assignments(labels))

    def release_snapshot(self, key: str) -> None:
        """Leave a snapshot to containerd's garbage collector."""
        self._snapshots("label", key, f"{GC_ROOT}=")

    def prepare_snapshot(self, key: str) -> list[Mount]:
        """Make an active snapshot without a parent; return the mounts that it consists of.

        Raises:
            EngineError: `ctr` printed something else.
        """
        printed = self._snapshots("prepare", "--mounts", key)
        try:
            return parse(list[Mount], printed, what=f"{self.program} snapshots prepare --mounts")
        except DocumentError as error:
            raise EngineError(f"{error}; nixoci does not know this version of ctr") from error

    def commit_snapshot(self, name: str, key: str) -> None:
        """Make the committed snapshot `name` of an active one."""
        self._snapshots("commit", name, key)

    def remove_snapshots(self, keys: Iterable[str]) -> None:
        """Remove snapshots."""
        self._snapshots("rm", *keys)

    def remove_images(self, names: Iterable[str]) -> None:
        """Remove images, and all that nothing else in containerd refers to."""
        self._run("images", "rm", "--sync", *names)

    def _snapshots(self, *arguments: str) -> str:
        # the environment and labels of the namespace may name another one
        return self._run("snapshots", "--snapshotter", SNAPSHOTTER, *arguments)

    def _names(self, *filters: str) -> set[str]:
        # the whole table would take a second for some hundreds of images: each row reads its manifest and config
        return set(_lines(self._run("images", "ls", "--quiet", *filters)))

    def _run(self, *arguments: str, stdin: bytes | None = None) -> str:
        address = ["--address", self.address] if self.address is not None else []
        # every call would ask containerd for the settings that it no longer wants
        environment = {**os.environ, "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": "1"}
        command = [self.program, *address, "--namespace", self.namespace, *arguments]
        return run(command, stdin=stdin, package="containerd", env=environment).decode("utf-8", "replace")


def _way_out(error: ProcessError) -> str:
    """Return the way out of a first command that failed; where `ctr` is missing, the error says it."""
    if error.code is None:
        return ""
    if "permission denied" in error.stderr:
        return "; run this as root"
    return "; start containerd, or name its socket with --address"


def read_blobs(table: str) -> dict[str, dict[str, str]]:
    """Read `ctr content ls`, the labels of each blob: DIGEST, SIZE, AGE (with spaces), LABELS.

    Raises:
        EngineError: Its columns are others.
    """
    rows = _rows(table, ("DIGEST", "SIZE", "AGE", "LABELS"), _CONTENT)
    return {row["digest"]: _labels(row["labels"]) for row in rows}


def read_snapshots(table: str) -> dict[str, str]:
    """Read `ctr snapshots ls`, the kind of each snapshot: KEY, PARENT (may be empty), KIND.

    Keys with spaces, such as those of an image that is being unpacked, are left out.

    Raises:
        EngineError: Its columns are others.
    """
    return {row["key"]: row["kind"] for row in _rows(table, ("KEY", "PARENT", "KIND"), _SNAPSHOT)}


def _lines(text: str) -> list[str]:
    """Return the lines of what ctr printed: names may have all other characters at which `str.splitlines` splits."""
    return text.removesuffix("\n").split("\n") if text else []


def _rows(table: str, columns: Sequence[str], row: re.Pattern[str]) -> list[re.Match[str]]:
    title, *lines = _lines(table) or [""]
    if title.split() != list(columns):
        expected = " ".join(columns)
        raise EngineError(
            f"ctr: it printed the columns {title!r}, expected {expected}; nixoci does not know its version"
        )
    return [match for line in lines if (match := row.fullmatch(line))]


def _labels(text: str) -> dict[str, str]:
    """Read `key=value,key=value`; a value may have commas, and a part without `=` belongs to the value before it."""
    labels: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals:
            labels[name] = value
            last = name
        elif last:
            labels[last] += f",{part}"
    return labels


def _filter(*, name: str | None = None, digest: str, labels: Mapping[str, str] | None = None) -> str:
    """Return a filter of images (containerd `pkg/filters`); nothing in names, digests and labels needs an escape."""
    values = {"name": name, "target.digest": digest}
    values |= {f'labels."{label}"': value for label, value in (labels or {}).items()}
    return ",".join(f'{field}=="{value}"' for field, value in values.items() if value is not None)


def _assignments(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in labels.items()]
