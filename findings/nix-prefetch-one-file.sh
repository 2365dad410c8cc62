#!/usr/bin/env bash
# `nix-prefetch-url --unpack` gives a hash that `fetchTarball` refuses, for an archive of one file.
#
# Version: nix-bin 2.26.3 (Debian 13); Nix 2.34.8 (Debian forky) does the same.
#
# Behavior: an archive has one entry at its top. If it is a directory, both unpack what is in it. If it is a file,
# nix-prefetch-url hashes that file alone, and `builtins.fetchTarball` hashes a directory with the file in it: "hash
# mismatch". If something in the archive is named `.git`, nix-prefetch-url hashes the tree, and fetchTarball accepts no
# hash at all: "invalid name for a tree entry".
#
# Why it surprises: the manual of fetchTarball names the command as the way to its hash. Both are one program, both
# unpack the archive, and a store path may hold any tree. But fetchTarball puts the archive into a Git repository in the
# user's cache first, and a tree of Git has no entry `.git`. Trees of images have such names, as source checkouts and
# submodules do.
#
# Seen on 2026-11-29:
#   a directory with a file   the tree
#   a file                    hash mismatch
#   two files                 the tree
#   a directory with .git     invalid name for a tree entry
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
mkdir -p root/conf root/proc root/dev root/tmp
printf '%s\n' 'build-users-group =' 'sandbox = false' 'substitute = false' >root/conf/nix.conf
# nix wants /proc/self/exe
nix() {
  # shellcheck disable=SC2016
  unshare --mount --propagation=private sh -c '
    mount --bind /proc root/proc && mount --rbind /dev root/dev && exec chroot root /usr/bin/env -i "$@"
  ' sh PATH=/usr/bin HOME=/home NIX_CONF_DIR=/conf NIX_REMOTE= NIX_STORE_DIR=/s NIX_STATE_DIR=/v "$@"
}

result=""
try() {
  local name=$1 hash found="the tree"
  shift
  tar --create --file=root/a.tar --directory=tree --sort=name "$@"
  hash=$(nix nix-prefetch-url --unpack file:///a.tar 2>log) || die "nix-prefetch-url: $(tail -n 1 log)"
  # fetchTarball and nix-prefetch-url would find each other's copies
  rm -rf root/home
  nix nix-instantiate --eval --expr "builtins.readDir (builtins.fetchTarball { url = \"file:///a.tar\"; sha256 = \"$hash\"; })" >log 2>&1 ||
    found=$(grep --only-matching --max-count=1 'hash mismatch\|invalid name for a tree entry' log) || die "fetchTarball: $(tail -n 1 log)"
  chmod -R u+w root/s
  rm -rf root/s root/v
  printf -v line '%-25s %s' "$name" "$found"
  echo "$line"
  result+="$line"$'\n'
}
mkdir -p tree/directory tree/checkout
echo text | tee tree/directory/file tree/one tree/two >tree/checkout/.git
try 'a directory with a file' directory
try 'a file' one
try 'two files' one two
try 'a directory with .git' checkout
expected="a directory with a file   the tree
a file                    hash mismatch
two files                 the tree
a directory with .git     invalid name for a tree entry
"
[ "$result" = "$expected" ] || die "Nix behaves differently now"
echo "as seen on 2026-11-29"
