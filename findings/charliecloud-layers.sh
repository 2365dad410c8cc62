#!/usr/bin/env bash
# Charliecloud writes the new content of a file into its old hard links, and keeps what a layer deletes in the top directory.
#
# Version: charliecloud 0.45.2, umoci 0.6.0, skopeo 1.22.0, docker-registry 2.8.3, openssl 3.6.5 (Debian forky).
#
# Behavior: the first layer of an image has the hard links a and b, a file c, a directory d with a file, and a file e/f. The second has b
# with new content and deletes c, d and e/f. umoci has a with the old content, and neither c nor d. In the image of `ch-image pull`
# a and b both have the new content, and c and d with its file are there; e/f is not. The exit code is 0, and no message is about
# these files.
#
# Why it surprises: a file is replaced by its removal or a rename in other tools, and a tool that unpacks layers one over the
# other is expected to do one of both; a test with a file that has one name passes. Deletions work one directory further down,
# so that a test finds these. A file in the top directory is what `RUN rm /setup.sh` deletes, and a directory there is
# what `rm -r /build` does. What is unpacked is flat, and there is no layer left to compare with.
#
# Seen on 2026-11-30, with the content of each file:
#   umoci          a=old b=new
#   ch-image       a=new b=new c=content d/file=content
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,sed,findutils,tar,iproute2,mount,curl,openssl,python3,docker-registry=2.8.3+ds1-3
packages+=,charliecloud=0.45.2-1,skopeo=1.22.0+ds1-1,umoci=0.6.0+ds-1+b1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/mnt root/proc root/tmp root/var/tmp
echo "127.0.0.1 localhost" >root/etc/hosts
echo "root:x:0:0::/root:/bin/sh" >root/etc/passwd
echo "root:x:0:" >root/etc/group
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/policy.json
# ch-image reads no registry without TLS
cat >root/config.yml <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/registry}}
http: {addr: "localhost:5000", tls: {certificate: /mnt/certificate.pem, key: /mnt/key.pem}}
YAML

cat >root/run.sh <<'END'
set -eu
mount -t tmpfs tmpfs /mnt
cd /mnt
ip link set lo up
checked() { "$@" >log 2>&1 || { cat log >&2; exit 1; }; }
checked openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -subj /CN=localhost
docker-registry serve /config.yml >log.registry 2>&1 &
registry=$!
for _ in $(seq 600); do
  ! curl --silent --insecure --fail --output log https://localhost:5000/v2/ || break
  sleep 0.1
done
mkdir -p first/bin first/d first/e second/e
echo content | tee first/c first/d/file first/e/f >log
echo old >first/a
ln first/a first/b
echo new >second/b
touch second/.wh.c second/.wh.d second/e/.wh.f
checked umoci init --layout layout
checked umoci new --image layout:1
for layer in first second; do
  tar --create --file=$layer.tar --directory=$layer --sort=name .
  checked umoci raw add-layer --image layout:1 $layer.tar
done
checked skopeo --policy /policy.json copy --quiet --dest-tls-verify=false oci:layout:1 docker://localhost:5000/test/image:1
checked umoci unpack --image layout:1 bundle
export CH_IMAGE_STORAGE=/mnt/storage
checked ch-image --tls-no-verify pull localhost:5000/test/image:1
kill $registry
# DIRECTORY
show() {
  cd "$1"
  for file in a b c d/file e/f; do [ ! -e $file ] || printf ' %s=%s' $file "$(cat $file)"; done
  echo
}
(printf '%-14s' umoci; show bundle/rootfs)
(printf '%-14s' ch-image; show storage/img/*image+1)
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/mnt LC_ALL=C sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter" 2>log) || die "the commands failed: $result $(tail -n 1 log)"
echo "$result"
expected="umoci          a=old b=new
ch-image       a=new b=new c=content d/file=content"
[ "$result" = "$expected" ] || die "the layers are unpacked in another way now"
echo "as seen on 2026-11-30"
