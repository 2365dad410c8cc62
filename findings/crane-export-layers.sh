#!/usr/bin/env bash
# `crane export` writes a tree that is not the image's, with files of deleted directories and changed hard links.
#
# Version: crane 0.20.7, umoci 0.6.0 and skopeo 1.22.0 (Debian forky).
#
# Behavior: `crane export` merges the layers of an image into one archive, as `crane flatten` does. Its library reads them
# from the top down and keeps the first entry of each name. So a hard link whose target a later layer replaced gets the
# new content, and one whose target a later layer deleted points to nothing, at which tar fails. The whiteout of a
# directory hides what its own layer puts in its place. An opaque whiteout hides nothing. The exit code of crane is 0.
#
# Why it surprises: exporting is the simplest use of a library on which many builders and scanners stand, and the guess is
# that it agrees with engines on whiteouts, which the specification of images defines. To read from the top down
# avoids writing files only to delete them again, and looks equal. But a hard link is a name of an inode, not of
# a path, and whiteouts act on lower layers only. Each way out needs more than one pass.
#
# Seen on 2026-11-29, with the content of each file, for an image of two layers:
#   lower   again/old link=old name opaque/old replaced=old target; `link` is a hard link to `replaced`, `name` to `target`
#   upper   .wh.again again/new .wh.target opaque/.wh..wh..opq opaque/new replaced=new
#   umoci   again/new=new link=old name=kept opaque/new=new replaced=new
#   crane   link=new opaque/new=new opaque/old=old replaced=new; tar: exit code 2
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
  --include=crane=0.20.7+ds1-5,umoci=0.6.0+ds-1+b1,skopeo=1.22.0+ds1-1 forky root ||
  die "mmdebstrap could not fetch crane, umoci and skopeo"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >policy.json

mkdir -p lower/{again,opaque} upper/{again,opaque}
echo old | tee lower/again/old lower/opaque/old >lower/replaced
ln lower/replaced lower/link
echo kept >lower/target
ln lower/target lower/name
echo new | tee upper/again/new upper/opaque/new >upper/replaced
touch upper/.wh.again upper/.wh.target upper/opaque/.wh..wh..opq
# the names of hard links after their targets
tar --create --file=lower.tar --owner=:0 --group=:0 --directory=lower again opaque replaced link target name
tar --create --file=upper.tar --owner=:0 --group=:0 --directory=upper .wh.again again .wh.target opaque replaced

tool umoci init --layout layout
tool umoci new --image layout:a
for layer in lower upper; do
  tool umoci raw add-layer --image layout:a $layer.tar 2>log || die "umoci: $(tail -n 1 log)"
done
tool umoci unpack --image layout:a bundle 2>log || die "umoci: $(tail -n 1 log)"
tool skopeo --policy policy.json copy --quiet oci:layout:a docker-archive:image.tar:test/image:1
tool crane export - exported.tar <image.tar
mkdir exported
code=0
tar --extract --file=exported.tar --directory=exported 2>log || code=$?
show() { (cd "$1" && find . -type f | LC_ALL=C sort | while read -r name; do echo "${name#./}=$(cat "$name")"; done | paste -sd' '); }
result="umoci   $(show bundle/rootfs)
crane   $(show exported); tar: exit code $code"
echo "$result"
expected="umoci   again/new=new link=old name=kept opaque/new=new replaced=new
crane   link=new opaque/new=new opaque/old=old replaced=new; tar: exit code 2"
[ "$result" = "$expected" ] || die "the image is exported in another way now"
echo "as seen on 2026-11-29"
