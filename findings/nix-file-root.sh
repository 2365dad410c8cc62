#!/usr/bin/env bash
# An empty file in Nix's directory of roots keeps the store path that it is named like.
#
# Version: nix-bin 2.8.0 (Debian 12); Nix 2.34.8 (Debian forky) does the same.
#
# Behavior: `nix-store --gc` follows symlinks below /nix/var/nix/gcroots, and descends into directories there. A regular
# file counts too, whatever it holds: if its name is the basename of a valid store path, that path and its closure stay.
# `--print-roots` shows the file as the root. A file with the same content and another name is ignored.
#
# Why it surprises: the manual speaks of symlinks, and every tool that makes a root makes one, mostly by
# `nix-store --add-root`. So the guess is that a plain file is ignored in that directory, or at most that its content is
# read. A shell's redirection can make such a root without a process, for example in a start script, where `ln` would be
# the slowest line.
#
# Seen on 2026-11-28, with three paths in the store and a file, a symlink and a file of another name as their roots:
#   file      kept     symlink   kept     other     deleted
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
# shellcheck source=/dev/null
. /etc/os-release
[ "$ID-$VERSION_ID" = debian-12 ] || die "no version is pinned for $ID $VERSION_ID; run it on Debian 12"

# unpack the package, and what it needs that this machine does not have, beside the system
mkdir -p archives/partial root
fetch() {
  apt-get install --yes --quiet=2 --download-only --no-install-recommends --allow-downgrades \
    --option "Dir::Cache::archives=$work/archives" nix-bin=2.8.0-1.1+b1 >apt.log 2>&1
}
fetch || { apt-get update --quiet=2 && fetch; } || die "apt-get could not fetch nix-bin: $(tail -n 1 apt.log)"
for archive in archives/*.deb; do
  [ ! -e "$archive" ] || dpkg-deb --extract "$archive" root
done
libraries=$(uname -m)-linux-gnu
export PATH=$work/root/usr/bin:$PATH LD_LIBRARY_PATH=$work/root/usr/lib/nix:$work/root/usr/lib/$libraries:$work/root/lib/$libraries
export NIX_STORE_DIR=$work/store NIX_STATE_DIR=$work/state NIX_LOG_DIR=$work/log NIX_CONF_DIR=$work/conf NIX_REMOTE=''
mkdir -p conf && echo 'build-users-group =' >conf/nix.conf

declare -A path
for name in file symlink other; do
  echo "$name" >"$name"
  path[$name]=$(nix-store --add "$name")
done
roots=state/gcroots/some/where
mkdir -p "$roots"
: >"$roots/${path[file]##*/}"
ln -s "${path[symlink]}" "$roots/any-name"
echo "${path[other]}" >"$roots/other"
nix-store --gc >gc.log 2>&1 || die "nix-store --gc failed: $(tail -n 1 gc.log)"

changed=0
expect() {
  local found=deleted
  [ ! -e "${path[$1]}" ] || found=kept
  printf '%-9s %s\n' "$1" "$found"
  [ "$found" = "$2" ] && return
  echo "error: the path with the root '$1' was $found; it was $2 before" >&2
  changed=1
}
expect file kept
expect symlink kept
expect other deleted
exit "$changed"
