#!/usr/bin/env bash
# `crane pull` into a layout that has the tag adds a second image of the same name, and skopeo goes on with the old one.
#
# Version: crane 0.20.7, skopeo 1.22.0, oras 1.3.3, umoci 0.6.0, docker-registry 2.8.3 (Debian forky).
#
# Behavior: `crane pull --format=oci --annotate-ref IMAGE:TAG LAYOUT` writes an image into a layout, under its full name. When the
# tag has moved and the command runs again, the index has two manifests with that name, the new one behind the old. skopeo takes
# the first, and umoci refuses with "tag is ambiguous". `skopeo copy` and `oras cp` give the name to the new manifest and take
# it from the old. The exit codes of crane are 0, and nothing is printed.
#
# Why it surprises: a second pull of a tag is an update everywhere else, and the option exists so that the image is found by
# its name. The guess is that the name moves, as with the other two, or that what reads the layout takes the last, or asks which, as
# skopeo does if there are two and it is given no name. A script that pulls and copies with skopeo has the image of its first
# run for ever, with success each time.
#
# Seen on 2026-11-30, after the tag was `old`, was written, and was `new`, and was written again:
#   crane pull     names: 2, skopeo: old, umoci: tag is ambiguous
#   skopeo copy    names: 1, skopeo: new, umoci: new
#   oras cp        names: 1, skopeo: new, umoci: new
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,sed,iproute2,docker-registry=2.8.3+ds1-3,crane=0.20.7+ds1-5,oras=1.3.3-1,skopeo=1.22.0+ds1-1,umoci=0.6.0+ds-1+b1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/mnt root/proc root/tmp root/var/tmp
echo "127.0.0.1 localhost" >root/etc/hosts
cat >root/config.yml <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/registry}}
http: {addr: "localhost:5000"}
YAML
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/policy.json

cat >root/run.sh <<'END'
set -eu
cd /mnt
ip link set lo up
docker-registry serve /config.yml >log.registry 2>&1 &
registry=$!
for _ in $(seq 600); do
  ! oras repo ls --plain-http localhost:5000 >log 2>&1 || break
  sleep 0.1
done
image=localhost:5000/test/image:latest
checked() { "$@" >log 2>&1 || { cat log; exit 1; }; }
copy() { checked skopeo --policy /policy.json copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@"; }
for label in old new; do
  checked umoci init --layout $label
  checked umoci new --image $label:image
  checked umoci config --image $label:image --config.label "is=$label"
  copy oci:$label:image docker://$image
  checked crane pull --insecure --format=oci --annotate-ref $image layout-crane
  [ ! -s log ] || { cat log; exit 1; }
  copy docker://$image oci:layout-skopeo:$image
  checked oras cp --no-tty --from-plain-http $image --to-oci-layout layout-oras:latest
done
kill $registry
label() { grep --only-matching '"is": *"[a-z]*"' log | sed 's/.*"\(.*\)"/\1/'; }
# LAYOUT NAME
show() {
  names=$(grep --only-matching image.ref.name "layout-$1/index.json" | wc --lines)
  checked skopeo inspect --config "oci:layout-$1:$2"
  skopeo=$(label)
  # umoci takes no name with colons
  sed --in-place 's#localhost:5000/test/image:##' "layout-$1/index.json"
  if umoci stat --json --image "layout-$1:latest" >log 2>&1; then
    umoci=$(label)
  else
    umoci=$(grep --only-matching 'tag is ambiguous' log || cat log)
  fi
  echo "names: $names, skopeo: $skopeo, umoci: $umoci"
}
crane=$(show crane $image)
skopeo=$(show skopeo $image)
oras=$(show oras latest)
echo "crane pull     $crane"
echo "skopeo copy    $skopeo"
echo "oras cp        $oras"
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/mnt sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="crane pull     names: 2, skopeo: old, umoci: tag is ambiguous
skopeo copy    names: 1, skopeo: new, umoci: new
oras cp        names: 1, skopeo: new, umoci: new"
[ "$result" = "$expected" ] || die "the layouts are written or read in another way now"
echo "as seen on 2026-11-30"
