#!/usr/bin/env bash
# buildah commits zeros and empty directories if its image has composefs layers and comes from an additional image store.
#
# Version: buildah 1.43.2, composefs 1.0.8, skopeo 1.22.0, docker-registry 2.8.3, umoci 0.6.0 (Debian forky); Linux 6.18.
#
# Behavior: a store that `use_composefs` and a partial pull have given a composefs layer is an additional image store of another one,
# whose storage.conf does not mention composefs. `buildah from` takes the image there, and the container has all files. After
# chown and chmod of files and mv of a directory, all as root, the image that `buildah commit` makes has files of as many zeros
# and an empty directory. The exit code is 0 and nothing is printed. With `use_composefs` or the mount option metacopy in the
# second storage.conf the image has everything, as it has if the image is in buildah's own storage.
#
# Why it surprises: an image store is documented as read-only images for any storage, with no word of equal options, and the
# library sees what it is: it finds the composefs layers of the store, mounts them, and sets metacopy and redirect_dir by
# itself. With these, a file whose owner or mode changed is metadata alone in the layer of the container. So the
# guess is that it also takes the changes by a comparison of both trees, as it does for its own composefs layers.
# But that goes by the configuration, which is as it was. podman builds and commits with the same library.
#
# Seen on 2026-11-30, what is committed of a file after chown, of one after chmod, and of a file in a directory after mv:
#   own storage                          content, content, content
#   additional store                     8 zeros, 8 zeros, nothing
#   additional store, use_composefs      content, content, content
#   additional store, metacopy=on        content, content, content
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,tar,iproute2,curl,mount,netavark,buildah=1.43.2+ds1-3+b1,composefs=1.0.8-3
packages+=,skopeo=1.22.0+ds1-1,docker-registry=2.8.3+ds1-3,umoci=0.6.0+ds-1+b1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/sys root/tmp root/var/tmp root/run
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo "127.0.0.1 localhost" >root/etc/hosts
echo "root:x:0:0::/root:/bin/sh" >root/etc/passwd
echo "root:x:0:" >root/etc/group
cat >root/config.yml <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/registry}}
http: {addr: "localhost:5000"}
YAML

cat >root/run.sh <<'END'
set -eu
# a tmpfs, as the kernel's overlayfs takes no upper layer that is in an overlay itself
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /run
cd /mnt
export TMPDIR=/mnt
ip link set lo up
docker-registry serve /config.yml >log.registry 2>&1 &
mkdir -p tree/directory
for file in owner mode directory/file; do echo content >tree/$file; done
tar --create --file=layer.tar --directory=tree .
umoci init --layout layout
umoci new --image layout:1
umoci raw add-layer --image layout:1 layer.tar 2>log
for _ in $(seq 600); do
  ! curl --silent --fail --output log http://localhost:5000/v2/ || break
  sleep 0.1
done
image=localhost:5000/test/image:1
skopeo copy --quiet --dest-tls-verify=false --dest-compress-format=zstd:chunked oci:layout:1 docker://$image
# NAME OPTIONS OPTIONS-OF-OVERLAY
configure() {
  cat >/etc/containers/storage.conf <<CONF
[storage]
driver = "overlay"
graphroot = "/mnt/$1/root"
runroot = "/mnt/$1/run"
[storage.options]
$2
[storage.options.overlay]
$3
CONF
}
content() {
  if [ ! -e "$1" ]; then
    printf nothing
  elif [ "$(tr -d '\0' <"$1" | wc -c)" = 0 ]; then
    printf '%s zeros' "$(wc -c <"$1")"
  else
    cat "$1"
  fi
}
show() {
  buildah from --pull=never --name first $image >log
  mounted=$(buildah mount first)
  for file in owner mode directory/file; do [ "$(cat "$mounted/$file")" = content ]; done
  chown 7 "$mounted/owner"
  chmod 600 "$mounted/mode"
  mv "$mounted/directory" "$mounted/moved"
  buildah umount first >log
  buildah commit --quiet first new >log
  buildah from --pull=never --name second localhost/new >log
  mounted=$(buildah mount second)
  printf '%-36s %s, %s, %s\n' "$1" "$(content "$mounted/owner")" "$(content "$mounted/mode")" "$(content "$mounted/moved/file")"
  buildah umount second >log
}
configure own 'pull_options = {enable_partial_images = "true"}' 'use_composefs = "true"'
buildah pull --quiet --tls-verify=false docker://$image >log
store='additionalimagestores = ["/mnt/own/root"]'
show 'own storage'
configure plain "$store" ''
show 'additional store'
configure composefs "$store" 'use_composefs = "true"'
show 'additional store, use_composefs'
configure metacopy "$store" 'mountopt = "metacopy=on"'
show 'additional store, metacopy=on'
kill $!
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $result $(tail -n 1 log)"
echo "$result"
expected="own storage                          content, content, content
additional store                     8 zeros, 8 zeros, nothing
additional store, use_composefs      content, content, content
additional store, metacopy=on        content, content, content"
[ "$result" = "$expected" ] || die "other files are committed now"
echo "as seen on 2026-11-30"
