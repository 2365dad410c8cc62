#!/usr/bin/env bash
# udocker loses the files of each directory that is named dev, and has files that the top directory of a layer deletes.
#
# Version: udocker 1.3.17 (PyPI), tar 1.34 (Debian 12).
#
# Behavior: udocker makes the tree of a container with tar, one layer after the other, and excludes the pattern `dev/*`. tar
# matches a pattern to exclude at the start of any part of a name, so the files of all directories named `dev` are missing,
# at any depth. Before each layer, udocker looks for its whiteouts by the pattern `*/.wh.*`. To name files, tar
# matches a pattern from the start. A layer's `.wh.name` for a file of the top directory does not match, unless it is
# written as `./.wh.name`, and the file stays. Nothing is printed about either, and the exit code is 0.
#
# Why it surprises: the guess is that what cannot be made without root, the devices of /dev, is left out and no other file is.
# The two patterns go wrong for opposite reasons: tar anchors patterns to its command and does not anchor patterns to exclude.
# A small image has no second `dev`, but others do: Symfony reads the settings of its mode dev from config/packages/dev.
# Directories that a build makes at the top and deletes, such as /build, are still there.
#
# Seen on 2026-11-30, for the names in the first layer, those marked by - deleted by the second:
#   dev/null                   missing
#   usr/share/dev/file         missing
#   app/config/dev/file        missing
#   app/config/test/file       there
#   - app/build/file           missing
#   - build/file               there
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv >venv.log || die "python3 -m venv: $(tail -n 1 venv.log)"
venv/bin/pip install --quiet udocker==1.3.17 >pip.log 2>&1 || die "pip: $(tail -n 1 pip.log)"

# an image of two layers, in the form of `docker save`
python3 <<'PYTHON'
import hashlib
import io
import json
import tarfile


def add(archive, name, content=b"content\n"):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def layer(*names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            add(archive, name)
    return stream.getvalue()


old = layer(
    *("dev/null", "usr/share/dev/file", "app/config/dev/file", "app/config/test/file"),
    *("app/build/file", "build/file"),
)
layers = {"1" * 64: old, "2" * 64: layer("app/.wh.build", ".wh.build")}
diff_ids = ["sha256:" + hashlib.sha256(content).hexdigest() for content in layers.values()]
rootfs = {"type": "layers", "diff_ids": diff_ids}
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
config_name = hashlib.sha256(config).hexdigest() + ".json"
image = {"Config": config_name, "RepoTags": ["image:1"], "Layers": [name + "/layer.tar" for name in layers]}
with tarfile.open("image.tar", "w") as archive:
    add(archive, config_name, config)
    parent = {}
    for name, content in layers.items():
        add(archive, name + "/VERSION", b"1.0")
        add(archive, name + "/json", json.dumps({"id": name} | parent).encode())
        add(archive, name + "/layer.tar", content)
        parent = {"parent": name}
    add(archive, "manifest.json", json.dumps([image]).encode())
    add(archive, "repositories", json.dumps({"image": {"1": "2" * 64}}).encode())
PYTHON

# udocker would fetch programs that run containers, which this does not need
udocker() {
  HOME=$work UDOCKER_DIR=$work/udocker UDOCKER_TARBALL=$work/none venv/bin/udocker --allow-root --quiet "$@" 2>&1
}
udocker load --input=image.tar >load.log || die "udocker load: $(tail -n 1 load.log)"
udocker create --name=container image:1 >create.log || die "udocker create: $(tail -n 1 create.log)"
result=""
show() {
  local found=missing
  if [ -e "udocker/containers/container/ROOT/${1#- }" ]; then found=there; fi
  printf -v line '%-26s %s' "$1" "$found"
  echo "$line"
  result+="$line"$'\n'
}
for name in dev/null usr/share/dev/file app/config/dev/file app/config/test/file '- app/build/file' '- build/file'; do
  show "$name"
done
expected="dev/null                   missing
usr/share/dev/file         missing
app/config/dev/file        missing
app/config/test/file       there
- app/build/file           missing
- build/file               there
"
[ "$result" = "$expected" ] || die "udocker reads layers in another way now"
echo "as seen on 2026-11-30"
