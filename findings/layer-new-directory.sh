#!/usr/bin/env bash
# A layer that deletes a directory and has a new one of that name shows the old files in podman and mkfs.erofs.
#
# Version: umoci 0.4.7, skopeo 1.18.0 and erofs-utils 1.8.6 (Debian 13); 0.6.0, 1.22.0 and 1.9.4 (Debian forky) do the same.
#
# Behavior: a layer has the whiteout `.wh.dir`, a directory `dir` and the file `dir/new`; `dir/old` is in the layer below.
# containers/storage, podman's library, replaces the device that it made for the whiteout by a directory that it does not
# mark opaque: with the driver overlay, `old` is there again; the driver vfs is right then. If the whiteout comes after the
# directory, both drivers refuse the layer, each with its own message. `mkfs.erofs --tar --aufs`, containerd's converter,
# knows one name for the whiteout and what it hides: the later of the two wins, so either `old` is there again, or `new`
# is missing too. Its exit code is 0. With the opaque marker `dir/.wh..wh..opq` instead, each has `new` alone.
#
# Why it surprises: image-spec says that a whiteout hides what is in lower layers only, and that files of its own layer
# stay. So the two ways to write a replaced directory mean the same, and the guess is that tools for overlayfs, which
# has both whiteouts and opaque directories, map one to the other. But a directory that takes the place of a whiteout
# merges with all below, unless it says otherwise. A tool that squashes or rewrites layers has to write the marker.
#
# Seen on 2026-11-29, files of the image below `dir`, by the entries of the upper layer:
#   .wh.dir dir/ dir/new
#     umoci              dir/new
#     storage, vfs       dir/new
#     storage, overlay   dir/new dir/old
#     mkfs.erofs         dir/new dir/old
#   dir/ dir/new .wh.dir
#     umoci              dir/new
#     storage, vfs       chtimes /dir: no such file or directory
#     storage, overlay   file exists
#     mkfs.erofs         nothing
#   dir/ dir/.wh..wh..opq dir/new
#     umoci              dir/new
#     storage, vfs       dir/new
#     storage, overlay   dir/new
#     mkfs.erofs         dir/new
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,findutils,grep,mount,sed,tar,erofs-utils=1.8.6-1,umoci=0.4.7+ds-4+b10,skopeo=1.18.0+ds1-1+b5
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/dev root/tmp root/var/tmp
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json

cat >root/run.sh <<'END'
set -eu
cd /mnt
export TMPDIR=/tmp LC_ALL=C
show() {
  files=$(cd "$2" && if [ -d dir ]; then find dir -type f; fi | sort | paste -sd ' ')
  printf '  %-19s%s\n' "$1" "${files:-nothing}"
}
# the directory in which a file has the path dir/NAME
holder() { dirname "$(dirname "$1")"; }
# the messages of two programs end in the cause, with or without a number of an exit status
refused() { printf '  %-19s%s\n' "$1" "$(grep --only-matching --max-count=1 'chtimes /dir: no such file or directory\|file exists' log | head -n 1)"; }
merge() {
  mkdir --parents merged
  mount -t overlay -o "lowerdir=$2:$3" overlay merged
  show "$1" merged
  umount merged
}
mkdir --parents base/dir layer/dir lower upper
echo old >base/dir/old
echo new >layer/dir/new
touch layer/.wh.dir layer/dir/.wh..wh..opq
pack() {
  archive=$1
  shift
  tar --create --file="$archive" --owner=:0 --group=:0 --no-recursion "$@"
}
pack base.tar --directory=base . dir dir/old
mkfs.erofs --quiet --tar=f base.erofs base.tar
mount -t erofs -o loop base.erofs lower
number=0
for entries in '.wh.dir dir/ dir/new' 'dir/ dir/new .wh.dir' 'dir/ dir/.wh..wh..opq dir/new'; do
  echo "$entries"
  pack layer.tar --directory=layer . $entries
  number=$((number + 1))
  layout=layout$number vfs=vfs$number overlay=overlay$number
  umoci init --layout $layout
  umoci new --image $layout:a
  umoci raw add-layer --image $layout:a base.tar 2>log
  umoci raw add-layer --image $layout:a layer.tar 2>log
  umoci unpack --image $layout:a bundle$number 2>log
  show umoci bundle$number/rootfs
  if skopeo copy --quiet oci:$layout:a "containers-storage:[vfs@/mnt/$vfs+/mnt/storage]localhost/a" 2>log; then
    show 'storage, vfs' "$(holder $vfs/vfs/dir/*/dir/new)"
  else
    refused 'storage, vfs'
  fi
  if skopeo copy --quiet oci:$layout:a "containers-storage:[overlay@/mnt/$overlay+/mnt/storage]localhost/a" 2>log; then
    merge 'storage, overlay' "$(holder $overlay/overlay/*/diff/dir/new)" "$(holder $overlay/overlay/*/diff/dir/old)"
  else
    refused 'storage, overlay'
  fi
  mkfs.erofs --quiet --tar=f --aufs layer.erofs layer.tar 2>log
  mount -t erofs -o loop layer.erofs upper
  merge mkfs.erofs upper lower
  umount upper
done
umount lower
END
result=$(unshare --mount sh -c "mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount -t tmpfs tmpfs root/mnt && chroot root sh /run.sh") || die "the commands failed: $result"
echo "$result"
expected=".wh.dir dir/ dir/new
  umoci              dir/new
  storage, vfs       dir/new
  storage, overlay   dir/new dir/old
  mkfs.erofs         dir/new dir/old
dir/ dir/new .wh.dir
  umoci              dir/new
  storage, vfs       chtimes /dir: no such file or directory
  storage, overlay   file exists
  mkfs.erofs         nothing
dir/ dir/.wh..wh..opq dir/new
  umoci              dir/new
  storage, vfs       dir/new
  storage, overlay   dir/new
  mkfs.erofs         dir/new"
[ "$result" = "$expected" ] || die "the layer is read in another way now"
echo "as seen on 2026-11-29"
