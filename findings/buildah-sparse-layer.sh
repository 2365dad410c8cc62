#!/usr/bin/env bash
# An image with a sparse file cannot be pushed by buildah, nor can what is built on it, though it is pulled and its files are right.
#
# Version: buildah 1.43.2, umoci 0.6.0, tar 1.35 (Debian forky); buildah 1.39.3, umoci 0.4.7 (Debian 13) do the same.
#
# Behavior: `tar --sparse` writes a layer with a sparse file, in the format PAX or in that of GNU. buildah pulls the image with PAX, and
# the file in a container is right. `buildah push` of the image fails with "Digest did not match", and so does that of an image
# that `buildah commit` makes of the container. The image with GNU's format is not pulled ("unhandled tar header type 83").
# The same file in a layer that is not sparse causes no fault.
#
# Why it surprises: the storage does not keep a layer's archive. It keeps its headers and makes the archive again from the files, for a
# push or save, and a sparse file then comes out as one without holes. A layer of which that is so would be expected to be refused when it
# is pulled, as that of GNU's format is, or to be kept. Both formats are of one option of tar, and a registry that has the layer takes the
# push, since nothing is sent. So it is found when an image moves to another registry, after the pull, the build and its tests
# have succeeded. podman keeps its images by the same library.
#
# Seen on 2026-11-30, the content after a pull, a push, and a push of an image on top:
#   plain    content, pushed, pushed
#   PAX      content, Digest did not match, Digest did not match
#   GNU      unhandled tar header type 83
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,diffutils,tar,mount,netavark,buildah=1.43.2+ds1-3+b1,umoci=0.6.0+ds-1+b1
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
mkdir tree
printf start >tree/file
truncate --size=1M tree/file
printf end >>tree/file
checked() { "$@" >log 2>&1 || { cat log >&2; exit 1; }; }
storage() { buildah --root /mnt/storage --runroot /run/buildah --storage-driver vfs "$@"; }
error() { grep --only-matching --max-count=1 'Digest did not match\|unhandled tar header type 83' log || { cat log >&2; exit 1; }; }
push() { if storage push --quiet "$1" "oci:$2:1" >log 2>&1; then echo pushed; else error; fi; }
# NAME OPTIONS
show() {
  name=$(echo "$1" | tr '[:upper:]' '[:lower:]')
  tar --create --file=layer.tar --directory=tree $2 file
  checked umoci init --layout "$1"
  checked umoci new --image "$1:1"
  checked umoci raw add-layer --image "$1:1" layer.tar
  if ! container=$(storage from --retry 0 "oci:/mnt/$1:1" 2>log); then
    printf '%-8s %s\n' "$1" "$(error)"
    return
  fi
  cmp "$(storage mount "$container")/file" tree/file
  image=$(storage inspect --format '{{.FromImageID}}' "$container")
  checked storage commit --quiet "$container" "new-$name"
  printf '%-8s content, %s, %s\n' "$1" "$(push "$image" "/mnt/out-$1")" "$(push "localhost/new-$name" "/mnt/out-new-$1")"
}
show plain --format=pax
show PAX '--format=pax --sparse'
show GNU '--format=gnu --sparse'
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $result $(tail -n 1 log)"
echo "$result"
expected="plain    content, pushed, pushed
PAX      content, Digest did not match, Digest did not match
GNU      unhandled tar header type 83"
[ "$result" = "$expected" ] || die "sparse files are kept in another way now"
echo "as seen on 2026-11-30"
