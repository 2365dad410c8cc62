#!/usr/bin/env bash
# `mkfs.erofs` merges images to one whose top directory is root's and writable by all, whatever it is in the images.
#
# Version: erofs-utils 1.9.4 (Debian forky); Linux 6.18 for the kernel's overlayfs. erofs-utils 1.8.6 (Debian 13) does the same with
#          `--clean=rvsp`.
#
# Behavior: `mkfs.erofs --clean=data MERGED BASE APP` makes one image of several, where files of the later replace those of the earlier
# and directories are merged. A directory that both have gets owner, mode, time and attributes of the later, as overlayfs does
# it. The top directory gets mode 777, owner and group 0, the time of the command and no attributes. Neither the umask nor `--clean=rvsp`
# changes that. The exit code is 0, and what is printed says that the mode is experimental and that the build is completed.
#
# Why it surprises: the known fault of this program with `/` is an archive that has no entry for it, for which a default has
# to be made up. An image always has a top directory, and a merge reads two of them; the guess is that the last wins, as for each
# other directory, or that the first one stays as the place where all is put. A merge that has all files, with owners,
# capabilities and hard links, passes each comparison that starts below `/`.
#
# Seen on 2026-11-30, of the top directory and of `data`:
#   base          / 750 5:6 user.name, data 711 9:9 user.name
#   app           / 700 7:8 user.name, data 710 10:10 user.name
#   overlayfs     / 700 7:8 user.name, data 710 10:10 user.name
#   mkfs.erofs    / 777 0:0, data 710 10:10 user.name
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
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include='erofs-utils=1.9.4-1*' forky root ||
  die "mmdebstrap could not fetch erofs-utils"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
make_image() {
  "$loader" --library-path "$libraries" root/usr/bin/mkfs.erofs "$@" >log 2>&1 || die "mkfs.erofs: $(tail -n 1 log)"
}

mkdir -p base/data app/data
echo base >base/data/old
echo app >app/data/new
chmod 750 base
chmod 711 base/data
chmod 700 app
chmod 710 app/data
chown 5:6 base
chown 7:8 app
chown 9:9 base/data
chown 10:10 app/data
python3 -c 'import os; [os.setxattr(path, "user.name", b"value") for path in ("base", "base/data", "app", "app/data")]'
for name in base app; do
  tar --create --format=pax --xattrs --file=$name.tar --directory=$name .
  make_image --quiet --tar=f $name.erofs $name.tar
done
(umask 077 && make_image --clean=data merged.erofs base.erofs app.erofs)
cat >look.py <<'PYTHON'
import os
import sys

texts = []
for name in "/", "data":
    path = os.path.join(sys.argv[1], name.strip("/"))
    status = os.stat(path)
    mode = f"{status.st_mode & 0o7777:o}"
    texts.append(" ".join([name, mode, f"{status.st_uid}:{status.st_gid}", *sorted(os.listxattr(path))]))
names = sorted(os.listdir(os.path.join(sys.argv[1], "data")))
if len(sys.argv) > 2 and names != ["new", "old"]:
    sys.exit(f"the files are {names}")
print(", ".join(texts))
PYTHON
mkdir lower upper merged
result=""
show() {
  local line
  line=$(unshare --mount sh -ec "$2; exec python3 look.py $3") || die "$1 cannot be mounted"
  line=$(printf '%-13s %s' "$1" "$line")
  echo "$line"
  result+="$line"$'\n'
}
lower='mount -t erofs -o loop,ro base.erofs lower'
upper='mount -t erofs -o loop,ro app.erofs upper'
show base "$lower" lower
show app "$upper" upper
show overlayfs "$lower; $upper; mount -t overlay overlay -o lowerdir=upper:lower merged" 'merged both'
show mkfs.erofs 'mount -t erofs -o loop,ro merged.erofs merged' 'merged both'
expected="base          / 750 5:6 user.name, data 711 9:9 user.name
app           / 700 7:8 user.name, data 710 10:10 user.name
overlayfs     / 700 7:8 user.name, data 710 10:10 user.name
mkfs.erofs    / 777 0:0, data 710 10:10 user.name
"
[ "$result" = "$expected" ] || die "images are merged in another way now"
echo "as seen on 2026-11-30"
