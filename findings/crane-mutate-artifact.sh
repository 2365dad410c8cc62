#!/usr/bin/env bash
# `crane mutate --annotation` replaces the config of an artifact by an empty one of an image, and drops its artifact type.
#
# Version: crane 0.20.7, oras 1.3.3, docker-registry 2.8.3 (Debian forky).
#
# Behavior: of an artifact such as a Helm chart, the command writes a manifest with the new annotation. Its config still
# has the media type of the artifact's, and its content is `{"architecture":"","created":"0001-01-01T00:00:00Z",...}`:
# the chart's own metadata is gone. An artifact with `artifactType` loses it, and its config, which the type says is
# empty, gets the same content. Layers and old annotations stay. The tag is moved to the new manifest. The exit code is
# 0, and nothing is printed but the new digest. `crane copy` keeps an artifact as it is.
#
# Why it surprises: an annotation is a part of the manifest, and the option for it is there because labels, which are a
# part of the config, are none. The guess is that the command writes the manifest anew with one line more, or that it
# refuses what is no image. But it reads a config as that of an image before anything is changed, where each JSON object
# is one without known fields, and writes it again at the end. All checks of digests pass on the result, as each is
# computed anew; a client that looks for charts finds one without a name.
#
# Seen on 2026-11-30: artifact type, media type and content of the config, and annotations:
#   chart      none, application/vnd.cncf.helm.config.v1+json {"name":"chart"}, a=b
#   mutated    none, application/vnd.cncf.helm.config.v1+json {"architecture":"","created":"0001-01-01T00:00:00Z","os":"","rootfs":{"type":"","diff_ids":null},"config":{}}, a=b c=d
#   artifact   application/vnd.example, application/vnd.oci.empty.v1+json {}, a=b
#   mutated    none, application/vnd.oci.empty.v1+json {"architecture":"","created":"0001-01-01T00:00:00Z","os":"","rootfs":{"type":"","diff_ids":null},"config":{}}, a=b c=d
#   copied     application/vnd.example, application/vnd.oci.empty.v1+json {}, a=b
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,iproute2,docker-registry=2.8.3+ds1-3,crane=0.20.7+ds1-5,oras=1.3.3-1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/mnt root/proc root/tmp
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
registry=$!
for _ in $(seq 600); do
  ! oras repo ls --plain-http localhost:5000 >log 2>&1 || break
  sleep 0.1
done
image=localhost:5000/test/artifact
checked() { "$@" >log 2>&1 || { cat log; exit 1; }; }
push() { checked oras push --plain-http --no-tty --annotation a=b --annotation org.opencontainers.image.created=2001-01-01T00:00:00Z "$@" file:text/plain; }
store() {
  oras manifest fetch --plain-http "$image:$1" >"$1.manifest"
  oras manifest fetch-config --plain-http "$image:$1" >"$1.config"
}
echo content >file
printf '{"name":"chart"}' >chart.json
push --config chart.json:application/vnd.cncf.helm.config.v1+json $image:chart
push --artifact-type application/vnd.example $image:artifact
for name in chart artifact; do
  checked crane mutate --insecure --annotation c=d --tag $image:$name-mutated $image:$name
done
checked crane copy --insecure $image:artifact $image:artifact-copied
for name in chart chart-mutated artifact artifact-mutated artifact-copied; do store $name; done
kill $registry
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev && exec chroot root sh /run.sh'
unshare --mount --net --pid --fork --kill-child sh -c "$enter" || die "the commands failed"
result=$(
  python3 - root/mnt <<'PYTHON'
import json
import os
import sys

os.chdir(sys.argv[1])
for name in "chart", "chart-mutated", "artifact", "artifact-mutated", "artifact-copied":
    with open(name + ".manifest") as manifest_file, open(name + ".config") as config_file:
        manifest, config = json.load(manifest_file), config_file.read().strip()
    kind = manifest.get("artifactType", "none")
    del manifest["annotations"]["org.opencontainers.image.created"]
    annotations = " ".join(f"{key}={value}" for key, value in manifest["annotations"].items())
    print(f"{name.split('-')[-1]:<10} {kind}, {manifest['config']['mediaType']} {config}, {annotations}")
PYTHON
)
echo "$result"
empty='{"architecture":"","created":"0001-01-01T00:00:00Z","os":"","rootfs":{"type":"","diff_ids":null},"config":{}}'
expected="chart      none, application/vnd.cncf.helm.config.v1+json {\"name\":\"chart\"}, a=b
mutated    none, application/vnd.cncf.helm.config.v1+json $empty, a=b c=d
artifact   application/vnd.example, application/vnd.oci.empty.v1+json {}, a=b
mutated    none, application/vnd.oci.empty.v1+json $empty, a=b c=d
copied     application/vnd.example, application/vnd.oci.empty.v1+json {}, a=b"
[ "$result" = "$expected" ] || die "crane writes another artifact now"
echo "as seen on 2026-11-30"
