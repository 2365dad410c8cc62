#!/usr/bin/env bash
# A partial pull of an image leaves out its fifos and devices, and gives directories and symbolic links the time of the pull.
#
# Version: skopeo 1.22.0, docker-registry 2.8.3, umoci 0.6.0 (Debian forky).
#
# Behavior: containers/storage, the library of podman, buildah and skopeo, makes a layer of type zstd:chunked from
# the table of contents of its blob, and fetches only the files that it does not have yet, if `enable_partial_images` is
# set. Fifos and devices are in the table and are not made. Symbolic links, and directories that are not empty, get the time
# of the pull. With the option off, the same blob gives the whole tree. Nothing is printed, and both images have one ID.
# `convert_images`, which turns layers of other types into this one first, does the same to all images.
#
# Why it surprises: the option is about the way that the bytes take, and the guess is that an image which is verified and has
# the ID of another has its files too. `skopeo copy` of the image out of this storage even has all of them again, since
# it writes a layer by the recorded headers of the archive. So two machines with one image differ in what a
# container sees, and no comparison of images tells. The caches of fontconfig and GTK compare the times of directories.
#
# Seen on 2026-11-29, for a layer with times of 2001:
#   off   device 2001, directory 2001, fifo 2001, file 2001, link 2001
#   on    no device, directory now, no fifo, file 2001, link now
#   IDs   equal
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,tar,iproute2,curl
packages+=,skopeo=1.22.0+ds1-1,docker-registry=2.8.3+ds1-3,umoci=0.6.0+ds-1+b1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp root/run
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo "127.0.0.1 localhost" >root/etc/hosts
cat >root/config.yml <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/registry}}
http: {addr: "localhost:5000"}
YAML

cat >root/run.sh <<'END'
set -eu
cd /mnt
ip link set lo up
docker-registry serve /config.yml >log.registry 2>&1 &
mkdir -p tree/directory
echo content >tree/file
echo content >tree/directory/file
ln -s file tree/link
mkfifo tree/fifo
mknod tree/device c 1 3
tar --create --file=layer.tar --mtime=@1000000000 --directory=tree device directory fifo file link
umoci init --layout layout
umoci new --image layout:1
umoci raw add-layer --image layout:1 layer.tar 2>log
for _ in $(seq 600); do
  ! curl --silent --fail --output log http://localhost:5000/v2/ || break
  sleep 0.1
done
skopeo copy --quiet --dest-tls-verify=false --dest-compress-format=zstd:chunked oci:layout:1 docker://localhost:5000/test/image:1
show() {
  mkdir "$1"
  cat >/etc/containers/storage.conf <<CONF
[storage]
driver = "overlay"
graphroot = "/mnt/$1/root"
runroot = "/mnt/$1/run"
[storage.options]
pull_options = {enable_partial_images = "$2"}
CONF
  skopeo copy --quiet --src-tls-verify=false docker://localhost:5000/test/image:1 containers-storage:localhost/image:1
  grep --only-matching '"id":"[0-9a-f]*"' "$1/root/overlay-images/images.json" >"$1/id"
  line=
  for name in device directory fifo file link; do
    for path in "$1/root/overlay/"*"/diff/$name"; do
      if [ ! -e "$path" ] && [ ! -L "$path" ]; then
        line="$line, no $name"
      elif [ "$(stat --format=%Y "$path")" = 1000000000 ]; then
        line="$line, $name 2001"
      else
        line="$line, $name now"
      fi
    done
  done
  printf '%-5s %s\n' "$1" "${line#, }"
}
show off false
show on true
if [ "$(cat off/id)" = "$(cat on/id)" ]; then echo "IDs   equal"; else echo "IDs   different"; fi
kill $!
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && exec chroot root sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="off   device 2001, directory 2001, fifo 2001, file 2001, link 2001
on    no device, directory now, no fifo, file 2001, link now
IDs   equal"
[ "$result" = "$expected" ] || die "the images have other files now"
echo "as seen on 2026-11-29"
