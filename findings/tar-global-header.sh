#!/usr/bin/env bash
# A comment in a tar archive makes /tmp unwritable in podman's driver overlay, and umoci refuse the archive.
#
# Version: tar 1.35, libarchive-tools 3.7.4, erofs-utils 1.8.6, squashfs-tools 4.6.1, squashfs-tools-ng 1.3.2, umoci
#          0.4.7 and skopeo 1.18.0 (Debian 13).
#
# Behavior: `tar --format=pax --pax-option=comment=built,mtime=…` writes an archive that starts with a global header, of
# type `g`, whose records hold for all that follows. The field for its name has /tmp/GlobalHead.1, the form that POSIX
# gives. containers/storage, podman's library, makes a directory `tmp` of mode 755 for a file of that name to come, and
# then ignores the header. The driver overlay, which unpacks a layer by itself, thereby covers the /tmp of mode 1777 of
# the layer below; the driver vfs does not. umoci adds the layer to an image and cannot unpack it: "unknown typeflag
# '\x67'". GNU tar and sqfstar give the file the time of the header; bsdtar, mkfs.erofs, tar2sqfs and containers/storage
# do not.
#
# Why it surprises: `git archive` puts such a header with a comment into each archive, so every reader has met them, and
# the guess is that all obey or skip them. A /tmp of mode 755 stops programs that do not run as root, and no listing of
# the archive shows it. Go's archive/tar hands global headers to its caller as entries of their own, so each program that
# reads layers with it has to know them.
#
# Seen on 2026-11-29, for a file `f` with a time of 1000000000, and 1234567890 in the global header, and for an image of
# a layer with a /tmp of mode 1777 and a layer of the archive:
#   GNU tar            f 644 1234567890
#   bsdtar             f 644 1000000000
#   mkfs.erofs         f 644 1000000000
#   sqfstar            f 644 1234567890
#   tar2sqfs           f 644 1000000000
#   storage, vfs       f 644 1000000000, tmp 1777
#   storage, overlay   f 644 1000000000, tmp 755
#   umoci              unknown typeflag '\x67'
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,findutils,grep,mount,sed,tar=1.35+dfsg-3.1,libarchive-tools,erofs-utils=1.8.6-1
packages+=,squashfs-tools=1:4.6.1-1,squashfs-tools-ng=1.3.2-1,umoci=0.4.7+ds-4+b10,skopeo=1.18.0+ds1-1+b5
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json

cat >root/run.sh <<'END'
set -eu
cd /mnt
export TMPDIR=/tmp LC_ALL=C
show() {
  printf '%-19s' "$1"
  find "$2" -mindepth 1 \( -type d -printf '%P %m\n' -o -printf '%P %m %Ts\n' \) | sort | sed ':a; N; $!ba; s/\n/, /g'
}
echo content >f
touch --date=@1000000000 f
tar --create --file=a.tar --format=pax --pax-option=comment=built,mtime=1234567890.5 --owner=:0 --group=:0 f
mkdir gnu bsd
tar --extract --file=a.tar --directory=gnu
show 'GNU tar' gnu
bsdtar -x -f a.tar -C bsd
show bsdtar bsd
mkfs.erofs --quiet --tar=f a.erofs a.tar
fsck.erofs --extract=erofs a.erofs >log
show mkfs.erofs erofs
sqfstar -quiet -no-progress first.squashfs <a.tar
unsquashfs -quiet -no-progress -dest first first.squashfs
show sqfstar first
tar2sqfs --quiet second.squashfs <a.tar
unsquashfs -quiet -no-progress -dest second second.squashfs
show tar2sqfs second
mkdir --parents base/tmp merged
chmod 1777 base/tmp
tar --create --file=base.tar --owner=:0 --group=:0 --directory=base tmp
umoci init --layout layout
umoci new --image layout:a
umoci raw add-layer --image layout:a base.tar 2>log
umoci raw add-layer --image layout:a a.tar 2>log
for driver in vfs overlay; do
  skopeo copy --quiet oci:layout:a "containers-storage:[$driver@/mnt/$driver+/mnt/run]localhost/a"
done
show 'storage, vfs' "$(dirname vfs/vfs/dir/*/f)"
upper=$(dirname overlay/overlay/*/diff/f)
lower=$(ls -d overlay/overlay/*/diff | grep --invert-match "$upper")
mount -t overlay -o "lowerdir=$upper:$lower" overlay merged
show 'storage, overlay' merged
printf 'umoci              '
umoci unpack --image layout:a bundle 2>log && show '' bundle/rootfs || grep --only-matching 'unknown typeflag.*' log
END
result=$(unshare --mount sh -c "mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/mnt && chroot root sh /run.sh") || die "the commands failed: $result"
echo "$result"
expected="GNU tar            f 644 1234567890
bsdtar             f 644 1000000000
mkfs.erofs         f 644 1000000000
sqfstar            f 644 1234567890
tar2sqfs           f 644 1000000000
storage, vfs       f 644 1000000000, tmp 1777
storage, overlay   f 644 1000000000, tmp 755
umoci              unknown typeflag '\x67'"
[ "$result" = "$expected" ] || die "the archive is read in another way now"
echo "as seen on 2026-11-29"
