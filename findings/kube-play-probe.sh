#!/usr/bin/env bash
# podman runs a probe over HTTP by a shell, so that one with two parameters in its path never fails.
#
# Version: podman 5.4.2 (Debian 13); 5.8.6 (Debian forky) does the same.
#
# Behavior: `podman kube play` makes a health check of a livenessProbe or startupProbe. For `httpGet`, its command is
# "curl -f URL || exit 1", which runs by `sh -c` inside of the container. The path goes into it as it is. An `&` ends the
# command: curl runs in the background, and what follows is an assignment, which succeeds. The container is healthy,
# whatever the answer is, and also if the image has no curl. A path without `&` works in an image with curl; in one
# without, the container is unhealthy. Headers of the probe are left out. Nothing is printed.
#
# Why it surprises: in Kubernetes, the kubelet makes the request, and a path is no text for a shell. The guess is that podman
# does it, or that the URL is quoted. A pod with the probe /health?full=1&timeout=1 is right in a cluster; here its container
# starts, its state is healthy, and it is never restarted.
#
# Seen on 2026-11-30, for a curl that always fails: the path, the command and its exit code:
#   /health                   curl -f http://localhost:80/health || exit 1: 1
#   /health?full=1            curl -f http://localhost:80/health?full=1 || exit 1: 1
#   /health?full=1&timeout=1  curl -f http://localhost:80/health?full=1&timeout=1 || exit 1: 0
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,sed,podman=5.4.2+ds1-2+b2,crun,conmon,catatonit,netavark
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch podman"
mkdir -p root/etc/containers root/mnt root/proc root/tmp root/var/tmp root/run root/sys root/failing
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
printf '%s\n' root:x:0:0:root:/root:/bin/sh >root/etc/passwd
printf '%s\n' root:x:0: >root/etc/group
printf '#!/bin/sh\nexit 22\n' >root/failing/curl && chmod +x root/failing/curl
tar --create --file=root/mnt/image.tar --directory=root/failing curl

cat >root/run.sh <<'END'
set -eu
cd /mnt
podman() { command podman --root /mnt/storage --runroot /mnt/run --cgroup-manager=cgroupfs --events-backend=none "$@"; }
podman import --quiet image.tar localhost/image >log 2>&1 || { cat log; exit 1; }
try() {
  cat >pod.yaml <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: $1
spec:
  containers:
  - name: server
    image: localhost/image
    command: [/server]
    livenessProbe:
      httpGet:
        path: "$2"
        port: 80
YAML
  podman kube play --start=false --network=none pod.yaml >log 2>&1 || { cat log; exit 1; }
  podman inspect --format '{{range .Config.Healthcheck.Test}}{{.}} {{end}}' "$1-server" 2>log |
    sed 's/^CMD-SHELL //; s/ $//' >command
  code=0
  PATH=/failing:$PATH sh -c "$(cat command)" || code=$?
  printf '%-25s %s: %s\n' "$2" "$(cat command)" "$code"
}
try one /health
try two '/health?full=1'
try three '/health?full=1&timeout=1'
END
enter='mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/run && mount --rbind /dev root/dev &&
mount --rbind /sys root/sys && exec chroot root sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="/health                   curl -f http://localhost:80/health || exit 1: 1
/health?full=1            curl -f http://localhost:80/health?full=1 || exit 1: 1
/health?full=1&timeout=1  curl -f http://localhost:80/health?full=1&timeout=1 || exit 1: 0"
[ "$result" = "$expected" ] || die "podman makes other commands of probes now"
echo "as seen on 2026-11-30"
