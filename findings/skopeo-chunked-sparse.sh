#!/usr/bin/env bash
# skopeo writes a damaged layer for a sparse file if it compresses to zstd:chunked, and reports success.
#
# Version: skopeo 1.22.0, umoci 0.6.0, zstd 1.5.7 (Debian forky).
#
# Behavior: a layer has a file with a hole, which `tar --format=pax --sparse` wrote as a map and the data. With
# `--dest-compress-format=zstd:chunked`, skopeo copies the header of the entry as it is, and behind it the file with its
# hole filled up, which is longer than the header says. What follows is no archive any more. The manifest names the new
# blob, and the config still has the digest of the old content. The exit code is 0. With zstd or gzip, the layer keeps its
# content. A sparse file of the GNU format is refused: "unknown tarball type: 83".
#
# Why it surprises: zstd:chunked is Zstandard with a table of contents behind it, which readers that do not know it
# ignore: the archive itself is not to change. A compressor that parses what it compresses is bound to fail at what it
# does not know, and the guess is that it then fails; here the digest of the input is computed next to it, and nobody
# compares. The copy succeeds, and each use of it fails: in umoci and tar at the end of the file, in podman's storage at
# the digest. The GNU format, which has no place in the specification of layers, is the safe one of the two.
#
# Seen on 2026-11-29, for the files `a` (1 byte), `holes` (1 MiB with 1 byte) and `z` (1 byte):
#   gzip           exit code 0; layer as before; a holes z
#   zstd           exit code 0; layer as before; a holes z
#   zstd:chunked   exit code 0; another layer; read next entry: unexpected EOF
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
  --include=skopeo=1.22.0+ds1-1,umoci=0.6.0+ds-1+b1,zstd=1.5.7+dfsg-4 forky root ||
  die "mmdebstrap could not fetch the tools"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >policy.json

mkdir tree
echo -n a | tee tree/a >tree/z
truncate --size=1M tree/holes
echo -n b | dd of=tree/holes bs=1 seek=500000 conv=notrunc status=none
tar --create --format=pax --sparse --sort=name --file=layer.tar --directory=tree a holes z
tool umoci init --layout layout
tool umoci new --image layout:first
tool umoci raw add-layer --image layout:first layer.tar 2>log || die "umoci: $(tail -n 1 log)"
before=$(sha256sum <layer.tar)

show() {
  local code=0 digest layer="another layer" files
  tool skopeo --policy policy.json copy --quiet --dest-compress-format="$1" --dest-force-compress-format \
    oci:layout:first oci:layout:second 2>log || code=$?
  digest=$(tool skopeo inspect --format='{{index .Layers 0}}' oci:layout:second)
  if [ "$1" = gzip ]; then
    gzip --decompress --stdout "layout/blobs/${digest/://}" >content
  else
    tool zstd --quiet --decompress --stdout "layout/blobs/${digest/://}" >content
  fi
  [ "$(sha256sum <content)" != "$before" ] || layer="layer as before"
  rm -rf bundle
  if tool umoci unpack --image layout:second bundle 2>log; then
    files=$(cd bundle/rootfs && echo *)
    diff --recursive tree bundle/rootfs >/dev/null || files+=", with other content"
  else
    files=$(grep --only-matching 'read next entry: unexpected EOF' log) || die "umoci: $(tail -n 1 log)"
  fi
  printf '%-14s exit code %s; %s; %s\n' "$1" "$code" "$layer" "$files"
}
result="$(show gzip)
$(show zstd)
$(show zstd:chunked)"
echo "$result"
expected="gzip           exit code 0; layer as before; a holes z
zstd           exit code 0; layer as before; a holes z
zstd:chunked   exit code 0; another layer; read next entry: unexpected EOF"
[ "$result" = "$expected" ] || die "the layer is compressed in another way now"
echo "as seen on 2026-11-29"
