#!/usr/bin/env bash
# fetchTarball gives a hard link the new content of the file that an archive replaces, and nix-prefetch-url gives it the old one.
#
# Version: nix 2.34.8, tar 1.35 (Debian forky). fetchTarball of nix 2.26.3 (Debian 13) gives the old content too.
#
# Behavior: an archive has a file and a hard link to it, and later the file again with other content, as `tar --append` and
# `tar --update` write. tar extracts the new file and the link with the old content. So does `nix-prefetch-url --unpack`. In the
# store path of `builtins.fetchTarball` both have the new content. With the hash of nix-prefetch-url it fails with "hash
# mismatch", and without a hash nothing is said.
#
# Why it surprises: both commands are Nix, and the hash that the first prints is for the second. Hard links do not exist in a
# store path, so that a link is expected to be a copy of what the file is at that place of the archive, as it was in older versions.
# Here the link gets what its target is at the end of the archive. An archive with a file twice, and one with hard links, gives
# the same tree with both commands, so that tests of either find nothing. A lock that is made by one version of Nix fails with the
# other.
#
# Seen on 2026-11-30, content of the file and of the link:
#   tar                        new old
#   nix-prefetch-url           new old
#   fetchTarball               new new
#   fetchTarball, with hash    hash mismatch
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
  --include='nix-bin=2.34.8+dfsg-1*,base-files,dash,coreutils,tar' forky root ||
  die "mmdebstrap could not fetch nix-bin"
mkdir -p root/conf root/proc root/dev root/tmp root/by-tar
printf '%s\n' 'build-users-group =' 'sandbox = false' 'substitute = false' >root/conf/nix.conf
# nix wants /proc/self/exe
nix() {
  # shellcheck disable=SC2016
  unshare --mount --propagation=private sh -c '
    mount --bind /proc root/proc && mount --rbind /dev root/dev && exec chroot root /usr/bin/env -i "$@"
  ' sh PATH=/usr/bin HOME=/home NIX_CONF_DIR=/conf NIX_REMOTE= NIX_STORE_DIR=/s NIX_STATE_DIR=/v "$@"
}

mkdir -p root/tree/top
echo old >root/tree/top/file
ln root/tree/top/file root/tree/top/link
nix tar --create --file=/a.tar --directory=/tree top/file top/link
rm root/tree/top/file
echo new >root/tree/top/file
nix tar --append --file=/a.tar --directory=/tree top/file
result=""
show() {
  local line
  line=$(printf '%-26s %s' "$1" "$2")
  echo "$line"
  result+="$line"$'\n'
}
in_tree() { paste -sd ' ' "root$1/file" "root$1/link" | paste -sd ' '; }
nix tar --extract --file=/a.tar --directory=/by-tar
show tar "$(in_tree /by-tar/top)"
nix nix-prefetch-url --unpack --print-path file:///a.tar >prefetched 2>log || die "nix-prefetch-url: $(tail -n 1 log)"
show nix-prefetch-url "$(in_tree "$(tail -n 1 prefetched)")"
# fetchTarball and nix-prefetch-url would find each other's copies
forget() { rm -rf root/home && chmod -R u+w root/s && rm -rf root/s root/v; }
forget
path=$(nix nix-instantiate --eval --raw --expr 'builtins.fetchTarball "file:///a.tar"' 2>log) || die "fetchTarball: $(tail -n 1 log)"
show fetchTarball "$(in_tree "$path")"
forget
found=$(nix nix-instantiate --eval --raw \
  --expr "builtins.fetchTarball { url = \"file:///a.tar\"; sha256 = \"$(head -n 1 prefetched)\"; }" 2>log) ||
  found=$(grep --only-matching --max-count=1 'hash mismatch' log) || die "fetchTarball: $(tail -n 1 log)"
show 'fetchTarball, with hash' "$found"
expected="tar                        new old
nix-prefetch-url           new old
fetchTarball               new new
fetchTarball, with hash    hash mismatch
"
[ "$result" = "$expected" ] || die "Nix behaves differently now"
echo "as seen on 2026-11-30"
