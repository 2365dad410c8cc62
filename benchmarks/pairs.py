"""Updates besides those of the sample images: other languages, another architecture, a kernel, a major release.

Each is the packages of Debian with all that they depend on, unpacked and not configured, so that another architecture
needs no emulator: one layer of an image before its updates, and one after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.host.apt import debootstrap
from tests.host.cache import cached, key
from tests.host.images import Image, Pair, images_dir
from tests.host.machine import Machine
from tests.host.process import LONG
from tests.host.rootfs import rootfs


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A suite of Debian, as released or with its updates."""

    suite: str = "bookworm"
    updates: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """Packages and their update.

    Attributes:
        packages: Their names.
        why: The update in a few words.
        old: The release of the older ones.
        new: The release of the newer ones.
        architecture: Debian's name of theirs.
    """

    packages: tuple[str, ...]
    why: str
    old: Release = Release()
    new: Release = Release(updates=True)
    architecture: str = "amd64"


PAIRS = {
    "java": Packages(
        packages=("tomcat10", "openjdk-17-jre-headless"),
        why="Tomcat and OpenJDK rebuilt: jars, and one file of 100 MB that holds all classes",
    ),
    "node": Packages(
        packages=("npm", "node-lodash"), why="Node.js rebuilt, some of the 350 packages below npm with other versions"
    ),
    "go": Packages(packages=("git-lfs",), why="a program of Go with its tables of lines, and git beside it"),
    "php": Packages(packages=("php8.2-fpm", "php8.2-mysql"), why="four patch releases of an interpreter"),
    "arm64": Packages(
        packages=("nginx-core", "redis-server", "python3", "openssl"),
        why="the updates of three sample images for another architecture",
        architecture="arm64",
    ),
    "kernel": Packages(
        packages=("linux-image-amd64",), why="a kernel whose modules all changed, and moved to another directory"
    ),
    "major": Packages(
        packages=("nginx", "python3", "openssl"),
        why="from one release of Debian to the next: every file is of another compiler",
        old=Release(updates=True),
        new=Release(suite="trixie", updates=True),
    ),
}
"""The updates by name."""


def package_pair(name: str) -> Pair:
    """Return the two images of an update, built if they are not in the cache."""
    packages = PAIRS[name]
    folder = cached(f"images/{name}-{key(repr(packages), Path(__file__))}", lambda folder: _build(folder, name))
    old, new = (Image(name=name, tag=tag, layout=folder / name) for tag in ("1", "2"))
    return Pair(old=old, new=new)


def _build(folder: Path, name: str) -> None:
    packages = PAIRS[name]
    rootfs()
    images_dir()
    for tag, release in (("1", packages.old), ("2", packages.new)):
        debootstrap(
            folder / f"{tag}.tar",
            release.suite,
            packages.packages,
            updates=release.updates,
            variant="extract",
            options=(f"--architectures={packages.architecture}",),
        )
    with Machine(writable={folder: "/out"}) as machine:
        for tag in ("1", "2"):
            local = f"localhost/{name}:{tag}"
            machine.run(["podman", "import", f"/out/{tag}.tar", local], timeout=LONG)
            machine.run(
                ["skopeo", "copy", "--quiet", f"containers-storage:{local}", f"oci:/out/{name}:{tag}"], timeout=LONG
            )
            machine.run(["podman", "rmi", local])
            (folder / f"{tag}.tar").unlink()


PATHS = 300
"""The number of packages of the system below."""

# Prints the packages of this machine, each with its files in /usr and with those that it needs and that come before it.
SYSTEM_PACKAGES = r"""
import json, re, subprocess, sys
count = int(sys.argv[1])
query = ["dpkg-query", "--show", "--showformat=${Package}\t${Pre-Depends}, ${Depends}\n"]
lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
needs = {name: re.findall(r"(?:^|, )([a-z0-9.+-]+)", text) for name, text in (line.split("\t") for line in lines)}
order, seen = [], set()
def visit(name):
    if name in needs and name not in seen:
        seen.add(name)
        for other in needs[name]:
            visit(other)
        order.append(name)
for name in sorted(needs):
    visit(name)
made = {}
for name in order[:count]:
    listed = subprocess.run(["dpkg", "--listfiles", name], check=True, capture_output=True, text=True).stdout
    made[name] = {
        "files": sorted(file for file in listed.split("\n") if file.startswith("/usr/")),
        "needs": sorted({other for other in needs[name] if other in made}),
    }
json.dump(made, sys.stdout)
"""

# A system of Nix before and after a change at its bottom: programs and scripts name the paths that they need, so that
# each path is another one, and of the files only those differ.
SYSTEM = r"""
let
  packages = builtins.fromJSON (builtins.readFile (builtins.getEnv "PACKAGES"));
  system = version: let
    built = builtins.mapAttrs (name: package: derivation {
      inherit name;
      system = builtins.currentSystem;
      builder = "/usr/bin/python3";
      files = builtins.toFile "files" (builtins.concatStringsSep "\n" package.files);
      needs = map (other: built.${other}) package.needs;
      version = if package.needs == [ ] then version else "";
      args = [ "-c" ''
        import os, pathlib
        out, needs = pathlib.Path(os.environ["out"]), os.environ["needs"].split()
        out.mkdir()
        (out / "version").write_text(os.environ["version"])
        references = "".join(f"\0{path}/lib" for path in [*needs, str(out)]).encode()
        for name in pathlib.Path(os.environ["files"]).read_text().split("\n"):
            file = pathlib.Path(name)
            if not name or not file.is_file() or file.is_symlink():
                continue
            to = out / file.relative_to("/usr")
            to.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            to.write_bytes(content + references if content.startswith((b"\x7fELF", b"#!")) else content)
      '' ];
    }) packages;
  in derivation {
    name = "system";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    paths = builtins.attrValues built;
    args = [ "-c" "echo $paths > $out" ];
  };
in [ (system "1") (system "2") ]
"""
