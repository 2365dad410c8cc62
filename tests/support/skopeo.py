"""A stand-in for skopeo that serves a layout, and pushes to it; tests/host uses the real one."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SCRIPT = """#!{python}
import json, pathlib, shutil, sys
layout, tags, log = pathlib.Path({layout!r}), {tags!r}, pathlib.Path({log!r})
with log.open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
def fail(text):
    sys.exit('time="2026-01-01T00:00:00Z" level=fatal msg="' + text.replace('"', '\\\\"') + '"')
def blob(digest):
    return layout / "blobs" / digest.replace(":", "/")
index = json.loads((layout / "index.json").read_bytes())
known = {{entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in index["manifests"]}}
verb = [word for word in sys.argv[1:] if not word.startswith("-")][0]
reference = [word for word in sys.argv if word.startswith("docker://")][0]
name, at, digest = reference.removeprefix("docker://").partition("@")
if verb == "list-tags":
    print(json.dumps({{"Repository": name, "Tags": tags}}))
    sys.exit()
if verb == "copy" and reference == sys.argv[-1]:
    pushed = pathlib.Path(sys.argv[-2].split(":")[1])
    shutil.copytree(pushed / "blobs", layout / "blobs", dirs_exist_ok=True)
    (entry,) = json.loads((pushed / "index.json").read_bytes())["manifests"]
    tag = name.rpartition(":")[2]
    if not digest:
        described = entry | {{"annotations": {{"org.opencontainers.image.ref.name": tag}}}}
        others = [one for one in index["manifests"] if one["annotations"] != described["annotations"]]
        (layout / "index.json").write_text(json.dumps(index | {{"manifests": [*others, described]}}))
    sys.exit(digest not in ("", entry["digest"]))
digest = digest or known.get(name.rpartition(":")[2])
if digest is None or not blob(digest).exists():
    fail('reading manifest in "' + name + '": manifest unknown')
text = blob(digest).read_bytes()
if verb == "copy":
    target = pathlib.Path(sys.argv[-1].split(":")[1])
    config = [json.loads(text)["config"]] if "--preserve-digests" in sys.argv else []
    for layer in config + json.loads(text)["layers"]:
        copy = target / "blobs" / layer["digest"].replace(":", "/")
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blob(layer["digest"]), copy)
elif "--config" in sys.argv:
    sys.stdout.buffer.write(blob(json.loads(text)["config"]["digest"]).read_bytes())
else:
    sys.stdout.buffer.write(text)
"""


@dataclass(frozen=True)
class Skopeo:
    """A program on PATH that answers for every repository with the same layout."""

    log: Path

    def calls(self) -> list[list[str]]:
        """Return the arguments of all calls so far, and forget them."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


def install_skopeo(
    monkeypatch: pytest.MonkeyPatch, folder: Path, layout: Path, tags: list[str] | None = None
) -> Skopeo:
    """Put a stand-in for skopeo that serves `layout` first on PATH."""
    log = folder / "skopeo.log"
    script = SCRIPT.format(python=sys.executable, layout=str(layout), tags=tags or [], log=str(log))
    install_program(monkeypatch, folder, "skopeo", script)
    return Skopeo(log)


def install_program(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    """Put a script first on PATH."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / name
    program.write_text(script, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
