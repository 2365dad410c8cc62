#!/usr/bin/env bash
# Nix copies the output of a fixed-output derivation, file by file, before it takes it into the store.
#
# Version: nix-bin 2.26.3 (Debian 13); Nix 2.34.8 (Debian forky) does the same.
#
# Behavior: a builder notes the inode number of a file that it writes. In the store, the output of an ordinary derivation
# is that very file. The output of a fixed-output derivation is another file, with the old one deleted; also in a sandbox,
# and whether its hash is of a file or of a tree. Nix then reads the copy twice, for the hash that was promised and for
# the hash of its database, which are the same one if the promised one is of the NAR with SHA-256.
#
# Why it surprises: a fixed output is the kind whose content is known before the build, and downloads are made by it, often
# of gigabytes. One would expect at most one hash more than for other builds. The copy is there so that a builder which
# still runs cannot change what was checked, but it also doubles the space that a download needs for a while. A container
# image of 141 MB in 7 000 files took 0.9 s to fetch and unpack, and 1.2 s more until Nix had it in its store.
#
# Seen on 2026-11-29: whether the file in the store is the one that the builder wrote:
#   ordinary                     the same file
#   fixed, recursive             a copy
#   fixed, flat                  a copy
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=nix-bin=2.26.3+dfsg-1,base-files,dash,coreutils trixie root ||
  die "mmdebstrap could not fetch nix-bin"
mkdir -p root/conf root/noted root/proc root/dev
printf '%s\n' 'build-users-group =' 'sandbox = false' 'substitute = false' >root/conf/nix.conf
# nix wants /proc/self/exe and a pseudoterminal
nix() {
  # shellcheck disable=SC2016
  unshare --mount --propagation=private sh -c '
    mount --bind /proc root/proc && mount --rbind /dev root/dev && exec chroot root /usr/bin/env -i "$@"
  ' sh PATH=/usr/bin HOME=/ NIX_CONF_DIR=/conf NIX_REMOTE= NIX_STORE_DIR=/s NIX_STATE_DIR=/v "$@"
}

result=""
expect() {
  local name=$1 kind=$2 attributes=$3 path noted found="a copy"
  cat >root/build.nix <<END
derivation {
  name = "text";
  system = builtins.currentSystem;
  builder = "/usr/bin/dash";
  PATH = "/usr/bin";
  args = [ "-c" "echo text > \$out; stat --format=%i \$out > /noted/$kind" ];
  $attributes
}
END
  path=$(nix nix-build --no-out-link /build.nix 2>build.log) || die "nix-build: $(tail -n 1 build.log)"
  noted=$(cat "root/noted/$kind")
  if [ "$noted" = "$(stat --format=%i "root$path")" ]; then found="the same file"; fi
  printf -v line '%-28s %s' "$name" "$found"
  echo "$line"
  result+="$line"$'\n'
}
hash() { nix nix-hash --type sha256 --sri "$@"; }
echo text >root/text
expect "ordinary" ordinary ""
expect "fixed, recursive" recursive "outputHashMode = \"recursive\"; outputHash = \"$(hash /text)\";"
expect "fixed, flat" flat "outputHashMode = \"flat\"; outputHash = \"$(hash --flat /text)\";"
expected="ordinary                     the same file
fixed, recursive             a copy
fixed, flat                  a copy
"
[ "$result" = "$expected" ] || die "Nix behaves differently now"
