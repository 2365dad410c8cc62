#!/usr/bin/env bash
# skopeo compresses a layer that pzstd has compressed once more when it copies the image to a registry, and reports success.
#
# Version: skopeo 1.22.0, buildah 1.43.2, umoci 0.6.0, zstd 1.5.7, docker-registry 2.8.3 (Debian forky).
#
# Behavior: an image has a layer of the media type tar+zstd that pzstd wrote. umoci unpacks it. `skopeo copy` to a registry leaves an
# image there whose layer has the media type tar+gzip and is a gzip file with the zstd file in it. The exit code is 0 and
# nothing is printed. umoci refuses the copy, and buildah both ("does not match config's DiffID"). With a layer of the
# program zstd all is well.
#
# Why it surprises: the media type says how a layer is compressed, so that a tool does not have to look. skopeo looks at the first
# bytes, and those of pzstd are a frame to skip, which RFC 8878 has and every reader of zstd passes over. A layer that is not
# recognized counts as not compressed, whatever its type. The guess would be an error, or that the bytes are copied
# as they are, as those of zstd. pzstd is the parallel program in Debian's package of zstd. The digest of the copy is right,
# and the faulty layer shows where the image is pulled. A copy from layout to layout is compressed once more too.
#
# Seen on 2026-11-30, with the content of the file in the layer, of each image and its copy in the registry:
#   zstd           tar+zstd, umoci: content, buildah: content
#   zstd, copy     tar+zstd, umoci: content, buildah: content
#   pzstd          tar+zstd, umoci: content, buildah: error
#   pzstd, copy    tar+gzip, umoci: error, buildah: error
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,sed,iproute2,mount,curl,netavark,docker-registry=2.8.3+ds1-3,skopeo=1.22.0+ds1-1
packages+=,buildah=1.43.2+ds1-3+b1,umoci=0.6.0+ds-1+b1,zstd=1.5.7+dfsg-4
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
mkdir tree
echo content >tree/file
tar --create --file=root/layer --directory=tree file
for program in zstd pzstd; do
  chroot root /usr/bin/env -i PATH=/usr/bin $program -q -c /layer >"layer.$program"
  chroot root /usr/bin/env -i PATH=/usr/bin zstd -q -d -c <"layer.$program" | cmp - root/layer || die "zstd does not read the layer"
  python3 - "layer.$program" "root/$program" <<'PYTHON'
import hashlib
import json
import os
import sys

layer, layout = sys.argv[1:]
os.makedirs(f"{layout}/blobs/sha256")


def blob(kind, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


diff_id = "sha256:" + hashlib.sha256(open("root/layer", "rb").read()).hexdigest()
config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
manifest = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": blob("config.v1+json", json.dumps(config).encode()),
    "layers": [blob("layer.v1.tar+zstd", open(layer, "rb").read())],
}
descriptor = blob("manifest.v1+json", json.dumps(manifest).encode())
descriptor["annotations"] = {"org.opencontainers.image.ref.name": "1"}
with open(f"{layout}/index.json", "w") as file:
    json.dump({"schemaVersion": 2, "manifests": [descriptor]}, file)
with open(f"{layout}/oci-layout", "w") as file:
    json.dump({"imageLayoutVersion": "1.0.0"}, file)
PYTHON
done

cat >root/run.sh <<'END'
set -eu
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /run
cd /mnt
export TMPDIR=/mnt
ip link set lo up
docker-registry serve /config.yml >log.registry 2>&1 &
registry=$!
for _ in $(seq 600); do
  ! curl --silent --fail --output log http://localhost:5000/v2/ || break
  sleep 0.1
done
copy() {
  skopeo copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@" >log 2>&1 || { cat log >&2; exit 1; }
  [ ! -s log ] || { cat log >&2; exit 1; }
}
by_umoci() { if umoci unpack --image "$1:1" bundle >log 2>&1; then cat bundle/rootfs/file; else echo error; fi; }
by_buildah() {
  container=$(buildah --root /mnt/storage --runroot /run/buildah --storage-driver vfs from --retry 0 "oci:/mnt/$1:1" 2>log) || {
    grep --quiet "does not match config's DiffID" log || { cat log >&2; exit 1; }
    echo error
    return
  }
  cat "$(buildah --root /mnt/storage --runroot /run/buildah --storage-driver vfs mount "$container")/file"
}
# NAME LAYOUT
show() {
  type=$(skopeo inspect --raw "oci:$2:1" | grep --only-matching 'layer.v1.tar[+a-z]*' | sed 's/.*v1.//')
  echo "$(printf '%-14s' "$1") $type, umoci: $(by_umoci "$2"), buildah: $(by_buildah "$2")"
  rm -rf bundle
}
for program in zstd pzstd; do
  cp -r /$program $program
  show $program $program
  copy oci:$program:1 docker://localhost:5000/test/$program:1
  copy docker://localhost:5000/test/$program:1 oci:copy-$program:1
  show "$program, copy" copy-$program
done
kill $registry
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $result $(tail -n 1 log)"
echo "$result"
expected="zstd           tar+zstd, umoci: content, buildah: content
zstd, copy     tar+zstd, umoci: content, buildah: content
pzstd          tar+zstd, umoci: content, buildah: error
pzstd, copy    tar+gzip, umoci: error, buildah: error"
[ "$result" = "$expected" ] || die "the layers are copied in another way now"
echo "as seen on 2026-11-30"
