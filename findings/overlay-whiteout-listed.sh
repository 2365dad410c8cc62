#!/usr/bin/env bash
# A file that a layer deletes is listed in buildah's containers if no lower layer has its directory, and cannot be opened or removed.
#
# Version: buildah 1.43.2, umoci 0.6.0 (Debian forky); buildah 1.39.3, umoci 0.4.7 (Debian 13) do the same; Linux 6.18.
#
# Behavior: a layer deletes `data/file`, and no layer below has `data`, or it deletes `new/file` and has an opaque marker for `new`
# too. With the driver overlay a container has both directories and lists the file in them: `?????????? ? ? ? file`. To open it fails with
# "No such file or directory". So cp and tar end with an error, `rm -r` leaves the directory of the first, and Python's
# os.listdir has the name. With the driver vfs both directories are empty. umoci makes no `data`. Nothing is printed on the pull.
#
# Why it surprises: a whiteout of what is not there has nothing to do, and the guess is that it does nothing. The specification
# says that whiteouts apply to lower layers. The driver writes a device node 0:0 for each, and the kernel leaves these out of the lists
# of directories that it merges. It takes the list of a directory of one layer as it is, while every lookup there goes
# by the whiteout. Such layers come from a rebase (`crane rebase`) to a base that lacks a directory that the image cleaned, and
# from programs that write both kinds of whiteouts. A test in the image that opens its files finds no fault, and
# neither does one with a base that has the directory. podman has the same library.
#
# Seen on 2026-11-30, lists of the directories, and what the commands say of data:
#   overlay   data: file, new: file; cp: cannot stat, rm: cannot remove
#   vfs       data: nothing, new: nothing; cp: success, rm: success
#   umoci     data: missing, new: nothing
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,tar,mount,netavark,buildah=1.43.2+ds1-3+b1,umoci=0.6.0+ds-1+b1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/sys root/tmp root/var/tmp root/run
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo "root:x:0:0::/root:/bin/sh" >root/etc/passwd
echo "root:x:0:" >root/etc/group

cat >root/run.sh <<'END'
set -eu
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /run
cd /mnt
export TMPDIR=/mnt
checked() { "$@" >log 2>&1 || { cat log >&2; exit 1; }; }
mkdir -p lower/new upper/data upper/new
echo content >lower/new/file
touch upper/data/.wh.file upper/new/.wh.file upper/new/.wh..wh..opq
checked umoci init --layout layout
checked umoci new --image layout:1
for layer in 'lower new/file' 'upper data/.wh.file new/.wh..wh..opq new/.wh.file'; do
  name=${layer%% *}
  tar --create --file=$name.tar --directory=$name ${layer#* }
  checked umoci raw add-layer --image layout:1 $name.tar
done
list() {
  if [ ! -e "$1" ]; then
    echo missing
  elif [ -z "$(ls "$1")" ]; then
    echo nothing
  else
    ls "$1"
  fi
}
lists() { echo "data: $(list "$1/data"), new: $(list "$1/new")"; }
# COMMAND...
result_of() {
  if "$@" >log 2>&1; then
    echo success
  else
    grep --only-matching 'cannot [a-z]*' log || { cat log >&2; exit 1; }
  fi
}
for driver in overlay vfs; do
  storage() { buildah --root "/mnt/$driver" --runroot "/run/$driver" --storage-driver "$driver" "$@"; }
  container=$(storage from oci:/mnt/layout:1 2>log) || { cat log >&2; exit 1; }
  root=$(storage mount "$container")
  printf '%-9s %s; cp: %s, ' $driver "$(lists "$root")" "$(result_of cp -r "$root/data" copy-$driver)"
  echo "rm: $(result_of rm -r "$root/data")"
  storage rm "$container" >log
done
checked umoci unpack --image layout:1 bundle
printf '%-9s %s\n' umoci "$(lists bundle/rootfs)"
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $result $(tail -n 1 log)"
echo "$result"
expected="overlay   data: file, new: file; cp: cannot stat, rm: cannot remove
vfs       data: nothing, new: nothing; cp: success, rm: success
umoci     data: missing, new: nothing"
[ "$result" = "$expected" ] || die "whiteouts are applied in another way now"
echo "as seen on 2026-11-30"
