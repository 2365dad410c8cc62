#!/usr/bin/env bash
# fuse-overlayfs makes fifos and device nodes that all may read and write, whatever the umask.
#
# Version: fuse-overlayfs 1.14 (Debian 13), which Debian forky has too; Linux 6.18 for the kernel's overlayfs.
#
# Behavior: with the umask 077, `mkfifo NAME` and `mknod NAME c 1 3` in a mount of fuse-overlayfs make files of mode 666, and so they are in
# the upper layer. Files and directories get 600 and 700. `mkfifo -m 600` works. The kernel's overlayfs and a tmpfs give 600
# in each case.
#
# Why it surprises: the umask belongs to the process, and the guess is that the kernel has taken it from the mode before a file system
# is asked. A file system with default ACLs has to do so itself, also in user space if it says that it does. One that
# forgot it is expected to forget it for all files, which would be seen at once. This one applies the umask to files and
# directories, and passes the mode of the others on as it came. A fifo that a service makes for its own user is one for all users,
# and a layer that is made of the directory has that mode.
#
# Seen on 2026-11-30, modes with umask 077:
#                 file    directory    fifo    device    fifo with -m 600
#   tmpfs         600     700          600     600       600
#   overlayfs     600     700          600     600       600
#   fuse          600     700          666     666       600
#   its layer     600     700          666     666       600
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,dash,mount,fuse3,fuse-overlayfs=1.14-1*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch fuse-overlayfs"
mkdir -p root/mnt root/proc

cat >root/run.sh <<'END'
set -eu
# a tmpfs, as the kernel's overlayfs takes no upper layer that is in an overlay itself
mount -t tmpfs tmpfs /mnt
cd /mnt
mkdir lower merged
make() (
  cd "$1"
  umask 077
  : >file
  mkdir directory
  mkfifo fifo
  mknod device c 1 3
  mkfifo -m 600 exact
)
show() {
  cd "$2"
  printf '%-13s %-7s %-12s %-7s %-9s %s\n' "$1" $(stat --format=%a file directory fifo device exact)
  cd /mnt
}
mount -t tmpfs tmpfs merged
make merged
show tmpfs merged
umount merged
mkdir upper work
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
make merged
show overlayfs merged
umount merged
rm -r upper work
mkdir upper work
fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work merged 2>log || { cat log && exit 1; }
make merged
show fuse merged
umount merged
show 'its layer' upper
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C sh /run.sh'
result=$(unshare --mount --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $(head -n 1 log)"
echo "$result"
expected="tmpfs         600     700          600     600       600
overlayfs     600     700          600     600       600
fuse          600     700          666     666       600
its layer     600     700          666     666       600"
[ "$result" = "$expected" ] || die "other modes are given now"
echo "as seen on 2026-11-30"
