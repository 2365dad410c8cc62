#!/usr/bin/env bash
# SWUpdate installs the first part of a gzip or xz file of two parts, with success or failure by the length of the second.
#
# Version: swupdate 2026.05.1, gzip 1.14, xz-utils 5.8.4, zstd 1.5.7, cpio 2.15, openssl 3.6.5 (Debian forky); swupdate 2024.12.1
#          (Debian 13) does the same with zlib, and does not know xz.
#
# Behavior: a signed update has a file with `compressed = "zlib"` or "xz" that consists of two compressed parts one behind the other. Of
# 100000 and 5000 bytes SWUpdate installs the first 100000 and reports success. With 20000 bytes in the second part it
# installs the same and reports failure. With "zstd" it installs all of each.
#
# Why it surprises: RFC 1952 and the xz format define such files as the parts joined, gzip, xz and zstd read them so, and
# `gzip >>FILE`, bgzip and eStargz write them. That a reader stops at the end of the first part is known of
# some, and known to be an error or not by the reader. Here one test finds the error and another one a success. The checksum and
# the signature are those of the compressed file, which is unharmed, so that they say nothing of what is missing.
#
# Seen on 2026-11-30, with the bytes installed, of 100000 and:
#                1000              5000              20000
#   zlib         100000, success   100000, success   100000, failure
#   xz           100000, success   100000, success   100000, failure
#   zstd         101000, success   105000, success   120000, success
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages=base-files,coreutils,swupdate=2026.05.1+git20261001+dfsg-2,gzip,xz-utils,zstd=1.5.7+dfsg-4,cpio,openssl
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp root/proc root/run/swupdate
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin:/usr/sbin LC_ALL=C "$@"; }
echo board 1.0 >root/etc/hwrevision
tool openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -subj /CN=test \
  -addext extendedKeyUsage=emailProtection 2>log || die "openssl: $(tail -n 1 log)"
head --bytes=120000 /dev/urandom >all
head --bytes=100000 all >first
# COMPRESSION PROGRAM BYTES
installed() {
  local state
  rm -f root/work/installed
  tail --bytes=+100001 all | head --bytes="$3" >second
  { tool "$2" -c <first && tool "$2" -c <second; } >root/work/file
  tool "$2" -d -c <root/work/file | cmp - <(cat first second) || die "$2 reads another file"
  cat >root/work/sw-description <<CONF
software = {
  version = "1";
  hardware-compatibility = ["1.0"];
  files: ({
    filename = "file"; path = "/work/installed"; compressed = "$1"; sha256 = "$(sha256sum root/work/file | cut -d ' ' -f 1)";
  });
};
CONF
  tool openssl cms -sign -in sw-description -out sw-description.sig -signer certificate.pem -inkey key.pem -outform DER \
    -nosmimecap -binary
  printf '%s\n' sw-description sw-description.sig file | tool cpio --create --quiet --format=crc >update.swu
  mv update.swu root/work
  state=success
  tool swupdate -k /work/certificate.pem --digest-provider opensslCMS --no-transaction-marker --no-state-marker \
    -i /work/update.swu >log 2>&1 || state=failure
  [ -e root/work/installed ] || die "swupdate: $(grep ERROR log | head -n 1)"
  cmp root/work/installed <(cat first second | head --bytes="$(wc -c <root/work/installed)") || die "other bytes are installed"
  echo "$(wc -c <root/work/installed), $state"
}
result=""
show() {
  local line
  line=$(printf '%-12s %-17s %-17s %s' "$1" "$(installed "$1" "$2" 1000)" "$(installed "$1" "$2" 5000)" "$(installed "$1" "$2" 20000)")
  echo "$line"
  result+="$line"$'\n'
}
show zlib gzip
show xz xz
show zstd zstd
expected="zlib         100000, success   100000, success   100000, failure
xz           100000, success   100000, success   100000, failure
zstd         101000, success   105000, success   120000, success
"
[ "$result" = "$expected" ] || die "other parts are installed now"
echo "as seen on 2026-11-30"
