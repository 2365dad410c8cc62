#!/usr/bin/env bash
# `buildah add` and `oras push` set the times of half of all files one second later, and Python's bytecode is stale.
#
# Version: buildah 1.43.2, oras 1.3.3, umoci 0.6.0 (Debian forky).
#
# Behavior: the time of a file has a fraction of a second. `buildah commit` and `umoci repack` write the whole seconds of
# it into a layer, as GNU tar does. `buildah add`, which is COPY in a Containerfile, sends files through an archive of its
# own and sets the nearest second in the container, so half a second or more becomes the next one. `oras push` rounds
# too.
#
# Why it surprises: one file has two times in images, by the way it came in. The guess is that all tools drop the fraction,
# as the header of tar has no place for it, and that a second matters to nobody. But Go's archive/tar rounds where
# its caller did not cut, and others compare whole seconds: Python keeps those of a source in its bytecode. After
# COPY of a compiled package, it compiles half of the modules anew at each start, since an image is read-only. Nothing but
# the time of the start tells.
#
# Seen on 2026-11-29, a module with a time of 1000000000.25 and one of 1000000000.75:
#   buildah commit   1000000000, 1000000000 stale: none
#   umoci repack     1000000000, 1000000000 stale: none
#   buildah add      1000000000, 1000000001 stale: late
#   oras push        1000000000, 1000000001 stale: late
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
  --include=base-files,dash,coreutils,tar,gzip,netavark,buildah=1.43.2+ds1-3+b1,oras=1.3.3-1,umoci=0.6.0+ds-1+b1 forky root ||
  die "mmdebstrap could not fetch buildah, oras and umoci"
mkdir -p root/etc/containers root/mnt/source root/proc root/tmp root/var/tmp root/sys
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo root:x:0:0:root:/root:/bin/sh >root/etc/passwd

echo 'value = 1' | tee root/mnt/source/early.py >root/mnt/source/late.py
touch --date=@1000000000.25 root/mnt/source/early.py
touch --date=@1000000000.75 root/mnt/source/late.py
python3 -m compileall -q root/mnt/source

cat >root/run.sh <<'END'
set -eu
cd /mnt
tool() { buildah --root /mnt/storage --runroot /mnt/run --storage-driver vfs "$@"; }
image() {
  tool commit --quiet "$2" "oci:/mnt/layout:$1" >>log
  umoci unpack --image "layout:$1" "bundle-$1" 2>>log
  mv "bundle-$1/rootfs" "$1"
}
container=$(tool from scratch)
cp --archive source/. "$(tool mount "$container")"
image committed "$container"
container=$(tool from scratch)
tool add --quiet "$container" source / >>log
image added "$container"
umoci new --image layout:empty
umoci unpack --image layout:empty bundle 2>>log
cp --archive source/. bundle/rootfs
umoci repack --image layout:repacked bundle 2>>log
umoci unpack --image layout:repacked bundle-repacked 2>>log
mv bundle-repacked/rootfs repacked
oras push --no-tty --oci-layout artifact:1 source >>log
oras pull --no-tty --oci-layout --output pulled artifact:1 >>log
mv pulled/source pushed
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys && exec chroot root sh /run.sh'
unshare --mount sh -c "$enter" || die "the commands failed"

show() {
  local stale="" name
  for name in early late; do
    PYTHONPATH=root/mnt/$2 python3 -B -v -c "import $name" 2>log
    ! grep --quiet "bytecode is stale for '$name'" log || stale+=" $name"
  done
  echo "$1$(stat --format=%Y "root/mnt/$2/early.py"), $(stat --format=%Y "root/mnt/$2/late.py") stale:${stale:- none}"
}
result="$(show 'buildah commit   ' committed)
$(show 'umoci repack     ' repacked)
$(show 'buildah add      ' added)
$(show 'oras push        ' pushed)"
echo "$result"
expected="buildah commit   1000000000, 1000000000 stale: none
umoci repack     1000000000, 1000000000 stale: none
buildah add      1000000000, 1000000001 stale: late
oras push        1000000000, 1000000001 stale: late"
[ "$result" = "$expected" ] || die "the times are set in another way now"
echo "as seen on 2026-11-29"
