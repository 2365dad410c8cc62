#!/usr/bin/env bash
# The garbage collector of docker-registry deletes layers that a manifest names by SHA-512, and keeps the image.
#
# Version: docker-registry 2.8.3, oras 1.3.3, skopeo 1.22.0 (Debian forky).
#
# Behavior: the registry takes a blob under its SHA-512 digest with 201, stores it by its SHA-256, and answers with that
# digest. It takes a manifest that names the blob by SHA-512 and serves the blob by this name, through a link. Its
# `garbage-collect` marks the digests as manifests have them and deletes all stored blobs whose SHA-256 is not among
# them. The exit code is 0. The manifest and the tag stay, and the blob is gone.
#
# Why it surprises: SHA-512 is one of the two algorithms that the specification of images registers. The guesses are that a
# registry refuses a digest by which it does not store, or that the digest is as good as the other one; and that a
# collector which prints "marking blob sha512:…" keeps that blob. oras pushes such an image, skopeo and podman pull it, and
# all works until the next collection. (oras pulls it from no such registry, since the header Docker-Content-Digest has
# another digest than it asked for.)
#
# Seen on 2026-11-29, for an image of two layers:
#   pushed        manifest 200, sha256 layer 200, sha512 layer 200, skopeo copied it
#   collected     manifest 200, sha256 layer 200, sha512 layer 404, skopeo: blob unknown to registry
#   the collector: 4 blobs marked, 1 blobs and 0 manifests eligible for deletion
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,iproute2,curl,docker-registry=2.8.3+ds1-3,oras=1.3.3-1,skopeo=1.22.0+ds1-1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo "127.0.0.1 localhost" >root/etc/hosts

python3 - root/mnt <<'PYTHON'
import hashlib
import io
import json
import os
import sys
import tarfile

os.chdir(sys.argv[1])
TYPE = "application/vnd.oci.image."


def blob(content, media_type, algorithm="sha256"):
    digest = hashlib.new(algorithm, content).hexdigest()
    os.makedirs(f"layout/blobs/{algorithm}", exist_ok=True)
    with open(f"layout/blobs/{algorithm}/{digest}", "wb") as file:
        file.write(content)
    return {"mediaType": TYPE + media_type, "digest": f"{algorithm}:{digest}", "size": len(content)}


def archive(name):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        file.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


contents = {algorithm: archive(algorithm) for algorithm in ("sha256", "sha512")}
layers = [blob(content, "layer.v1.tar", algorithm) for algorithm, content in contents.items()]
rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(content).hexdigest() for content in contents.values()]}
config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode(), "config.v1+json")
manifest = {"schemaVersion": 2, "mediaType": TYPE + "manifest.v1+json", "config": config, "layers": layers}
image = blob(json.dumps(manifest).encode(), "manifest.v1+json")
image["annotations"] = {"org.opencontainers.image.ref.name": "1"}
files = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": {"schemaVersion": 2, "manifests": [image]}}
for name, document in files.items():
    with open("layout/" + name, "w") as file:
        json.dump(document, file)
with open("layers", "w") as file:
    print(*(layer["digest"] for layer in layers), file=file)
PYTHON

cat >root/config.yml <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/storage}}
http: {addr: "localhost:5000"}
YAML
cat >root/run.sh <<'END'
set -eu
cd /mnt
ip link set lo up
image=localhost:5000/test/image
serve() {
  docker-registry serve /config.yml >log 2>&1 &
  for _ in $(seq 600); do
    oras repo ls --plain-http localhost:5000 >/dev/null 2>&1 && return
    sleep 0.1
  done
  cat log
  exit 1
}
stop() {
  kill $!
  wait $! 2>/dev/null || true
}
state() { curl --silent --output body --write-out '%{http_code}' "$@"; }
show() {
  url=http://localhost:5000/v2/test/image
  printf '%-13s manifest %s' "$1" "$(state --header 'Accept: application/vnd.oci.image.manifest.v1+json' $url/manifests/1)"
  for digest in $(cat layers); do
    printf ', %s layer %s' "${digest%%:*}" "$(state "$url/blobs/$digest")"
  done
  if skopeo copy --quiet --src-tls-verify=false docker://$image:1 "oci:$1:1" >log.skopeo 2>&1; then
    echo ", skopeo copied it"
  else
    echo ", skopeo: $(grep --only-matching 'blob unknown to registry' log.skopeo)"
  fi
}
serve
oras cp --no-tty --from-oci-layout layout:1 --to-plain-http $image:1 >log.oras 2>&1 || { cat log.oras; exit 1; }
show pushed
stop
docker-registry garbage-collect /config.yml >log.gc 2>&1 || { cat log.gc; exit 1; }
serve
show collected
stop
echo "the collector: $(grep --only-matching '[0-9]* blobs marked.*' log.gc)"
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && exec chroot root sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="pushed        manifest 200, sha256 layer 200, sha512 layer 200, skopeo copied it
collected     manifest 200, sha256 layer 200, sha512 layer 404, skopeo: blob unknown to registry
the collector: 4 blobs marked, 1 blobs and 0 manifests eligible for deletion"
[ "$result" = "$expected" ] || die "the registry keeps other blobs now"
echo "as seen on 2026-11-29"
