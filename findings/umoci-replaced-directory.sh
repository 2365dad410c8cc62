#!/usr/bin/env bash
# A directory that becomes a symbolic link takes files of the link's target away in the layer that umoci writes.
#
# Version: umoci 0.4.7 and skopeo 1.18.0 (Debian 13); umoci 0.6.0 and skopeo 1.22.0 (Debian forky) do the same.
#
# Behavior: `bin/` with `bin/ls` is replaced with a symbolic link to `usr/bin`, which has an `ls` of its own, as when the
# directories of a system are merged into /usr. `umoci repack` writes the link `bin`, and after it a whiteout
# `bin/.wh.ls` for each file of the old directory. Whoever applies the layer in its order finds the link, and the whiteout
# behind it: `umoci unpack` and the driver vfs of containers/storage, podman's library, remove `usr/bin/ls`, which nobody
# deleted, and report success. The driver overlay refuses the layer, as `usr/bin` is not in it: "no such file or
# directory".
#
# Why it surprises: an unpack of what was packed gives another tree, with one tool. A layer that replaces a directory needs
# no whiteouts below it, since entries of a layer hide what was at their path. The specification of images lets whiteouts
# act on lower layers only, where `bin` is a directory still; then nothing is lost. systemd-pull 262, which keeps layers
# apart too, fails like the driver overlay ("Not a directory").
#
# Seen on 2026-11-29:
#   layer            bin -> usr/bin, bin/.wh.ls
#   before           bin usr usr/bin usr/bin/cp usr/bin/ls
#   umoci            bin usr usr/bin usr/bin/cp
#   storage, vfs     bin usr usr/bin usr/bin/cp
#   storage, overlay unpacking failed (error: exit status 1; output: no such file or directory)
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=base-files,dash,coreutils,findutils,grep,umoci=0.4.7+ds-4+b10,skopeo=1.18.0+ds1-1+b5 trixie root ||
  die "mmdebstrap could not fetch umoci and skopeo"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json

cat >root/run.sh <<'END'
set -eu
cd /mnt
names() { find "$1" -mindepth 1 -printf '%P\n' | LC_ALL=C sort | tr '\n' ' '; echo; }
umoci init --layout layout
umoci new --image layout:a
umoci unpack --image layout:a lower 2>/dev/null
mkdir -p lower/rootfs/bin lower/rootfs/usr/bin
for file in bin/ls usr/bin/ls usr/bin/cp; do echo $file >lower/rootfs/$file; done
umoci repack --image layout:a lower 2>/dev/null
umoci unpack --image layout:a upper 2>/dev/null
rm -r upper/rootfs/bin
ln -s usr/bin upper/rootfs/bin
umoci repack --image layout:a upper 2>/dev/null
printf 'before           '
names upper/rootfs
umoci unpack --image layout:a again 2>/dev/null
printf 'umoci            '
names again/rootfs
for driver in vfs overlay; do
  printf 'storage, %-8s' $driver
  if skopeo copy --quiet oci:layout:a "containers-storage:[$driver@/mnt/$driver+/mnt/run]localhost/a" 2>log; then
    # the upper of the two layers is the one with the link
    cd "$(dirname "$(find /mnt/$driver/$driver -name bin -type l)")"
    names .
    cd /mnt
  else
    grep -o "unpacking failed.*)" log || cat log
  fi
done
END
result=$(unshare --mount sh -c "mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/mnt && chroot root sh /run.sh") || die "the commands failed: $result"
echo "$result"
expected="before           bin usr usr/bin usr/bin/cp usr/bin/ls 
umoci            bin usr usr/bin usr/bin/cp 
storage, vfs     bin usr usr/bin usr/bin/cp 
storage, overlay unpacking failed (error: exit status 1; output: no such file or directory)"
[ "$result" = "$expected" ] || die "the layer is applied in another way now"
echo "as seen on 2026-11-29"
