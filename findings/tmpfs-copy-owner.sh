#!/usr/bin/env bash
# A tmpfs to which runc or crun copies a directory of the image belongs to root, with the directory's mode and its files' owners.
#
# Version: runc 1.3.6, crun 1.28, podman 5.8.6 (Debian forky); runc 1.1.15, crun 1.21, podman 5.4.2 (Debian 13) do the same.
#
# Behavior: a mount of type tmpfs with the option `tmpcopyup` begins with what the image has at its place. podman sets the option for each
# `--tmpfs`. Files below arrive with their owners and modes. The directory itself gets the mode that it has in the
# image, but belongs to 0:0. Hard links become files of their own. If there is a fifo in the directory, runc does not start
# the container ("lchown …/fifo: no such file or directory"), and crun makes the fifo.
#
# Why it surprises: mode and owner of a directory go together, and both tools read both for the directories further down. An image
# prepares a directory for its service, such as 999:999 and 700 for a database, and the container runs as that user with
# a tmpfs there, as for a test or with a read-only root. It finds its files, and its uid owns them, but it cannot enter the
# directory, since the mode of the image now locks all but root out. That both tools do the same makes it look as if the image
# were wrong.
#
# Seen on 2026-11-30, owner and mode of the directory, of a file in it, names of a file, and the fifo:
#   image      5:6 1770, 7:8 640, names: 2, fifo
#   crun       0:0 1770, 7:8 640, names: 1, fifo
#   podman     0:0 1770, 7:8 640, names: 1, fifo
#   runc       0:0 1770, 7:8 640, names: 1, does not start with a fifo
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,grep,mount,busybox-static,netavark,conmon,runc=1.3.6+ds1-1,crun=1.28-1,podman=5.8.6+ds1-3
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/etc/containers root/mnt root/proc root/sys root/tmp root/var/tmp root/run
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >root/etc/containers/policy.json
echo "root:x:0:0::/root:/bin/sh" >root/etc/passwd
echo "root:x:0:" >root/etc/group
cat >root/config.json <<'JSON'
{
  "ociVersion": "1.0.2",
  "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"], "args": ["/bin/sh", "/show.sh"]},
  "root": {"path": "rootfs"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
  ],
  "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
}
JSON
cat >root/show.sh <<'END'
fifo=
[ ! -p /data/fifo ] || fifo=', fifo'
of() { /bin/busybox stat -c "$1" "$2"; }
echo "$(of '%u:%g %a' /data), $(of '%u:%g %a' /data/file), names: $(of %h /data/file)$fifo"
END
cat >root/run.sh <<'END'
set -eu
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /run
mkdir -p /mnt/rootfs/bin /mnt/rootfs/proc /mnt/rootfs/dev /mnt/rootfs/sys /mnt/rootfs/etc /mnt/rootfs/data
cd /mnt
cp /config.json .
cp /show.sh rootfs
cp /usr/bin/busybox rootfs/bin
ln -s busybox rootfs/bin/sh
echo content >rootfs/data/file
ln rootfs/data/file rootfs/data/second
mkfifo rootfs/data/fifo
chown 7:8 rootfs/data/file
chmod 640 rootfs/data/file
chown 5:6 rootfs/data
chmod 1770 rootfs/data
checked() { "$@" 2>log || { cat log >&2; exit 1; }; }
image=$(chroot rootfs /bin/busybox sh /show.sh)
echo "image      $image"
crun=$(checked crun --root /run/crun --cgroup-manager=disabled run container)
echo "crun       $crun"
podman=$(checked podman --root /mnt/storage --runroot /run/podman --storage-driver vfs --runtime crun --cgroup-manager cgroupfs \
  run --rm --network none --cgroups disabled --log-driver none --tmpfs /data --rootfs /mnt/rootfs /bin/sh /show.sh)
echo "podman     $podman"
start='starts with a fifo'
if ! runc --root /run/runc run container >log 2>&1; then
  grep --quiet 'tmpcopyup.*lchown .*/fifo: no such file or directory' log || { cat log >&2; exit 1; }
  start='does not start with a fifo'
fi
rm rootfs/data/fifo
runc=$(checked runc --root /run/runc run container)
echo "runc       $runc, $start"
END
enter='mount --bind root root && mount -t proc proc root/proc && mount --rbind /dev root/dev &&
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C sh /run.sh'
result=$(unshare --mount --pid --fork --kill-child sh -c "$enter" 2>log) || die "the containers failed: $result $(tail -n 1 log)"
echo "$result"
expected="image      5:6 1770, 7:8 640, names: 2, fifo
crun       0:0 1770, 7:8 640, names: 1, fifo
podman     0:0 1770, 7:8 640, names: 1, fifo
runc       0:0 1770, 7:8 640, names: 1, does not start with a fifo"
[ "$result" = "$expected" ] || die "the copies have other owners now"
echo "as seen on 2026-11-30"
