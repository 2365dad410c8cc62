#!/usr/bin/env bash
# crane and oras take an image for x86-64-v3 processors as linux/amd64 if it comes first, and skopeo and containerd do not.
#
# Version: crane 0.20.7, oras 1.3.3, skopeo 1.22.0, containerd 2.1.9 (Debian forky).
#
# Behavior: an index names images of one architecture with several variants, and a client asks for the architecture
# alone. For crane and oras, a platform without a variant matches each variant, and the first one in the index is
# taken. For containerd, it means v1 of amd64 and v7 of arm. For skopeo, as for podman, it means an entry without
# a variant on amd64, so that it finds no image where only v1 and v2 are offered; on arm it means the highest variant.
#
# Why it surprises: one pair of tag and platform gives up to three images, and the common tools to copy and to build are in
# different camps. The guess is that an architecture without a variant is the baseline, which runs everywhere. But to
# a reader that compares only what both sides name, an entry with a variant matches as well, and the specification of
# images wants the first matching entry. What crane exports from such an index, or a builder with its library takes as a
# base, stops with an illegal instruction on older machines.
#
# Seen on 2026-11-29: the variants in the index, and the one that is chosen:
#   amd64: v3, none   crane v3, oras v3, skopeo none, containerd none
#   amd64: v2, v1     crane v2, oras v2, skopeo no image found, containerd v1
#   arm: v5, v7       crane v5, oras v5, skopeo v7, containerd v7
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,sed,iproute2,curl,docker-registry=2.8.3+ds1-3
packages+=,crane=0.20.7+ds1-5,oras=1.3.3-1,skopeo=1.22.0+ds1-1,containerd=2.1.9+ds1-5
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp root/run root/sys
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo "127.0.0.1 localhost" >root/etc/hosts
cat >root/config.yml <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/registry}}
http: {addr: "localhost:5000"}
YAML

# an OCI layout of three indexes; the layer of an image has a file that is named like its variant
python3 - root/mnt <<'PYTHON'
import hashlib
import io
import json
import os
import sys
import tarfile

os.chdir(sys.argv[1])
os.makedirs("layout/blobs/sha256")
TYPE = "application/vnd.oci.image."


def blob(content, media_type, **more):
    digest = hashlib.sha256(content).hexdigest()
    with open("layout/blobs/sha256/" + digest, "wb") as file:
        file.write(content)
    return {"mediaType": TYPE + media_type, "digest": "sha256:" + digest, "size": len(content), **more}


def document(media_type, **more):
    return json.dumps({"schemaVersion": 2, "mediaType": TYPE + media_type, **more}).encode()


def image(architecture, variant):
    platform = {"architecture": architecture, "os": "linux"} | ({} if variant == "none" else {"variant": variant})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(variant))
    layer = blob(stream.getvalue(), "layer.v1.tar")
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = blob(json.dumps(platform | {"config": {}, "rootfs": rootfs}).encode(), "config.v1+json")
    return blob(document("manifest.v1+json", config=config, layers=[layer]), "manifest.v1+json", platform=platform)


indexes = []
for name, architecture, *variants in ("a", "amd64", "v3", "none"), ("b", "amd64", "v2", "v1"), ("c", "arm", "v5", "v7"):
    images = [image(architecture, variant) for variant in variants]
    annotations = {"org.opencontainers.image.ref.name": name}
    indexes.append(blob(document("index.v1+json", manifests=images), "index.v1+json", annotations=annotations))
for name, content in ("index.json", {"schemaVersion": 2, "manifests": indexes}), ("oci-layout", {"imageLayoutVersion": "1.0.0"}):
    with open("layout/" + name, "w") as file:
        json.dump(content, file)
PYTHON

cat >root/run.sh <<'END'
set -eu
cd /mnt
ip link set lo up
docker-registry serve /config.yml >log.registry 2>&1 &
registry=$!
containerd --root /mnt/containerd --state /run/containerd --address /run/containerd.sock >log.containerd 2>&1 &
containerd=$!
engine() { ctr --address /run/containerd.sock "$@"; }
for _ in $(seq 600); do
  ! { curl --silent --fail --output log http://localhost:5000/v2/ && engine version >log 2>&1; } || break
  sleep 0.1
done
# the variant of a config, or what a tool said instead
variant() {
  if grep --quiet '"architecture"' "$1"; then
    found=$(sed -n 's/.*"variant": *"\([^"]*\)".*/\1/p' "$1")
    echo "${found:-none}"
  else
    grep --only-matching 'no image found' "$1" || cat "$1"
  fi
}
try() {
  image=localhost:5000/test/image:$1
  oras cp --no-tty --from-oci-layout "layout:$1" --to-plain-http "$image" >log 2>&1 || cat log
  crane config --insecure --platform "linux/$2" "$image" >crane 2>&1 || true
  oras manifest fetch-config --plain-http --platform "linux/$2" "$image" >oras 2>&1 || true
  skopeo --override-os linux --override-arch "$2" inspect --config --raw --tls-verify=false "docker://$image" >skopeo 2>&1 || true
  engine images pull --plain-http --platform "linux/$2" "$image" >log 2>&1 || cat log
  mkdir "mount-$1"
  engine images mount --platform "linux/$2" "$image" "mount-$1" >log 2>&1 || cat log
  echo "crane $(variant crane), oras $(variant oras), skopeo $(variant skopeo), containerd $(ls "mount-$1")"
}
echo "amd64: v3, none   $(try a amd64)"
echo "amd64: v2, v1     $(try b amd64)"
echo "arm: v5, v7       $(try c arm)"
kill $registry $containerd
END
enter='mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/run && mount --rbind /dev root/dev &&
mount --rbind /sys root/sys && exec chroot root sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="amd64: v3, none   crane v3, oras v3, skopeo none, containerd none
amd64: v2, v1     crane v2, oras v2, skopeo no image found, containerd v1
arm: v5, v7       crane v5, oras v5, skopeo v7, containerd v7"
[ "$result" = "$expected" ] || die "the tools choose in another way now"
echo "as seen on 2026-11-29"
