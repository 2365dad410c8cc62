#!/usr/bin/env bash
# An image that systemd pulls has the files that its layers delete, and directories that only root can enter.
#
# Version: systemd 262 (Debian forky).
#
# Behavior: `systemd-pull oci`, behind `importctl pull-oci`, unpacks each layer to a directory and makes a mount stack of
# them. Whiteouts (`.wh.NAME`, `.wh..wh..opq`) stay ordinary files of these names, so that the overlay, which knows
# whiteouts only as character devices and extended attributes, shows what the layer deletes, and the markers. A directory
# that a layer has no entry for, but files in, is made for root with mode 0700; in the overlay it hides owner and mode of
# the same directory below. The pull reports success.
#
# Why it surprises: whiteouts are what makes a list of files a layer, and the mount stack is an overlay of exactly these
# layers. Layers
# without entries for directories are valid, and come from tools that archive a list of files (`tar --files-from`). With
# /etc at 0700, programs of other users than root find neither names nor certificates.
#
# Seen on 2026-11-29, a first layer with /etc (0755), /etc/passwd, /gone, and /old with a; a second with .wh.gone,
# /old with an opaque marker and b, and etc/hosts without an entry for etc:
#   .wh.gone file 644
#   etc directory 700
#   etc/hosts file 644
#   etc/passwd file 644
#   gone file 644
#   old directory 755
#   old/.wh..wh..opq file 644
#   old/a file 644
#   old/b file 644
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
# layers are made immutable
trap 'chattr -R -f -i "$work/layers" || true; rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,dash,coreutils,findutils,mount,iproute2,ca-certificates,openssl,python3-minimal,libpython3-stdlib,libarchive13t64,libcurl4t64
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages,systemd-container=262-1" forky root ||
  die "mmdebstrap could not fetch systemd-container 262-1"
mkdir -p layers root/mnt root/proc root/tmp root/run root/etc/ssl/certs root/var/lib/machines
echo "127.0.0.1 registry.test" >root/etc/hosts

cat >root/registry.py <<'END'
import hashlib, io, json, ssl, tarfile, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

TYPE = "application/vnd.oci.image."
contents = {}


def blob(content, media_type):
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    contents["/v2/test/image/blobs/" + digest] = content, media_type
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def layer(*names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.type, entry.mode = (tarfile.DIRTYPE, 0o755) if name.endswith("/") else (tarfile.REGTYPE, 0o644)
            archive.addfile(entry)
    return blob(stream.getvalue(), TYPE + "layer.v1.tar")


layers = [
    layer("etc/", "etc/passwd", "gone", "old/", "old/a"),
    layer(".wh.gone", "old/", "old/.wh..wh..opq", "old/b", "etc/hosts"),
]
system = {"architecture": "amd64", "os": "linux"}
rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
config = blob(json.dumps(system | {"config": {}, "rootfs": rootfs}).encode(), TYPE + "config.v1+json")
manifest_type = TYPE + "manifest.v1+json"
manifest = {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers}
contents["/v2/test/image/manifests/1"] = json.dumps(manifest).encode(), manifest_type


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content, media_type = contents[self.path]
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/ca.pem", "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
END
cat >root/run.sh <<'END'
set -eu
ip link set lo up
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=registry.test \
  -addext subjectAltName=DNS:registry.test 2>/dev/null
cp ca.pem /etc/ssl/certs/ca-certificates.crt
mkfifo ready
python3 registry.py >ready &
read -r _ <ready
/usr/lib/systemd/systemd-pull oci --verify=no registry.test/test/image:1 image >log 2>&1 || { cat log; exit 1; }
mount -t mstack /var/lib/machines/image.mstack /mnt
find /mnt -mindepth 1 -type d -printf '%P directory %m\n' -o -type f -printf '%P file %m\n' | LC_ALL=C sort
END
enter='mount --bind root root && mount --bind layers root/var/lib/machines && mount -t proc proc root/proc && mount --rbind /dev root/dev
mount -t tmpfs tmpfs root/run && exec chroot root sh /run.sh'
result=$(unshare --mount --net --pid --fork --kill-child sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected=".wh.gone file 644
etc directory 700
etc/hosts file 644
etc/passwd file 644
gone file 644
old directory 755
old/.wh..wh..opq file 644
old/a file 644
old/b file 644"
[ "$result" = "$expected" ] || die "the image has other files now"
echo "as seen on 2026-11-29"
