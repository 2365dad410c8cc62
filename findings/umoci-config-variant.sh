#!/usr/bin/env bash
# Each change by `umoci config` drops the variant of the platform, since the version that has an option to set it.
#
# Version: umoci 0.6.0 (Debian forky); 0.4.7 (Debian 13) keeps the variant.
#
# Behavior: the config of an image says arm and v6. umoci 0.6.0 can set this with `--platform.variant`. Without the option,
# `umoci config` writes a config that has no `variant`, whatever else it was asked to change, and so does `umoci repack` if
# nothing changed. If something did, `umoci repack` keeps it. umoci 0.4.7, which has no such option, keeps it too.
#
# Why it surprises: the guess for an option that is not given is that its field stays, as architecture and system do, and
# that a repack without a change gives the same image. Builders repack and then set labels, so it is the second step
# that loses what the first one kept. An image of arm without a variant is one of v7 for containerd, and one of amd64/v3
# then passes for one that runs everywhere.
#
# Seen on 2026-11-29:
#   0.4.7, config                     v6
#   0.4.7, repack without a change    v6
#   0.4.7, repack                     v6
#   0.6.0, config                     none
#   0.6.0, repack without a change    none
#   0.6.0, repack                     v6
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=umoci=0.4.7+ds-4+b10 trixie 0.4.7 || die "mmdebstrap could not fetch umoci 0.4.7"
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include=umoci=0.6.0+ds-1+b1 forky 0.6.0 ||
  die "mmdebstrap could not fetch umoci 0.6.0"

cat >layout.py <<'END'
"""Write an OCI layout with an image of arm/v6, or print the variant of an image."""

import hashlib
import io
import json
import os
import sys
import tarfile

TYPE = "application/vnd.oci.image."


def blob(content, media_type):
    digest = hashlib.sha256(content).hexdigest()
    with open("layout/blobs/sha256/" + digest, "wb") as file:
        file.write(content)
    return {"mediaType": TYPE + media_type, "digest": "sha256:" + digest, "size": len(content)}


def write():
    os.makedirs("layout/blobs/sha256")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    layer = blob(stream.getvalue(), "layer.v1.tar")
    config = {"architecture": "arm", "os": "linux", "variant": "v6", "config": {}}
    config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"]]}
    manifest = {"schemaVersion": 2, "mediaType": TYPE + "manifest.v1+json", "layers": [layer]}
    manifest["config"] = blob(json.dumps(config).encode(), "config.v1+json")
    image = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    image["annotations"] = {"org.opencontainers.image.ref.name": "image"}
    with open("layout/index.json", "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [image]}, file)
    with open("layout/oci-layout", "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


def load(path):
    with open("layout/" + path) as file:
        return json.load(file)


def read(name):
    images = load("index.json")["manifests"]
    (image,) = (each for each in images if each["annotations"]["org.opencontainers.image.ref.name"] == name)
    manifest = load("blobs/" + image["digest"].replace(":", "/"))
    print(load("blobs/" + manifest["config"]["digest"].replace(":", "/")).get("variant", "none"))


if len(sys.argv) > 1:
    read(sys.argv[1])
else:
    write()
END

result=""
show() {
  printf -v line '%-33s %s' "$1" "$(python3 layout.py "$2")"
  echo "$line"
  result+="$line"$'\n'
}
try() {
  local libraries loader
  libraries=$1/usr/lib/$(uname -m)-linux-gnu
  loader=$(echo "$libraries"/ld-linux-*.so.?)
  tool() { "$loader" --library-path "$libraries" "$1/usr/bin/umoci" "${@:2}" 2>log || die "umoci: $(tail -n 1 log)"; }
  rm -rf layout bundle
  python3 layout.py
  tool "$1" config --image layout:image --tag config --config.label a=b
  show "$1, config" config
  tool "$1" unpack --image layout:image bundle
  tool "$1" repack --image layout:same bundle
  show "$1, repack without a change" same
  rm -rf bundle
  tool "$1" unpack --image layout:image bundle
  echo text >bundle/rootfs/new
  tool "$1" repack --image layout:changed bundle
  show "$1, repack" changed
}
try 0.4.7
try 0.6.0
expected="0.4.7, config                     v6
0.4.7, repack without a change    v6
0.4.7, repack                     v6
0.6.0, config                     none
0.6.0, repack without a change    none
0.6.0, repack                     v6
"
[ "$result" = "$expected" ] || die "umoci keeps other variants now"
echo "as seen on 2026-11-29"
