#!/usr/bin/env bash
# oras and its library for Python know a directory by different marks: one gets a file for it, the other unpacks archives that are files.
#
# Version: oras 1.3.3, docker-registry 2.8.3 (Debian forky), oras 0.2.43 (PyPI).
#
# Behavior: both push a directory as an archive of type `application/vnd.oci.image.layer.v1.tar+gzip` with the directory's name as its
# title. oras adds the annotation `io.deis.oras.content.unpack` and goes by it in a pull. The library for Python goes by the type and
# writes no such annotation. So `oras pull` of a directory that Python pushed writes a compressed archive to a file of the
# directory's name, and a pull by Python of an archive that was pushed as a file of that type, such as a layer, unpacks
# it. The path that it returns for the file does not exist. All report success.
#
# Why it surprises: they are two programs of one project, and three of four ways that a directory can go are right: each reads its own,
# and Python reads what oras wrote. A test of the library with the command as its peer takes that way first. Type and title in
# the manifest are the same, and what differs looks like a remark. It is found where a file of the directory is opened,
# with "Not a directory".
#
# Seen on 2026-11-30, what is there after a pull by:
#   pushed                        oras           Python
#   directory by oras             a directory    a directory
#   directory by Python           a file         a directory
#   archive by oras               a file         nothing, unpacked
#   archive by Python             a file         nothing, unpacked
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=iproute2,docker-registry=2.8.3+ds1-3,oras=1.3.3-1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check oras==0.2.43 >pip.log 2>&1 || die "pip: $(tail -n 1 pip.log)"
cat >config.yml <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:5000"}
YAML
cat >client.py <<'PYTHON'
import sys

import oras.client

action, target, *rest = sys.argv[1:]
client = oras.client.OrasClient(hostname="127.0.0.1:5000", insecure=True)
if action == "push":
    client.push(target=target, files=rest)
else:
    client.pull(target=target, outdir=rest[0])
PYTHON

cat >run.sh <<'END'
set -euo pipefail
libraries=$(echo root/{usr/,}lib/*-linux-gnu | sed "s#root#$PWD/root#g" | tr ' ' :)
loader=$(find "$PWD/root/usr" -name 'ld-linux-*.so.?' | head -n 1)
work=$PWD
tool() { "$loader" --library-path "$libraries" "$work/root/usr/$1" "${@:2}"; }
checked() { "$@" >log 2>&1 || { cat log >&2; exit 1; }; }
oras() { checked tool bin/oras "$@"; }
python() { checked "$work/venv/bin/python" "$work/client.py" "$@"; }
tool bin/ip link set lo up
"$loader" --library-path "$libraries" root/usr/bin/docker-registry serve config.yml >log.registry 2>&1 &
registry=$!
trap 'kill $registry' EXIT
for _ in $(seq 600); do
  ! tool bin/oras repo ls --plain-http 127.0.0.1:5000 >log 2>&1 || break
  sleep 0.1
done
mkdir -p pushed/directory
echo content >pushed/directory/file
tar --create --gzip --file=pushed/archive --directory=pushed directory
type=application/vnd.oci.image.layer.v1.tar+gzip
cd pushed
for pushed in directory "archive:$type"; do
  name=${pushed%%:*}
  oras push --plain-http "127.0.0.1:5000/by-oras:$name" "$pushed"
  python push "127.0.0.1:5000/by-python:$name" "$pushed"
done
cd ..
# DIRECTORY NAME
found() {
  unpacked=
  [ "$2" = directory ] || [ ! -e "$1/directory/file" ] || unpacked=', unpacked'
  if [ -d "$1/$2" ] && cmp --quiet "$1/$2/file" pushed/directory/file; then
    echo "a directory$unpacked"
  elif [ -f "$1/$2" ] && tar --list --file="$1/$2" >log; then
    echo "a file$unpacked"
  elif [ ! -e "$1/$2" ]; then
    echo "nothing$unpacked"
  fi
}
printf '%-29s %-14s %s\n' pushed oras Python
for name in directory archive; do
  for by in oras python; do
    rm -rf to-oras to-python
    oras pull --plain-http --output to-oras "127.0.0.1:5000/by-$by:$name"
    mkdir to-python
    python pull "127.0.0.1:5000/by-$by:$name" to-python
    printf '%-29s %-14s %s\n' "$name by ${by/python/Python}" "$(found to-oras $name)" "$(found to-python $name)"
  done
done
END
result=$(unshare --net --pid --fork --kill-child --mount-proc bash run.sh 2>log.errors) || die "the commands failed: $result $(tail -n 1 log.errors)"
echo "$result"
expected="pushed                        oras           Python
directory by oras             a directory    a directory
directory by Python           a file         a directory
archive by oras               a file         nothing, unpacked
archive by Python             a file         nothing, unpacked"
[ "$result" = "$expected" ] || die "directories are pushed or pulled in another way now"
echo "as seen on 2026-11-30"
