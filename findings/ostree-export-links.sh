#!/usr/bin/env bash
# `ostree export` makes hard links of files that happen to be equal.
#
# Version: ostree 2025.2 (Debian 13); 2026.4 (Debian forky) does the same.
#
# Behavior: of files with the same content, mode, owner and attributes, the archive has the first in full, and the others as
# hard links to it, empty files too. In what tar extracts from it they are one file: a line that is appended to
# `etc/subuid` is in `etc/subgid` as well, and `chmod` of one changes both. Times are no obstacle, as a
# commit has none. `ostree checkout --force-copy` of the same commit makes a file of each, and plain `ostree checkout` at
# least of each empty one.
#
# Why it surprises: the manual offers `export` for backups and for images of Docker, which are written to, and an archive
# is a copy. That a repository stores equal files once is known, but not that the archive tells; that hard links of a
# commit are lost is known, but not that others are made. checkout takes care of empty files because they are filled later;
# export does not.
#
# Seen on 2026-11-29:
#   committed               links: subgid 1, subuid 1; after a line in subuid: subgid 0 bytes
#   checkout                links: subgid 1, subuid 1; after a line in subuid: subgid 0 bytes
#   checkout --force-copy   links: subgid 1, subuid 1; after a line in subuid: subgid 0 bytes
#   export and tar          links: subgid 2, subuid 2; after a line in subuid: subgid 12 bytes
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=ostree=2025.2-1 trixie root || die "mmdebstrap could not fetch ostree"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
ostree() { "$loader" --library-path "$libraries" root/usr/bin/ostree --repo=repo "$@"; }

mkdir committed exported
: >committed/subgid
: >committed/subuid
ostree init --mode=archive
ostree commit --branch=a --tree=dir=committed >log
ostree checkout a checkout
ostree checkout --force-copy a copied
ostree export a | tar --extract --directory=exported
result=""
try() {
  local line
  line=$(printf '%-24slinks: %s' "$1" "$(cd "$2" && stat --format='%n %h' subgid subuid | paste -sd, | sed 's/,/, /')")
  echo user:100:10 >>"$2/subuid"
  line+="; after a line in subuid: subgid $(stat --format=%s "$2/subgid") bytes"
  echo "$line"
  result+="$line"$'\n'
}
try committed committed
try checkout checkout
try 'checkout --force-copy' copied
try 'export and tar' exported
expected="committed               links: subgid 1, subuid 1; after a line in subuid: subgid 0 bytes
checkout                links: subgid 1, subuid 1; after a line in subuid: subgid 0 bytes
checkout --force-copy   links: subgid 1, subuid 1; after a line in subuid: subgid 0 bytes
export and tar          links: subgid 2, subuid 2; after a line in subuid: subgid 12 bytes
"
[ "$result" = "$expected" ] || die "ostree exports other links now"
echo "as seen on 2026-11-29"
