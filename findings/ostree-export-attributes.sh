#!/usr/bin/env bash
# `ostree export` has an option to leave extended attributes out, and leaves them out without it.
#
# Version: ostree 2025.2 and libarchive 3.7.4 (Debian 13); 2026.4 and 3.8.9 (Debian forky) do the same.
#
# Behavior: a commit holds the attributes of its files, such as a file capability. `ostree export` writes an archive
# without them, the same byte for byte as `ostree export --no-xattrs`. The exit code is 0, and nothing is printed. The
# archive has the GNU format, in which libarchive, by which ostree writes it, has no place for attributes.
# `ostree commit --tree=tar=` reads attributes of a PAX archive, and `ostree checkout` by root restores them.
#
# Why it surprises: an option to skip something promises that it is there by default; the manual recommends the command for
# backups and for images of Docker. The guess is that what ostree imports, it exports. After a way through an archive,
# the commit is another: ping has lost its capability, and files have lost their SELinux labels.
#
# Seen on 2026-11-29, attributes of a file:
#   commit from a PAX archive     security.capability user.x
#   checkout                      security.capability user.x
#   export, and tar --xattrs      none
#   commit from the export        none
#   export and export --no-xattrs: the same bytes
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=ostree=2025.2-1,tar=1.35+dfsg-3.1 trixie root || die "mmdebstrap could not fetch ostree and tar"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }
ostree() { tool ostree --repo=repo "$@"; }

mkdir source exported
echo content >source/file
python3 - <<'PYTHON'
import os

os.setxattr("source/file", "user.x", b"value")
# cap_net_raw+ep, in the kernel's version 2
os.setxattr("source/file", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
PYTHON
tool tar --create --file=source.tar --format=pax --xattrs --xattrs-include='*' --directory=source .
in_commit() {
  local names
  names=$(ostree ls --xattrs "$1" /file | grep --only-matching "b'[a-z.]*'" | sed "s/^b'//; s/'\$//" | LC_ALL=C sort | paste -sd ' ')
  echo "${names:-none}"
}
in_file() { python3 -c "import os; print(*sorted(os.listxattr('$1')) or ['none'])"; }
ostree init --mode=bare
ostree commit --branch=first --tree=tar=source.tar >log
ostree checkout first checkout
ostree export first >exported.tar
ostree export --no-xattrs first >without.tar
tool tar --extract --file=exported.tar --xattrs --xattrs-include='*' --directory=exported
ostree commit --branch=second --tree=tar=exported.tar >log
result="commit from a PAX archive     $(in_commit first)
checkout                      $(in_file checkout/file)
export, and tar --xattrs      $(in_file exported/file)
commit from the export        $(in_commit second)
export and export --no-xattrs: $(cmp --quiet exported.tar without.tar && echo the same bytes || echo other bytes)"
echo "$result"
expected="commit from a PAX archive     security.capability user.x
checkout                      security.capability user.x
export, and tar --xattrs      none
commit from the export        none
export and export --no-xattrs: the same bytes"
[ "$result" = "$expected" ] || die "ostree exports other attributes now"
echo "as seen on 2026-11-29"
