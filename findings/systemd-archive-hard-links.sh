#!/usr/bin/env bash
# podman takes all permissions from files with hard links, in an archive that systemd made.
#
# Version: systemd 262, umoci 0.6.0, skopeo 1.22.0, erofs-utils 1.9.4, tar 1.35 (Debian forky).
#
# Behavior: `systemd-dissect --make-archive DIRECTORY ARCHIVE` writes a hard link with mode 0, owner 0 and time 0 in its
# header, and the real values in the header of the file. containers/storage, podman's library, makes the link and then
# sets mode, owner and time by its header: on the one inode that both names have. The file is left with mode 0, owned by
# root, of 1970. GNU tar, umoci and mkfs.erofs take the attributes of a file from its own header.
#
# Why it surprises: other archivers repeat the attributes of a file in the header of a link, so it makes no difference which
# one a reader obeys, and the guess is that it never does. Either program works with everybody else's archives.
# systemd-import reads the archive well, and `podman import` takes it without a message; but no user, not even root, can
# start a program that has a second name, such as perl.
#
# Seen on 2026-11-29, mode, owner and time of a file with two names:
#   systemd-dissect    -rwsr-xr-x 5/0 2001-09-09 ./file, h--------- 0/0 1970-01-01 ./link
#   GNU tar            4755 5 1000000000
#   umoci              4755 5 1000000000
#   mkfs.erofs         4755 5 1000000000
#   storage, vfs       0 0 0
#   storage, overlay   0 0 0
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,findutils,grep,sed,tar,systemd-container=262-1,libarchive13t64
packages+=,erofs-utils=1.9.4-1,umoci=0.6.0+ds-1+b1,skopeo=1.22.0+ds1-1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json

cat >root/run.sh <<'END'
set -eu
cd /mnt
export LC_ALL=C
mkdir -p tree/usr/lib gnu
echo ID=test >tree/usr/lib/os-release
echo content >tree/file
ln tree/file tree/link
chown 5 tree/file
chmod 4755 tree/file
touch --date=@1000000000 tree/file
systemd-dissect --make-archive "$PWD/tree" a.tar 2>log || { cat log; exit 1; }
tar --list --verbose --numeric-owner --file=a.tar ./file ./link | tr --squeeze-repeats ' ' | cut -d ' ' -f 1,2,4,6 |
  sed 'N; s/\n/, /; s/^/systemd-dissect    /'
show() { printf '%-19s%s\n' "$1" "$(stat --format='%a %u %Y' "$2")"; }
tar --extract --same-permissions --same-owner --file=a.tar --directory=gnu
show 'GNU tar' gnu/file
umoci init --layout layout
umoci new --image layout:a
umoci raw add-layer --image layout:a a.tar 2>log
umoci unpack --image layout:a bundle 2>log
show umoci bundle/rootfs/file
mkfs.erofs --quiet --tar=f a.erofs a.tar
fsck.erofs --extract=erofs a.erofs >log
show mkfs.erofs erofs/file
for driver in vfs overlay; do
  skopeo copy --quiet oci:layout:a "containers-storage:[$driver@/mnt/$driver+/mnt/run]localhost/a"
  show "storage, $driver" "$(find $driver -name file)"
done
END
enter='mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/mnt && mount --rbind /dev root/dev &&
exec chroot root sh /run.sh'
result=$(unshare --mount sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="systemd-dissect    -rwsr-xr-x 5/0 2001-09-09 ./file, h--------- 0/0 1970-01-01 ./link
GNU tar            4755 5 1000000000
umoci              4755 5 1000000000
mkfs.erofs         4755 5 1000000000
storage, vfs       0 0 0
storage, overlay   0 0 0"
[ "$result" = "$expected" ] || die "the archive is written or read in another way now"
echo "as seen on 2026-11-29"
