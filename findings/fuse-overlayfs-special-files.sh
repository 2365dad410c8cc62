#!/usr/bin/env bash
# fuse-overlayfs makes an empty regular file of a fifo or device of a lower layer when it renames it or sets an attribute.
#
# Version: fuse-overlayfs 1.14 (Debian 13), which Debian forky has too; Linux 6.18 for the kernel's overlayfs.
#
# Behavior: what changes a file of a lower layer copies it to the upper one first. For a fifo or a device node, the copy is an empty
# regular file. `mv` and `setfattr` succeed, and the file has the new name or attribute. `chmod` and `chown` say "Input/output
# error", and have set mode or owner of the regular file that is there now. A fifo in a directory that is renamed, one that nobody
# changes and one made in the upper layer stay fifos. The kernel's overlayfs, with the same layers, keeps the type in each case.
#
# Why it surprises: fuse-overlayfs is what podman and buildah run without root where they cannot use the kernel's overlayfs, and
# copies content, owners, modes and attributes as that does. It makes new fifos and devices, and shows those of the lower
# layers; the guess for what it cannot copy up is a refusal. The failing `chmod` looks like one, and has replaced the
# file all the same: a reader of the fifo gets its end at once, and what is written to the `null` of a tree of devices
# stays there.
#
# Seen on 2026-11-30, exit code and type afterwards, of a fifo and of a character device:
#                   kernel                               fuse-overlayfs
#   nothing         0 fifo, 0 character special file     0 fifo, 0 character special file
#   mv              0 fifo, 0 character special file     0 regular empty file, 0 regular empty file
#   setfattr        0 fifo, 0 character special file     0 regular empty file, 0 regular empty file
#   chmod           0 fifo, 0 character special file     1 regular empty file, 1 regular empty file
#   chown           0 fifo, 0 character special file     1 regular empty file, 1 regular empty file
#   mv directory    0 fifo, 0 character special file     0 fifo, 0 character special file
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,dash,mount,attr,fuse3,fuse-overlayfs=1.14-1*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch fuse-overlayfs"
mkdir -p root/mnt root/proc

cat >root/run.sh <<'END'
set -eu
# a tmpfs, as the kernel's overlayfs takes no upper layer that is in an overlay itself
mount -t tmpfs tmpfs /mnt
cd /mnt
layers=lowerdir=lower,upperdir=upper,workdir=work
overlay() {
  if [ "$1" = kernel ]; then
    mount -t overlay overlay -o $layers merged
  else
    fuse-overlayfs -o $layers merged 2>log || { cat log && exit 1; }
  fi
}
# OVERLAY FILE COMMAND...
try() {
  kind=$1
  file=$2
  shift 2
  rm -rf lower upper work
  mkdir -p lower/directory upper work merged
  mkfifo lower/fifo lower/directory/fifo
  mknod lower/device c 1 3
  mknod lower/directory/device c 1 3
  overlay "$kind"
  code=0
  (cd merged && "$@") >log 2>&1 || code=$?
  # the kernel remembers types of a mounted file system
  umount merged
  overlay "$kind"
  type=$(stat --format=%F "merged/$file")
  umount merged
  printf '%s' "$code $type"
}
both() {
  first=$(try "$1" "$3" $2)
  second=$(try "$1" "$(echo "$3" | sed s/fifo/device/)" $(echo "$2" | sed s/fifo/device/g))
  printf '%s' "$first, $second"
}
show() {
  kernel=$(both kernel "$2" "$3")
  fuse=$(both fuse-overlayfs "$2" "$3")
  printf '%-15s %-36s %s\n' "$1" "$kernel" "$fuse"
}
show nothing true fifo
show mv 'mv fifo new' new
show setfattr 'setfattr -n trusted.a -v b fifo' fifo
show chmod 'chmod 600 fifo' fifo
show chown 'chown 3:4 fifo' fifo
show 'mv directory' 'mv directory new' new/fifo
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C sh /run.sh'
result=$(unshare --mount --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $(head -n 1 log)"
echo "$result"
expected="nothing         0 fifo, 0 character special file     0 fifo, 0 character special file
mv              0 fifo, 0 character special file     0 regular empty file, 0 regular empty file
setfattr        0 fifo, 0 character special file     0 regular empty file, 0 regular empty file
chmod           0 fifo, 0 character special file     1 regular empty file, 1 regular empty file
chown           0 fifo, 0 character special file     1 regular empty file, 1 regular empty file
mv directory    0 fifo, 0 character special file     0 fifo, 0 character special file"
[ "$result" = "$expected" ] || die "other files are copied up now"
echo "as seen on 2026-11-30"
