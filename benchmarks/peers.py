"""Programs of the delta benchmark that the test host lacks: ostree, tar-diff, and peers that are Python libraries.

tar-diff is in no registry. Its checkout is looked for at NIXOCI_TAR_DIFF, and built with Debian's Go and Debian's
packages of the two libraries that it needs; Debian has one of them under its newer name.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import INSIDE as TOOLS
from benchmarks.tools import command, tools
from tests.host.cache import cached, key
from tests.host.process import LONG, run
from tests.host.python import CHECKOUT

PACKAGES = ("ostree", "golang-go", "golang-github-klauspost-compress-dev", "golang-github-containers-image-dev")
INSIDE = "/peers"
"""Where machines see the commands of the peers."""

RENAMED = ("github.com/containers/image/v5", "go.podman.io/image/v5")

LIBRARIES = {"files, FastCDC chunks, xz": "fastcdc", "files, detools": "detools"}
"""The packages of the methods that library_peers.py measures."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The folders of the peers."""

    tools: Path
    commands: Path

    @property
    def binds(self) -> dict[Path, str]:
        return {self.tools: TOOLS, self.commands: INSIDE}


def peers() -> Peers:
    """Return the peers' programs, built if they are not in the cache."""
    root = tools(PACKAGES)
    named = os.environ.get("NIXOCI_TAR_DIFF")
    source = Path(named) if named else None
    parts: list[str | Path] = [Path(__file__), str(root), *([source / "cmd", source / "pkg"] if source else [])]
    commands = cached(f"peers-{key(*parts)}", lambda folder: _build(folder, root, source))
    return Peers(root, commands)


def pinned(group: str) -> list[str]:
    """Return the requirements of a dependency group."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted: list[str] = project["dependency-groups"][group]
    return wanted


def packages(group: str) -> Path:
    """Return a cached folder with the requirements of a dependency group, for PYTHONPATH."""
    wanted = pinned(group)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]

    def build(folder: Path) -> None:
        run([*install, f"--target={folder / 'packages'}", *wanted], timeout=LONG)

    return cached(f"benchmarks-{key(sys.version, *wanted)}", build) / "packages"


def _build(folder: Path, root: Path, source: Path | None) -> None:
    ostree = folder / "ostree"
    ostree.write_text(f'#!/bin/sh\nexec {" ".join(command("ostree"))} "$@"\n', encoding="utf-8")
    ostree.chmod(0o755)
    if source:
        _build_tar_diff(folder, root, source)


def _build_tar_diff(folder: Path, root: Path, source: Path) -> None:
    package = folder / "go/src/github.com/containers/tar-diff"
    for part in ("cmd", "pkg", "go.mod"):
        copy = shutil.copytree if (source / part).is_dir() else shutil.copy
        package.mkdir(parents=True, exist_ok=True)
        copy(source / part, package / part)
    for file in package.rglob("*.go"):
        file.write_text(file.read_text(encoding="utf-8").replace(*RENAMED), encoding="utf-8")
    go = next((root / "usr/lib").glob("go-*"))
    env = os.environ | {
        "GOROOT": str(go),
        "GOPATH": f"{folder / 'go'}:{root / 'usr/share/gocode'}",
        "GOCACHE": str(folder / "cache"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    names = [f"github.com/containers/tar-diff/cmd/{name}" for name in ("tar-diff", "tar-patch")]
    run([go / "bin/go", "build", "-o", f"{folder}/", *names], env=env, timeout=LONG)
    for work in ("go", "cache"):
        shutil.rmtree(folder / work)
