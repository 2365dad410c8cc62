#!/usr/bin/env bash
# docker-registry answers with the range of an upload, but reads none, and its answer is the same for no byte and for one.
#
# Version: docker-registry 2.8.2 (Debian 12), 2.8.3 (Debian 13).
#
# Behavior: a chunk is appended, whatever its Content-Range says. A chunk that is sent twice is stored twice, one that
# leaves a gap follows without the gap, and each gets 202 with a Range that looks right. The mistake shows only at the end,
# as a wrong digest. The upload stays, but no request takes bytes back: all has to be sent again in a new one. The state of
# an upload is "Range: 0-0" while nothing has arrived, and again when one byte has.
#
# Why it surprises: the distribution specification lets a client go on after a lost reply: it sends the chunk again, and 416
# tells it that the chunk was already there. The first guess is that this registry, from whose API the specification was
# made, answers so. The second is that a client is safe if it asks for the state first; but "0-0" does not say whether the
# first byte is there. A client that resumes has to compare the Range of each answer with what it has sent, and to start
# again where they differ.
#
# Seen on 2026-11-28, on Debian 12 and on Debian 13:
#   new upload                      204 0-0
#   after one byte                  204 0-0
#   bytes 0-3                       202 0-3
#   bytes 0-3, sent again           202 0-7
#   bytes 100-103, after 8 bytes    202 0-11
#   digest of the 12 bytes          201
#   digest of bytes 0-3, sent twice 400 DIGEST_INVALID
#   state after that                204 0-7
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
registry=
# shellcheck disable=SC2329  # called by the trap
finish() {
  [ -z "$registry" ] || kill "$registry" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
# shellcheck source=/dev/null
. /etc/os-release
case $ID-$VERSION_ID in
  debian-12) package=docker-registry=2.8.2+ds1-1 ;;
  debian-13) package=docker-registry=2.8.3+ds1-2+b8 ;;
  *) die "no version is pinned for $ID $VERSION_ID; run it on Debian 12 or 13" ;;
esac

cd "$work"
fetch() { apt-get download --quiet=2 "$package" >apt.log 2>&1; }
fetch || { apt-get update --quiet=2 && fetch; } || die "apt-get could not fetch $package: $(tail -n 1 apt.log)"
dpkg-deb --extract docker-registry_*.deb root

cat >config.yml <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $work/storage}}
http: {net: unix, addr: $work/socket, relativeurls: true}
YAML
root/usr/bin/docker-registry serve config.yml >registry.log 2>&1 &
registry=$!
for _ in $(seq 100); do
  [ ! -S socket ] || break
  sleep 0.1
done
[ -S socket ] || die "docker-registry did not start: $(tail -n 1 registry.log)"

python3 - <<'PYTHON'
import hashlib
import http.client
import json
import socket
import sys


def request(method, path, body=b"", **headers):
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect("socket")
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    code = json.loads(answer)["errors"][0]["code"] if response.status == 400 else ""
    seen = " ".join(filter(None, (str(response.status), response.headers["Range"], code)))
    return seen, response.headers["Location"]


changed = False


def expect(name, seen, answer):
    global changed
    print(f"{name:31} {answer}")
    if answer != seen:
        print(f"error: {name}: {answer}; {seen} was seen before", file=sys.stderr)
        changed = True


def start():
    return request("POST", "/v2/image/blobs/uploads/")[1]


def chunk(location, body, content_range):
    return request("PATCH", location, body, Content_Range=content_range, Content_Type="application/octet-stream")


def finish(location, body):
    digest = hashlib.sha256(body).hexdigest()
    return request("PUT", f"{location}&digest=sha256:{digest}")[0]


upload = start()
answer, upload = request("GET", upload)
expect("new upload", "204 0-0", answer)
_, upload = chunk(upload, b"a", "0-0")
answer, upload = request("GET", upload)
expect("after one byte", "204 0-0", answer)

upload = start()
answer, upload = chunk(upload, b"abcd", "0-3")
expect("bytes 0-3", "202 0-3", answer)
answer, upload = chunk(upload, b"abcd", "0-3")
expect("bytes 0-3, sent again", "202 0-7", answer)
answer, upload = chunk(upload, b"wxyz", "100-103")
expect("bytes 100-103, after 8 bytes", "202 0-11", answer)
expect("digest of the 12 bytes", "201", finish(upload, b"abcdabcdwxyz"))

upload = start()
for _ in range(2):
    _, upload = chunk(upload, b"abcd", "0-3")
expect("digest of bytes 0-3, sent twice", "400 DIGEST_INVALID", finish(upload, b"abcd"))
expect("state after that", "204 0-7", request("GET", upload)[0])
sys.exit(changed)
PYTHON
