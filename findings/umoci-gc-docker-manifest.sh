#!/usr/bin/env bash
# `umoci gc` deletes the layers of an image whose manifest is of Docker's type, and leaves the image in the index.
#
# Version: umoci 0.4.7 and skopeo 1.18.0 (Debian 13); umoci 0.6.0 and skopeo 1.22.0 (Debian forky) do the same.
#
# Behavior: an OCI layout has one image twice, as an OCI manifest and as a manifest of Docker's type. `umoci gc` follows
# the first to its config and layers. Of the second it keeps the manifest alone, which index.json names, and deletes the
# config and the layer. It prints nothing, the exit code is 0, and index.json stays: `umoci ls` lists both.
#
# Why it surprises: the command removes "unreferenced" blobs, and these are referenced. The specification of the layout
# allows other media types in index.json, and tools write them: `skopeo copy --format v2s2` to an `oci:` layout, and any
# copy that keeps digests, such as `oras cp --to-oci-layout` or `skopeo copy --preserve-digests`, since most registries
# have manifests of Docker's type. The guess is that a collector leaves alone what it cannot read; this one takes a blob of
# an unknown type for one without references. If the two images share a layer, the loss shows only once the
# OCI manifest is gone.
#
# Seen on 2026-11-29, blobs of the image with Docker's manifest, before and after:
#   before   manifest config layer
#   after    manifest
#   umoci ls: docker oci
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=umoci=0.4.7+ds-4+b10,skopeo=1.18.0+ds1-1+b5 trixie root ||
  die "mmdebstrap could not fetch umoci and skopeo"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >policy.json

image() {
  mkdir "$1"
  echo "$1" >"$1/name"
  tar --create --file="$1.tar" --directory="$1" name
  tool umoci new --image "first:$1"
  tool umoci raw add-layer --image "first:$1" "$1.tar" 2>log || die "umoci: $(tail -n 1 log)"
}
tool umoci init --layout first
image oci
image docker
tool skopeo --policy policy.json copy --quiet oci:first:oci oci:layout:oci
tool skopeo --policy policy.json copy --quiet --format=v2s2 oci:first:docker oci:layout:docker

cat >blobs.py <<'END'
import json
from pathlib import Path

layout = Path("layout")


def path(descriptor):
    return layout / "blobs" / descriptor["digest"].replace(":", "/")


images = json.loads((layout / "index.json").read_text())["manifests"]
(descriptor,) = (each for each in images if "docker" in each["mediaType"])
manifest = json.loads(path(descriptor).read_text())
blobs = {"manifest": descriptor, "config": manifest["config"], "layer": manifest["layers"][0]}
print(*(name for name, descriptor in blobs.items() if path(descriptor).exists()))
END
before=$(python3 blobs.py)
tool umoci gc --layout layout
result="before   $before
after    $(python3 blobs.py)
umoci ls: $(tool umoci ls --layout layout | LC_ALL=C sort | paste -sd' ')"
echo "$result"
expected="before   manifest config layer
after    manifest
umoci ls: docker oci"
[ "$result" = "$expected" ] || die "other blobs remain now"
echo "as seen on 2026-11-29"
