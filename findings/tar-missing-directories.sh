#!/usr/bin/env bash
# mkfs.erofs makes directories that an archive lacks writable by all, and sqfstar makes `/` so even if there is an entry.
#
# Version: tar 1.35, erofs-utils 1.8.6, squashfs-tools 4.6.1, squashfs-tools-ng 1.3.2, umoci 0.4.7 and skopeo 1.18.0
#          (Debian 13); erofs-utils 1.9.4, squashfs-tools 4.7.5, umoci 0.6.0 and skopeo 1.22.0 (Debian forky) do the same.
#
# Behavior: an archive has the file `usr/bin/x` and no entry of `/`, `usr` or `usr/bin`. `mkfs.erofs --tar` gives all three
# the mode 777, with any umask. sqfstar gives `/` 777, and the others 755. containers/storage, podman's library, gives `/`
# 555. GNU tar, umoci and tar2sqfs give 755 throughout. If the archive has an entry `./` of mode 750, as `tar -C tree .`
# writes, sqfstar ignores it ("Empty tar filename"), and `/` is 777 again. The exit code is 0 each time.
#
# Why it surprises: layers of images often start below directories that a lower layer has, and the guess is that a tool
# which has to invent one takes 755 like everyone else, or that it does not matter. But overlayfs shows a directory with
# the attributes of the uppermost layer. One layer with one file, as an EROFS file over a proper base, makes `/usr`
# writable by all in the container; the same layer unpacked by umoci does not.
#
# Seen on 2026-11-29, modes of `/`, `usr` and `usr/bin`, without entries and with entries of mode 750:
#   GNU tar            755 755 755   750 750 750
#   umoci              755 755 755   750 750 750
#   storage            555 755 755   750 750 750
#   mkfs.erofs         777 777 777   750 750 750
#   sqfstar            777 755 755   777 750 750
#   tar2sqfs           755 755 755   750 750 750
#   mkfs.erofs over a base with entries, as overlayfs shows it: 777 777 777
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,findutils,grep,mount,sed,tar=1.35+dfsg-3.1,erofs-utils=1.8.6-1
packages+=,squashfs-tools=1:4.6.1-1,squashfs-tools-ng=1.3.2-1,umoci=0.4.7+ds-4+b10,skopeo=1.18.0+ds1-1+b5
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/dev root/tmp root/var/tmp
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json

cat >root/run.sh <<'END'
set -eu
cd /mnt
umask 022
export TMPDIR=/tmp LC_ALL=C
mkdir --parents tree/usr/bin
echo content >tree/usr/bin/x
chmod 750 tree tree/usr tree/usr/bin
tar --create --file=without.tar --owner=:0 --group=:0 --directory=tree --no-recursion usr/bin/x
tar --create --file=with.tar --owner=:0 --group=:0 --directory=tree .
modes() { (cd "$1" && stat --format=%a . usr usr/bin | paste -sd ' '); }
for archive in without with; do
  mkdir gnu-$archive
  tar --extract --file=$archive.tar --preserve-permissions --directory=gnu-$archive
  umoci init --layout layout-$archive
  umoci new --image layout-$archive:a
  umoci raw add-layer --image layout-$archive:a $archive.tar 2>log
  umoci unpack --image layout-$archive:a bundle-$archive 2>log
  ln -s bundle-$archive/rootfs umoci-$archive
  skopeo copy --quiet oci:layout-$archive:a "containers-storage:[vfs@/mnt/vfs-$archive+/mnt/storage]localhost/a"
  ln -s vfs-$archive/vfs/dir/* storage-$archive
  mkfs.erofs --quiet --tar=f erofs-$archive.image $archive.tar
  sqfstar -quiet -no-progress sqfstar-$archive.image <$archive.tar 2>log
  tar2sqfs --quiet tar2sqfs-$archive.image <$archive.tar
  for tool in erofs sqfstar tar2sqfs; do
    mkdir $tool-$archive
    mount -o loop,ro $tool-$archive.image $tool-$archive
  done
done
for tool in 'gnu GNU tar' 'umoci umoci' 'storage storage' 'erofs mkfs.erofs' 'sqfstar sqfstar' 'tar2sqfs tar2sqfs'; do
  printf '%-19s%s   %s\n' "${tool#* }" "$(modes ${tool%% *}-without)" "$(modes ${tool%% *}-with)"
done
mkdir merged
mount -t overlay -o lowerdir=erofs-without:erofs-with overlay merged
echo "mkfs.erofs over a base with entries, as overlayfs shows it: $(modes merged)"
END
result=$(unshare --mount sh -c "mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount -t tmpfs tmpfs root/mnt && chroot root sh /run.sh") || die "the commands failed: $result"
echo "$result"
expected="GNU tar            755 755 755   750 750 750
umoci              755 755 755   750 750 750
storage            555 755 755   750 750 750
mkfs.erofs         777 777 777   750 750 750
sqfstar            777 755 755   777 750 750
tar2sqfs           755 755 755   750 750 750
mkfs.erofs over a base with entries, as overlayfs shows it: 777 777 777"
[ "$result" = "$expected" ] || die "other modes are taken now"
echo "as seen on 2026-11-29"
