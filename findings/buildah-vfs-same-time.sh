#!/usr/bin/env bash
# `buildah build` with the driver vfs leaves a changed file out of its layer if size and second are those of the old file.
#
# Version: buildah 1.39.3 and umoci 0.4.7 (Debian 13); 1.43.2 and 0.6.0 (Debian forky) do the same.
#
# Behavior: two COPY instructions of one build put two files at one path. The files have the same size and times within the
# same second. With --layers and the driver vfs, the second layer has no entry for the path, and the image has
# the content of the first file. With the driver overlay it has that of the second. Nothing is printed, and the exit code
# is 0. Without --layers, a file of the base image stays in the same way, and `buildah commit` leaves a file out that was
# changed in place and got its time back.
#
# Why it surprises: the guess is that drivers differ in speed and space only, and that an instruction which writes a
# file has it in its layer. But vfs has no record of what was written. It compares two directories, and takes a file of
# the same owner, mode, size and time for the same file, where a time without a fraction of a second, as all times from
# a layer are, matches the whole second. Files with equal times are what reproducible builds make (SOURCE_DATE_EPOCH, the
# store of Nix), and what a checkout of Git leaves; "debug=0" is as long as "debug=1". vfs is the driver of builds
# inside of containers, where overlay does not mount.
#
# Seen on 2026-11-29, for a path with "debug=1" and then "debug=0":
#   vfs       times 1, 1: debug=1
#   vfs       times 1.2, 1.4: debug=1
#   vfs       times 1, 2: debug=0
#   overlay   times 1, 1: debug=0
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,netavark,buildah=1.39.3+ds1-1+b7,umoci=0.4.7+ds-4+b10
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch buildah and umoci"
mkdir -p root/etc/containers root/mnt/context root/proc root/tmp root/var/tmp root/sys
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo root:x:0:0:root:/root:/bin/sh >root/etc/passwd

echo debug=1 >root/mnt/context/first
echo debug=0 >root/mnt/context/second
printf '%s\n' 'FROM scratch' 'COPY first /etc/program.conf' 'COPY second /etc/program.conf' >root/mnt/context/Containerfile
cat >root/run.sh <<'END'
set -eu
cd /mnt
try() {
  touch --date="@$2" context/first
  touch --date="@$3" context/second
  rm -rf storage run layout bundle
  buildah --root /mnt/storage --runroot /mnt/run --storage-driver "$1" build --quiet --layers \
    --tag oci:/mnt/layout:image context >log 2>&1 || { cat log; exit 1; }
  umoci unpack --image layout:image bundle 2>log || { cat log; exit 1; }
  printf '%-9s times %s, %s: %s\n' "$1" "$2" "$3" "$(cat bundle/rootfs/etc/program.conf)"
}
try vfs 1 1
try vfs 1.2 1.4
try vfs 1 2
try overlay 1 1
END
enter='mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/tmp && mount --rbind /dev root/dev &&
mount --rbind /sys root/sys && exec chroot root sh /run.sh'
result=$(unshare --mount sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="vfs       times 1, 1: debug=1
vfs       times 1.2, 1.4: debug=1
vfs       times 1, 2: debug=0
overlay   times 1, 1: debug=0"
[ "$result" = "$expected" ] || die "buildah finds changes in another way now"
echo "as seen on 2026-11-29"
